"""Times the lineage of columns: the shipped graph, a generated project, its cache, and the proof of the star.

    python benchmarks/lineage.py [--models 500] [--columns 40] [--rounds 3]

Each measurement runs in a process of its own, in turns. Seconds are those of a core, because other work on
the machine must not decide; memory is the largest of the process. `shipped` derives the graph of the shipped
configuration; `project` derives that of a generated project whose models join, filter and aggregate each
other; `cached` reads the same graph from its cache; `prove` proves the star.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from platform_assets.column_lineage import DeclaredTable, LineageQuery
from platform_assets.lineage.cache import cached_graph
from platform_assets.lineage.graph import Graph
from platform_assets.model.table import Column, Integer

TARGETS = {"shipped": 1.0, "project": 20.0}
MOST_MEGABYTES = 500


def main() -> None:
    """Measure, or run one measurement in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--columns", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(_measured(given.one, given.state, given.models, given.columns)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(given.rounds):
            for name in ("shipped", "project", "cached", "prove"):
                found.setdefault(name, []).append(_in_a_process(name, Path(folder), given))
    for name, rounds in found.items():
        seconds = statistics.median(round_["seconds"] for round_ in rounds)
        memory = max(round_["megabytes"] for round_ in rounds)
        target = f" (target {TARGETS[name]:.0f})" if name in TARGETS else ""
        print(f"{name:8} {seconds:7.3f} s{target}  {memory:5.0f} MB  {rounds[0]['columns']:,.0f} columns")
    print(f"memory target: {MOST_MEGABYTES} MB")


def _in_a_process(name: str, state: Path, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--state", str(state)]
    command += ["--models", str(given.models), "--columns", str(given.columns)]
    environment = {**os.environ, "PLATFORM_STATE_DIR": str(state / "platform")}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    measured: dict[str, float] = json.loads(ended.stdout)
    return measured


def _measured(name: str, state: Path, models: int, columns: int) -> dict[str, float]:
    work = _work(name, state, models, columns)
    started = time.process_time()
    graph = work()
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "columns": sum(1 for _ in graph.columns()),
    }


def _work(name: str, state: Path, models: int, columns: int) -> Callable[[], Graph]:
    """Prepare a measurement; what the returned function does is measured."""
    if name in ("shipped", "prove"):
        from platform_assets.lineage.assembly import LineageRoom
        from platform_assets.rooms import Rooms
        from platform_assets.settings import load_settings

        room = Rooms(load_settings()).of(LineageRoom)
        if name == "shipped":
            from platform_assets.lineage.construction import build_graph

            declared = room.declared()
            return lambda: build_graph(declared)
        graph = room.graph

        def prove() -> Graph:
            from platform_assets.lineage.proof import try_edges

            return graph.with_proof(try_edges(graph, "star").observed)

        return prove
    project = generated(models, columns)
    if name == "project":
        from platform_assets.lineage.construction import build_graph

        return lambda: build_graph(project)
    cached_graph(state / "cache", project, ())
    return lambda: cached_graph(state / "cache", project, ())


def generated(models: int, columns: int) -> list[DeclaredTable]:
    """Return a project: a tenth of the tables are sources, the others models that read two tables each."""
    names = [f"c{number}" for number in range(columns)]
    kept = tuple(Column(name, Integer()) for name in names)
    sources = max(models // 10, 2)
    tables = [
        DeclaredTable(("m", f"t{number}"), kept, constants=dict.fromkeys(names, "given"))
        for number in range(sources)
    ]
    for number in range(sources, models):
        left, right = (number * 7) % number, (number * 3 + 1) % number
        values = [
            f"l.{name}"
            if place % 4 == 0
            else f"COALESCE(r.{name}, l.{name}) AS {name}"
            if place % 4 == 1
            else f"CASE WHEN l.c0 > {place} THEN l.{name} ELSE r.{names[place - 1]} END AS {name}"
            if place % 4 == 2
            else f"sum(r.{name}) OVER (PARTITION BY l.c0 ORDER BY l.c1) AS {name}"
            for place, name in enumerate(names)
        ]
        sql = (
            f"WITH r AS (SELECT * FROM m.t{right} WHERE c2 IS NOT NULL) SELECT {', '.join(values)} "
            f"FROM m.t{left} AS l LEFT JOIN r ON r.c0 = l.c0 WHERE l.c3 > 0"
        )
        reads = {f"m.t{one}": ("m", f"t{one}") for one in (left, right)}
        query = LineageQuery(sql, reads, is_model=True)
        tables.append(DeclaredTable(("m", f"t{number}"), kept, query=query))
    return tables


if __name__ == "__main__":
    main()
