"""Events of OpenLineage: what a server gets for the runs that have ended, also after it did not answer."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from platform_assets.column_lineage import ColumnRef
from platform_assets.errors import LineageError
from platform_assets.lineage.assembly import LineageRoom
from platform_assets.lineage.construction import build_graph
from platform_assets.lineage.defs import build_event_sensor
from platform_assets.lineage.events import EndedRun, run_events, send
from platform_assets.lineage.graph import Graph
from platform_assets.lineage.openlineage import dataset
from platform_assets.lineage.settings import OpenLineageSettings
from platform_assets.rooms import Rooms
from platform_assets.settings import Settings

pytest.importorskip("openlineage.client", reason="needs the extra openlineage")

RUN = EndedRun(
    "3f5e83fa-3480-44ff-99c5-ff943904e5e8",
    "totesys_to_warehouse",
    True,
    dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC),
    dt.datetime(2024, 5, 1, 11, tzinfo=dt.UTC),
    (("star", "dim_staff"), ("elsewhere", "unknown")),
)


class Server(ThreadingHTTPServer):
    """A server of OpenLineage that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.events: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.status = 201

    @property
    def settings(self) -> OpenLineageSettings:
        return OpenLineageSettings(url=f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status == 201:
            assert self.path == "/api/v1/lineage"
            self.server.events.append(json.loads(body))
            self.server.keys.append(self.headers["Authorization"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def graph(shipped: Settings) -> Graph:
    return build_graph(Rooms(shipped).of(LineageRoom).declared())


def test_a_run_is_told_with_the_lineage_of_the_columns_that_it_wrote(server: Server, graph: Graph) -> None:
    send(run_events(RUN, graph, "house"), server.settings)
    start, end = server.events
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"] == RUN.run_id
    assert end["job"] == {"namespace": "house", "name": "totesys_to_warehouse", "facets": {}}
    assert sorted(one["name"] for one in end["inputs"]) == ["totesys/department", "totesys/staff"]
    [written] = end["outputs"]
    assert (written["namespace"], written["name"]) == ("house", "star/dim_staff")
    lineage = written["facets"]["columnLineage"]
    [location] = lineage["fields"]["location"]["inputFields"]
    assert (location["name"], location["field"]) == ("totesys/department", "location")
    [how] = location["transformations"]
    assert (how["type"], how["subtype"], how["masking"]) == ("DIRECT", "TRANSFORMATION", False)
    assert {one["transformations"][0]["subtype"] for one in lineage["dataset"]} == {"JOIN"}
    fields = {one["name"]: one["type"] for one in written["facets"]["schema"]["fields"]}
    assert fields["staff_id"] == "integer"


def test_what_was_read_is_told_without_its_own_lineage(graph: Graph) -> None:
    read = dataset(graph, graph.tables["totesys", "staff"], "house", ())
    assert set(read["facets"]) == {"schema"}


def test_a_column_that_is_read_in_two_ways_is_one_field_with_two_transformations(graph: Graph) -> None:
    facets = dataset(graph, graph.tables["star", "dim_staff"], "house")["facets"]
    change = facets["columnLineage"]["fields"]["_change"]["inputFields"]
    told = {one["field"]: [how["subtype"] for how in one["transformations"]] for one in change}
    assert told["_change"] == ["TRANSFORMATION", "CONDITIONAL"]


def test_a_failed_run_is_told_with_its_reason(server: Server, graph: Graph) -> None:
    failed = EndedRun(RUN.run_id, "job", False, RUN.started_at, RUN.ended_at, (), "The source is down.")
    send(run_events(failed, graph, "house"), server.settings)
    assert server.events[1]["eventType"] == "FAIL"
    assert server.events[1]["run"]["facets"]["errorMessage"]["message"] == "The source is down."


def test_the_key_is_sent_as_a_bearer_token(
    server: Server, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_KEY", "test-key")
    settings = OpenLineageSettings.model_validate(
        {"url": server.settings.url, "api_key": "secret://env/LINEAGE_KEY"}
    )
    send(run_events(RUN, graph, "house"), settings)
    assert server.keys == ["Bearer test-key"] * 2


def test_a_server_that_does_not_take_events_is_an_error_that_names_it(server: Server, graph: Graph) -> None:
    server.status = 503
    with pytest.raises(LineageError, match=r"http://127\.0\.0\.1:\d+ did not take an event: it answered 503"):
        send(run_events(RUN, graph, "house"), server.settings)


def test_the_sensor_tells_each_run_once_and_again_what_the_server_did_not_take(
    server: Server, shipped: Settings
) -> None:
    @dg.asset(key=["star", "dim_staff"])
    def dim_staff() -> None: ...

    sensor = build_event_sensor(server.settings)
    resources = {"lineage": Rooms(shipped).of(LineageRoom)}
    job = dg.Definitions([dim_staff], jobs=[dg.define_asset_job("build")]).resolve_job_def("build")
    with dg.DagsterInstance.ephemeral() as instance:

        def tick(cursor: str | None) -> str | None:
            context = dg.build_sensor_context(instance, cursor, resources=resources)
            taken = server.status == 201
            with contextlib.nullcontext() if taken else pytest.raises(dg.Failure, match="did not take an"):
                sensor(context)
            return context.cursor

        assert job.execute_in_process(instance=instance).success
        cursor = tick(None)
        assert server.events == []
        runs = [job.execute_in_process(instance=instance).run_id for _ in range(2)]
        server.status = 500
        assert tick(cursor) == cursor
        server.status = 201
        cursor = tick(cursor)
        cursor = tick(cursor)
        ended = [event for event in server.events if event["eventType"] == "COMPLETE"]
        assert [one["run"]["runId"] for one in ended] == runs
        assert all(one["outputs"][0]["name"] == "star/dim_staff" for one in ended)
        assert (
            ColumnRef(("star", "dim_staff"), "location").column
            in (ended[0]["outputs"][0]["facets"]["columnLineage"]["fields"])
        )
