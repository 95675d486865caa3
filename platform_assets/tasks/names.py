"""Names that the plans of task files and their jobs share; imports nothing that takes time."""

import keyword

TASKS = "tasks"
"""The assets' group, and the first part of the keys of files that name no key of their own."""

RESERVED = frozenset(
    {"context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict", "int"}
    | {"str", "float", "bool", "input", "output", "type", *keyword.kwlist}
)
"""Names that Dagster takes for no job and no step, because they have a meaning in it or in Python."""
RESERVED_IDS = RESERVED | {"result", "outcome"}
"""Names that no task's step can have: those, and the names of the outputs of steps."""


def schedule_name(job: str) -> str:
    """Return the name of a job's schedule."""
    return f"{job}_schedule"
