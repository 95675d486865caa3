"""The task `wait_for_object`: until an object has arrived."""

from __future__ import annotations

import datetime as dt
import time
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import absolute_path, base_folder
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome


def _place(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and not value.startswith(("s3://", "gs://")):
        return str(absolute_path(value, base_folder(info)))
    return value


class WaitForObject(Task):
    """Wait until a folder or bucket has an object.

    Idempotent: it only looks.
    """

    def run(
        self,
        context: TaskContext,
        place: Annotated[str, BeforeValidator(_place)],
        pattern: str,
        every: Annotated[float, Field(gt=0)] = 30,
        minutes: Annotated[float, Field(ge=0)] = 60,
        min_size: Annotated[int, Field(ge=0)] = 0,
        newer_than_hours: Annotated[float, Field(gt=0)] | None = None,
    ) -> TaskOutcome:
        """Wait.

        Args:
            context: The task's context.
            place: A folder, s3://bucket/prefix or gs://bucket/prefix; buckets are opened with
                lake.storage_options.
            pattern: The object's key below the place, such as ${TODAY}/ready or incoming/*.csv.
            every: Seconds between looks.
            minutes: How long to wait in all; 0 looks once.
            min_size: The least size in bytes that counts.
            newer_than_hours: Only objects that were written within so many hours count.
        """
        until = time.monotonic() + minutes * 60
        is_told = False
        while True:
            now = dt.datetime.now(dt.UTC)
            found = [
                object_
                for object_ in context.buckets.find(place, pattern)
                if object_.size >= min_size
                and (
                    newer_than_hours is None or now - object_.modified <= dt.timedelta(hours=newer_than_hours)
                )
            ]
            if found:
                context.log(f"{found[0].uri} is there")
                return TaskOutcome(facts={"objects": len(found)}, changed=False)
            if time.monotonic() + every > until:
                raise TaskError(
                    f"Nothing that matches {pattern} came to {place} within {minutes:g} minutes. Find out "
                    "why it is "
                    "late, or wait longer."
                )
            if not is_told:
                context.log(f"waiting for {pattern} in {place}")
                is_told = True
            time.sleep(context.deadline.at_most(every))
