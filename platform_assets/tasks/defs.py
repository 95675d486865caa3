"""The jobs of task files: each task is a step; files that read or produce assets are in the lineage graph."""

import dataclasses
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from platform_assets.isolation import result_or_reason
from platform_assets.orchestration import (
    OWNERS,
    lazy_resource,
    name_of,
)
from platform_assets.rooms import Rooms
from platform_assets.tasks.assembly import TasksRoom
from platform_assets.tasks.names import RESERVED, TASKS, schedule_name
from platform_assets.tasks.task import TaskError, TaskOutcome

if TYPE_CHECKING:
    from platform_assets.tasks.plan import PlannedTask, TaskPlan

RUN_FROM = "platform_assets/tasks_from"
"""Tag of a run that starts at a task; the tasks before it count as done."""
FILE = "platform_assets/task_file"
"""Tag of a step: name of its task file."""
_BROKEN = "configuration"
_AFTER = "after"
_DONE = "done"
_FAILED = "failed"
_OUTCOME = "outcome"
_LONGEST_WAIT = 3600


def build_defs(rooms: Rooms) -> dg.Definitions:
    """Define a job for each task file; one with mistakes gets a job that fails with them.

    Args:
        rooms: The rooms.
    """
    room = rooms.of(TasksRoom)
    if not room.has_files:
        return dg.Definitions()
    elsewhere = room.elsewhere()
    return build_jobs(room, room.plans(elsewhere), {*elsewhere.jobs, *elsewhere.ticks, *elsewhere.assets})


def build_jobs(
    room: TasksRoom,
    plans: "Sequence[TaskPlan]",
    taken: Collection[str] = (),
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Define the jobs of plans, their schedules, and the assets that they produce.

    Args:
        room: Executes the tasks.
        plans: The plans, valid or not.
        taken: Names of jobs, schedules and sensors, and keys of assets, that are defined elsewhere.
        loggers: Further loggers, by name.
    """
    steps = _Steps({plan.name: plan for plan in plans})
    # A broken file may have the very name of another job.
    names = {*taken, *(plan.name for plan in plans if not plan.mistakes)}
    keys = {*taken, *(key for plan in plans for key in plan.produces)}
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    jobs, schedules = [], []
    for plan in plans:
        # An error in one file's job that nobody foresaw must not cost the others theirs.
        made = None if plan.mistakes else result_or_reason(lambda plan_: _job(plan_, steps), plan)
        if isinstance(made, tuple):
            assets += made[0]
            job = made[1]
        else:
            broken = dataclasses.replace(plan, mistakes=(f"{plan.file}: {made}",)) if made else plan
            if made:
                names.discard(plan.name)
            job = _broken_job(broken, _free_name(plan.name, names))
            names.add(job.name)
            if (key := f"{TASKS}/{job.name}") not in keys:
                assets.append(_disabled(broken, key))
        jobs.append(job)
        if plan.schedule is not None and schedule_name(job.name) not in taken:
            schedules.append(
                dg.ScheduleDefinition(
                    name=schedule_name(job.name),
                    job=job,
                    cron_schedule=plan.schedule.cron,
                    execution_timezone=plan.schedule.timezone,
                    description=f"Runs the tasks of {plan.file.name}.",
                )
            )
    tasks = lazy_resource(lambda: room, "The tasks and what executes them")
    return dg.Definitions(
        assets=assets, jobs=jobs, schedules=schedules, resources={TASKS: tasks}, loggers=loggers
    )


def job_defs(defs: dg.Definitions, plan: "TaskPlan") -> dg.Definitions:
    """Select the definitions of one valid plan from those of all."""
    produces = {_key(key) for key in plan.produces}
    return dg.Definitions(
        assets=[
            asset
            for asset in defs.assets or ()
            if isinstance(asset, dg.AssetsDefinition) and not produces.isdisjoint(asset.keys)
        ],
        jobs=[job for job in defs.jobs or () if job.name == plan.name],
        schedules=[
            schedule for schedule in defs.schedules or () if schedule.name == schedule_name(plan.name)
        ],
    )


def _job(plan: "TaskPlan", steps: "_Steps") -> tuple[list[dg.AssetsDefinition], Any]:
    """Define the job of a valid file, and the assets that it makes."""
    if plan.produces:
        asset, job = _asset_job(plan, steps)
        return [asset], job
    return [], _graph(plan, steps).to_job(
        name=plan.name, description=_description(plan), executor_def=dg.in_process_executor
    )


def _text(key: dg.AssetKey) -> str:
    return "/".join(key.path)


def _key(text: str) -> dg.AssetKey:
    return dg.AssetKey(text.split("/"))


def _description(plan: "TaskPlan") -> str:
    return plan.description or f"The tasks of {plan.file.name}."


def _free_name(name: str, taken: Collection[str]) -> str:
    """Return a name that Dagster takes and that no other job has, also for a file with an unusable name."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_") or "tasks"
    numbered = (f"{plain}_broken_{number}" for number in itertools.count(2))
    names = itertools.chain((plain, f"{plain}_broken"), numbered)
    return next(name for name in names if name not in taken and name not in RESERVED)


def _sentence(plan: "TaskPlan") -> str:
    lines = "\n".join(f"- {line}" for line in plan.mistakes)
    return (
        f"DISABLED: {plan.file.name} has mistakes; its tasks do not run until they are corrected.\n\n{lines}"
    )


def _disabled(plan: "TaskPlan", key: str) -> dg.AssetSpec:
    """A file that has mistakes, as an asset that nothing makes: it is seen in the graph, and says why."""
    return dg.AssetSpec(
        _key(key),
        group_name=TASKS,
        owners=OWNERS,
        kinds={"disabled"},
        tags={"disabled": "true"},
        description=_sentence(plan),
        metadata={"file": plan.file.name},
    )


def _broken_job(plan: "TaskPlan", name: str) -> dg.JobDefinition:
    """Define the job of a file that has mistakes: it fails at once and says which."""
    sentence = _sentence(plan)

    @dg.op(name=f"{TASKS}__{name}__{_BROKEN}", description=sentence)
    def fail() -> None:
        raise dg.Failure(description=sentence, allow_retries=False)

    graph = dg.GraphDefinition(
        name=f"{TASKS}__{name}",
        node_defs=[fail],
        dependencies={dg.NodeInvocation(fail.name, alias=_BROKEN): {}},
    )
    return graph.to_job(
        name=name, description=sentence, executor_def=dg.in_process_executor, tags={FILE: "broken"}
    )


class _Steps:
    """Definitions of steps, shared by tasks of one name: Dagster takes 1 ms to make one.

    Args:
        plans: The plans by name.
    """

    def __init__(self, plans: "dict[str, TaskPlan]") -> None:
        self._plans = plans
        self._made: dict[tuple[str, int, int], dg.OpDefinition] = {}

    def of(self, task: "PlannedTask") -> dg.OpDefinition:
        """Return the definition of a task's step."""
        shape = (task.known.name, len(task.reads), len(task.produces))
        if shape not in self._made:
            self._made[shape] = self._make(task, *shape)
        return self._made[shape]

    def _make(self, task: "PlannedTask", name: str, reads: int, produces: int) -> dg.OpDefinition:
        outputs = [_DONE, *(_output(number) for number in range(produces))]

        @dg.op(
            name=f"{TASKS}__task_{name}_{reads}_{produces}",
            description=f"{name}: {task.known.signature.summary}",
            ins={_AFTER: dg.In(dg.Nothing), **{_input(n): dg.In(dg.Nothing) for n in range(reads)}},
            out={output: dg.Out(dg.Nothing, is_required=False) for output in outputs},
        )
        def run(
            context: dg.OpExecutionContext, tasks: dg.ResourceParam[TasksRoom]
        ) -> Iterator[dg.Output[None]]:
            node = context.get_step_execution_context().op
            plan = self._plans[node.tags[FILE]]
            planned = next(task for task in plan.tasks if task.id == node.name)
            yield from _executed(context, tasks, plan, planned)

        return run

    def outcome(self, plan: "TaskPlan") -> dg.OpDefinition:
        """Return the last step of a file: it fails for failed tasks, and makes the assets of the whole."""

        @dg.op(
            name=f"{TASKS}__{plan.name}__{_OUTCOME}",
            description="Fails if a task has failed although others went on.",
            ins={_AFTER: dg.In(dg.Nothing)},
            out={_output(number): dg.Out(dg.Nothing) for number in range(len(plan.whole))},
        )
        def report(context: dg.OpExecutionContext) -> Iterator[dg.Output[None]]:
            failed = _failures(context) if plan.tolerates_failures else {}
            if failed:
                reasons = " ".join(f"{task}: {reason}" for task, reason in failed.items())
                raise dg.Failure(description=reasons, allow_retries=False)
            for number in range(len(plan.whole)):
                yield dg.Output(None, _output(number), metadata={"tasks": len(plan.tasks)})

        return report


def _input(number: int) -> str:
    return f"reads_{number}"


def _output(number: int) -> str:
    return f"produces_{number}"


def _executed(
    context: dg.OpExecutionContext, room: TasksRoom, plan: "TaskPlan", task: "PlannedTask"
) -> Iterator[dg.Output[None]]:
    """Execute a task as a step, unless the run or the task's condition leaves it out."""
    reason = _left_out(context, plan, task)
    if reason is not None:
        context.log.info("%s: skipped, %s", task.id, reason)
        yield from _done(context, {"skipped": reason})
        return
    outcome: TaskOutcome | None = None
    failure = None
    try:
        outcome = room.runner.run(plan, task, context.run.run_id, context.log.info, context.log.warning)
    except TaskError as error:
        failure = str(error)
    # Raised outside of the except clause: what the task raised may quote a secret.
    if failure is not None and context.retry_number < task.retries:
        wait = min(task.retry_delay * 2**context.retry_number, _LONGEST_WAIT)
        context.log.warning(
            "%s: attempt %d failed; the next in %d s. %s", task.id, context.retry_number + 1, wait, failure
        )
        raise dg.RetryRequested(task.retries, wait)
    if failure is not None and plan.tolerates_failures:
        context.log.error("%s: %s", task.id, failure)
        yield from _done(context, {_FAILED: failure})
        return
    if failure is not None or outcome is None:
        raise dg.Failure(description=f"{task.id}: {failure}", allow_retries=False)
    facts = {**outcome.facts, "changed": outcome.changed}
    if outcome.files:
        facts["files"] = ", ".join(map(str, outcome.files))
    for key, shown in outcome.assets.items():
        context.log_event(dg.AssetMaterialization(_key(key), metadata=shown))
    yield from _done(context, facts)
    for number in range(len(task.produces)):
        yield dg.Output(None, _output(number), metadata=facts)


def _done(context: dg.OpExecutionContext, metadata: Mapping[str, Any]) -> Iterator[dg.Output[None]]:
    """Yield the output that the next steps wait for; Dagster refuses it in an asset job if none does."""
    if _DONE in context.selected_output_names:
        yield dg.Output(None, _DONE, metadata=metadata)


def _left_out(context: dg.OpExecutionContext, plan: "TaskPlan", task: "PlannedTask") -> str | None:
    """Return why a task does not run in this run, or None."""
    start = context.run.tags.get(RUN_FROM)
    ids = [task.id for task in plan.tasks]
    if start in ids and task.id not in after(plan, start):
        return f"the run starts at {start}"
    if task.when is False:
        return "its condition `when` is false"
    if not plan.tolerates_failures or task.when == "always":
        return None
    failed = _failures(context)
    before = _before(plan, task)
    if task.when == "failure":
        return None if before & failed.keys() else "nothing before it failed"
    broken = sorted(before & failed.keys())
    return f"{', '.join(broken)} failed" if broken else None


def after(plan: "TaskPlan", start: str) -> set[str]:
    """Return the ids of a task and of all that come after it in the plan's order."""
    ids = [task.id for task in plan.tasks]
    return set(ids[ids.index(start) :])


def _before(plan: "TaskPlan", task: "PlannedTask") -> set[str]:
    """Return the ids of all tasks that a task needs, directly or through others."""
    needs = {task.id: task.needs for task in plan.tasks}
    found: set[str] = set()
    left = [*task.needs]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += needs[one]
    return found


def _failures(context: dg.OpExecutionContext) -> dict[str, str]:
    """Return the tasks of this run that have failed although their steps have not, with the reasons."""
    failed = {}
    for entry in context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.STEP_OUTPUT):
        event = entry.dagster_event
        metadata = event.step_output_data.metadata if event is not None else {}
        if event is not None and event.step_key is not None and _FAILED in metadata:
            failed[event.step_key.split(".")[-1]] = str(metadata[_FAILED].value)
    return failed


def _graph(plan: "TaskPlan", steps: _Steps) -> dg.GraphDefinition:
    """Build the graph of a file's tasks; its inputs and outputs are the assets that it reads and produces."""
    nodes: dict[str, dg.OpDefinition] = {}
    dependencies: dict[dg.NodeInvocation, dict[str, Any]] = {}
    inputs, outputs = [], []
    for task in plan.tasks:
        step = steps.of(task)
        nodes[step.name] = step
        invocation = dg.NodeInvocation(step.name, alias=task.id, tags={FILE: plan.name})
        dependencies[invocation] = _needs(task.needs)
        if not plan.produces:
            continue
        for number, key in enumerate(task.reads):
            inputs.append((name_of(_key(key)), task.id, _input(number)))
        for number, key in enumerate(task.produces):
            outputs.append(_mapped(key, task.id, number))
    if plan.whole or plan.tolerates_failures:
        last = steps.outcome(plan)
        nodes[last.name] = last
        dependencies[dg.NodeInvocation(last.name, alias=_OUTCOME)] = _needs([task.id for task in plan.tasks])
        for number, key in enumerate(plan.whole):
            outputs.append(_mapped(key, _OUTCOME, number))
    return dg.GraphDefinition(
        name=f"{TASKS}__{plan.name}",
        node_defs=list(nodes.values()),
        dependencies=dependencies,
        input_mappings=[
            dg.InputMapping(graph_input_name=name, mapped_node_name=node, mapped_node_input_name=inner)
            for name, node, inner in inputs
        ],
        output_mappings=outputs,
    )


def _mapped(key: str, node: str, number: int) -> dg.OutputMapping:
    return dg.OutputMapping(
        graph_output_name=name_of(_key(key)),
        mapped_node_name=node,
        mapped_node_output_name=_output(number),
    )


def _needs(ids: Sequence[str]) -> dict[str, Any]:
    if not ids:
        return {}
    return {_AFTER: dg.MultiDependencyDefinition([dg.DependencyDefinition(id_, _DONE) for id_ in ids])}


def _asset_job(plan: "TaskPlan", steps: _Steps) -> tuple[dg.AssetsDefinition, Any]:
    """Define the assets that a file produces, made by its tasks as a graph, and the job that makes them."""
    produces = [_key(key) for key in plan.produces]
    asset = dg.AssetsDefinition(
        keys_by_input_name={name_of(_key(key)): _key(key) for key in plan.reads},
        keys_by_output_name={name_of(key): key for key in produces},
        node_def=_graph(plan, steps),
        specs=[
            dg.AssetSpec(
                _key(key),
                deps=list(map(_key, upstream)),
                group_name=TASKS,
                owners=OWNERS,
                kinds={"task"},
                description=_description(plan),
                metadata={"file": plan.file.name},
            )
            for key, upstream in _lineage(plan).items()
        ],
    )
    job = dg.define_asset_job(
        plan.name,
        selection=dg.AssetSelection.assets(*produces),
        description=_description(plan),
        executor_def=dg.in_process_executor,
    )
    return asset, job


def _lineage(plan: "TaskPlan") -> dict[str, list[str]]:
    """Return the assets that a plan produces, each with those that its tasks up to it read and produce."""
    found: dict[str, list[str]] = {}
    by_id = {task.id: task for task in plan.tasks}
    for task in plan.tasks:
        before = [by_id[task_id] for task_id in by_id if task_id in _before(plan, task)]
        upstream = [key for task_before in before for key in (*task_before.reads, *task_before.produces)]
        for key in task.produces:
            found[key] = list(dict.fromkeys((*upstream, *task.reads)))
    everything = list(dict.fromkeys((*plan.reads, *found)))
    return {**found, **dict.fromkeys(plan.whole, everything)}
