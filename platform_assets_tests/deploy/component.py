"""Run one component of the platform in a process of its own, and print what came of it.

python -m platform_assets_tests.deploy.component JOB [GROUP]
python -m platform_assets_tests.deploy.component sensor NAME
"""

import json
import sys
from typing import Any

import dagster as dg

from platform_assets.build import build_defs
from platform_assets.settings import load_settings


def run(name: str, group: str) -> dict[str, Any]:
    """Run a job, or the assets of it that are in a group; give its failures."""
    defs = build_defs(load_settings())
    job = defs.resolve_job_def(name)
    chosen = None
    if group:
        graph = defs.get_repository_def().asset_graph
        mine = {key for key in graph.get_all_asset_keys() if graph.get(key).group_name == group}
        chosen = sorted(mine & job.asset_layer.executable_asset_keys)
    result = job.execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), raise_on_error=False, asset_selection=chosen
    )
    failures = [
        filter_event.event_specific_data.error_display_string[:4000]
        for filter_event in result.filter_events(lambda event: event.is_step_failure)
    ]
    failed = sorted(
        {
            evaluation.check_name
            for evaluation in result.get_asset_check_evaluations()
            if not evaluation.passed
        }
    )
    return {"success": result.success, "failures": failures, "failed_checks": failed}


def look(name: str) -> dict[str, Any]:
    """Evaluate a sensor; give the number of runs that it asks for."""
    defs = build_defs(load_settings())
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def(name)
    needed = {key: defs.resources[key] for key in sensor.required_resource_keys}
    with dg.build_sensor_context(
        instance=dg.DagsterInstance.ephemeral(), repository_def=repository, resources=needed
    ) as context:
        found = sensor.evaluate_tick(context)
    return {"success": True, "runs": len(found.run_requests or ())}


if __name__ == "__main__":
    first, *rest = sys.argv[1:]
    answer = look(rest[0]) if first == "sensor" else run(first, rest[0] if rest else "")
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
