"""A process that runs a job per line of its input, which names it, each in a child that others may kill.

Everything is imported beforehand: a kill milliseconds after the start hits the work, not the imports.
The child leads a process group of its own. Output: `ready`; `started PID` and `ended CODE` for each tick.
"""

from __future__ import annotations

import importlib
import os
import sys

import dagster as dg

from platform_assets.build import MAIN_JOB, build_defs
from platform_assets.settings import load_settings
from platform_assets_tests.integration.installation import NO_TELEMETRY

_USED_BY_STEPS = (
    "adbc_driver_manager",
    "adbc_driver_postgresql",
    "deltalake.writer",
    "duckdb",
    "pg8000.native",
    "platform_assets.lake.checks",
    "platform_assets.lake.lake",
    "platform_assets.source.extract",
    "platform_assets.source.snapshot",
    "platform_assets.star.transform",
    "platform_assets.star.verify",
    "platform_assets.warehouse.duckdb",
)


def main() -> None:
    """Serve until the input ends."""
    for module in _USED_BY_STEPS:
        importlib.import_module(module)
    definitions = build_defs(load_settings())
    definitions.resolve_job_def(MAIN_JOB)
    _say("ready")
    for line in sys.stdin:
        job = definitions.resolve_job_def(line.strip())
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            code = 1
            try:
                with dg.DagsterInstance.ephemeral(settings=NO_TELEMETRY) as instance:
                    code = 0 if job.execute_in_process(instance=instance, raise_on_error=False).success else 1
            finally:
                os._exit(code)
        _say(f"started {child}")
        _, status = os.waitpid(child, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
