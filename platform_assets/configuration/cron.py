"""Validation of cron expressions by Dagster, which runs the schedules."""

import functools

USUAL = frozenset({"*/5 * * * *", "*/15 * * * *", "30 2 * * *", "0 * * * *", "@hourly", "@daily"})
"""Valid expressions that are accepted without Dagster: its import takes a second."""


@functools.lru_cache(maxsize=1_000)
def cron_expression(value: str) -> str:
    """Validate a cron expression.

    Raises:
        ValueError: Dagster does not accept it.
    """
    if value in USUAL:
        return value
    import dagster as dg

    try:
        dg.ScheduleDefinition(name="validated", job_name="validated", cron_schedule=value)
    except dg.DagsterInvalidDefinitionError:
        raise ValueError(
            "minute, hour, day of month, month and day of week make five fields, of which Dagster does not "
            "accept at least one"
        ) from None
    return value
