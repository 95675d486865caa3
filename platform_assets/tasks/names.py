"""Names that the plans of task files and their jobs share; imports nothing."""

TASKS = "tasks"
"""The assets' group, and the first part of the keys of files that name no key of their own."""


def schedule_name(job: str) -> str:
    """Return the name of a job's schedule."""
    return f"{job}_schedule"
