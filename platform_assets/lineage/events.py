"""Events of OpenLineage about runs, sent through the project's Python client.

The package dagster-openlineage does not serve: it reads column lineage from the metadata of materializations
only, without what happens to a column, and drops events that the server does not take.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_assets.errors import LineageError
from platform_assets.lineage.openlineage import PRODUCER, dataset

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent
    from openlineage.client.transport.http import HttpTransport

    from platform_assets.lineage.graph import Graph
    from platform_assets.lineage.settings import OpenLineageSettings

_ERROR = "https://openlineage.io/spec/facets/1-0-1/ErrorMessageRunFacet.json#/$defs/ErrorMessageRunFacet"


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended.

    Args:
        run_id: Its id, a UUID.
        job: Name of its job.
        succeeded: Whether it succeeded.
        started_at: Its start, UTC.
        ended_at: Its end, UTC.
        materialized: Paths of the assets that it has materialized.
        failure: Why it failed; empty if it succeeded.
    """

    run_id: str
    job: str
    succeeded: bool
    started_at: dt.datetime
    ended_at: dt.datetime
    materialized: tuple[tuple[str, ...], ...]
    failure: str = ""


def run_events(run: EndedRun, graph: Graph, namespace: str) -> list[RunEvent]:
    """Return the events of a run: its start and its end, with the tables that it wrote and their lineage.

    Args:
        run: The run.
        graph: The graph of columns.
        namespace: Namespace of the job and of all tables.
    """
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    written = [graph.tables[path] for path in run.materialized if path in graph.tables]
    paths = {table.asset for table in written}
    read = dict.fromkeys(
        edge.source.asset
        for table in written
        for edge in graph.into_table(table.asset)
        if edge.source.asset not in paths
    )
    inputs = []
    for path in read:
        described = dataset(graph, graph.tables[path], namespace, ())
        inputs.append(InputDataset(namespace, described["name"], facets=described["facets"]))
    outputs = [
        OutputDataset(namespace, table.name, facets=dataset(graph, table, namespace)["facets"])
        for table in written
    ]
    facets: dict[str, Any] = {}
    if run.failure:
        facets["errorMessage"] = {
            "_producer": PRODUCER,
            "_schemaURL": _ERROR,
            "message": run.failure,
            "programmingLanguage": "python",
        }
    job = Job(namespace, run.job)
    start = RunEvent(
        eventTime=run.started_at.isoformat(),
        producer=PRODUCER,
        run=Run(run.run_id),
        job=job,
        eventType=RunState.START,
    )
    end = RunEvent(
        eventTime=run.ended_at.isoformat(),
        producer=PRODUCER,
        run=Run(run.run_id, facets),
        job=job,
        eventType=RunState.COMPLETE if run.succeeded else RunState.FAIL,
        inputs=inputs,
        outputs=outputs,
    )
    return [start, end]


def send(events: Sequence[RunEvent], settings: OpenLineageSettings) -> None:
    """Send events to the configured server, in order.

    Raises:
        LineageError: The client is not installed, or the server did not take an event.
        SettingsError: The key cannot be read.
    """
    import requests

    transport = _transport(settings)
    try:
        for event in events:
            try:
                transport.emit(event)
            except requests.RequestException as error:
                status = getattr(error.response, "status_code", None)
                reason = f"it answered {status}" if status else type(error).__name__
                raise LineageError(
                    f"The OpenLineage server {settings.url} did not take an event: {reason}. It is sent "
                    "again at the next tick; check lineage.openlineage in the configuration."
                ) from None
    finally:
        transport.close()


def _transport(settings: OpenLineageSettings) -> HttpTransport:
    try:
        from openlineage.client.transport.http import HttpConfig, HttpTransport
    except ImportError:
        raise LineageError(
            "The OpenLineage client is not installed, and lineage.openlineage is configured. Install the "
            "extra: pip install 'platform_assets[openlineage]'."
        ) from None
    key = settings.api_key.resolve() if settings.api_key is not None else ""
    auth = {"auth": {"type": "api_key", "apiKey": key}} if key else {}
    return HttpTransport(
        HttpConfig.from_dict(
            {
                "url": settings.url,
                "endpoint": settings.endpoint,
                "timeout": settings.timeout,
                # The sensor sends again what failed.
                "retry": {"total": 0, "connect": 0, "read": 0, "status_forcelist": []},
                **auth,
            }
        )
    )
