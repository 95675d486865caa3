"""Logs: events with fields, as JSON in production and as plain sentences in a terminal.

An event has a name that stays the same from version to version (`EVENTS`), a sentence for people, and fields
for programs. With `logging.format = json`, every line that this process logs is one JSON object on stderr,
whoever logs it: the platform, Dagster or another library. Fields are names, numbers and times, never values
of rows; docs/logs.md describes them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal

EVENTS: Mapping[str, str] = {
    "run_started": "A run has begun: a tick, or a run of another job.",
    "run_finished": "A run has succeeded.",
    "run_failed": "A run has failed; `error` says why.",
    "run_canceled": "A run was stopped.",
    "step_finished": "A step of a run has succeeded.",
    "step_failed": "A step of a run has failed, and is not tried again.",
    "step_retried": "A step of a run has failed, and is tried again.",
    "check_failed": "A check of an asset did not pass.",
    "table_read": "A source table was read, and its changes were committed to the lake.",
    "table_skipped": "A table was skipped and keeps its last loaded data; `reason` says why.",
    "batch_committed": "A source was read, and its batch is committed.",
    "dead_letters": "Rows of a source table broke a declared rule and were set apart.",
    "star_built": "A star table got the rows of new batches.",
    "warehouse_loaded": "A warehouse table got the rows of new batches.",
    "object_inspected": "An uploaded object was inspected.",
    "feed_read": "Files of a feed were read into its table.",
    "delivery_attempt": "A delivery was tried at one destination.",
    "alert": "An alert, as the channel `log` gets it.",
    "alerts_sent": "Alerts that were due were sent to their channels.",
    "upkeep": "Upkeep of a table has changed it, or has failed.",
    "upkeep_finished": "Upkeep of all tables has ended.",
    "command_failed": "A command has failed.",
    "line": "Any other line: of a step, of Dagster, of a library.",
}
"""The events by name. Names and fields stay; new ones may be added."""

Level = Literal["debug", "info", "warning", "error"]
_LOGGER = "platform_assets.events"
_EVENT, _FIELDS = "platform_event", "platform_fields"
_LONGEST_MESSAGE = 4_000
_MOST_FRAMES = 40
_WRAPPERS = re.compile(r"Dagster\w+|RetryRequested\w*")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

# Dagster's events that are events here, with the least level that they have here; all others are details.
_OF_DAGSTER = {
    "RUN_START": ("run_started", logging.INFO),
    "RUN_SUCCESS": ("run_finished", logging.INFO),
    "RUN_FAILURE": ("run_failed", logging.ERROR),
    "RUN_CANCELED": ("run_canceled", logging.WARNING),
    "STEP_SUCCESS": ("step_finished", logging.DEBUG),
    "STEP_FAILURE": ("step_failed", logging.ERROR),
    "STEP_UP_FOR_RETRY": ("step_retried", logging.WARNING),
}


def event(name: str, message: str, *, level: Level = "info", **fields: object) -> None:
    """Log an event.

    Args:
        name: Its name, from `EVENTS`.
        message: A sentence about it.
        level: debug: details for whoever looks for a fault; info: what was done; warning: something needs
            attention, and the work went on; error: something was not done.
        **fields: Names, counts, durations in seconds, times; no values of rows.
    """
    logging.getLogger(_LOGGER).log(_LEVELS[level], message, extra=event_fields(name, **fields))


def event_fields(name: str, **fields: object) -> dict[str, Any]:
    """Return what makes a line of any logger an event, as its argument `extra`."""
    return {_EVENT: name, _FIELDS: fields}


def is_json() -> bool:
    """Return True if this process logs JSON."""
    return _handler() is not None


def _handler() -> JsonHandler | None:
    return next(
        (handler for handler in logging.getLogger().handlers if isinstance(handler, JsonHandler)), None
    )


def configure(format_: Literal["json", "text"], level: Level) -> None:
    """Let this process log as configured, from here on; as text, the loggers of others stay as they are.

    Args:
        format_: `json` or `text`.
        level: The least severe level that is logged.
    """
    events = logging.getLogger(_LOGGER)
    if format_ == "text":
        # The sentences of the commands and Dagster's own lines say the same to people.
        events.propagate = is_json()
        if not events.handlers:
            events.addHandler(logging.NullHandler())
        return
    root, least = logging.getLogger(), _LEVELS[level]
    events.propagate = True
    # Other handlers of the root would write the same lines once more, as text.
    root.handlers[:] = [JsonHandler(least)]
    # The progress of other libraries is a detail.
    root.setLevel(max(least, logging.WARNING) if least > logging.DEBUG else logging.INFO)
    for name in ("platform_assets", "dagster"):
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(capture=True)
    for name in ("dagster", "dagit", "dagster-webserver"):
        # What Dagster's processes have configured when they started; its lines get here through the root.
        logging.getLogger(name).handlers.clear()
    sys.excepthook = _log_uncaught


def console_of_runs() -> logging.Logger:
    """Return a logger for the lines and events of Dagster's runs, in JSON, with the level of this process."""
    of_process = _handler() or JsonHandler(logging.DEBUG)
    made = logging.getLogger("platform_assets.runs")
    made.setLevel(logging.DEBUG)
    made.propagate = False
    made.handlers[:] = [RunHandler(of_process)]
    return made


@contextmanager
def json_output() -> Iterator[None]:
    """Let all that this process and its child processes print be JSON on stderr, an object a line.

    For processes of Dagster, which are started with its own form of JSON, and may print other lines.
    """
    kept = os.dup(2)
    reading, writing = os.pipe()
    saved = os.dup(1), os.dup(2)
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)

    def translate() -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                # A line that cannot be written, such as to a full disk, is lost; who prints goes on.
                with contextlib.suppress(Exception):
                    if text := line.strip():
                        printed = json.dumps(translated(text), ensure_ascii=False)
                        _write_all(kept, f"{printed}\n".encode(errors="replace"))
        os.close(kept)

    thread = threading.Thread(target=translate, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), saved, strict=True):
            os.dup2(before, number)
            os.close(before)
        # Child processes that are still ending keep the pipe open.
        thread.join(timeout=5)


def _write_all(file: int, data: bytes) -> None:
    """Write bytes to an open file, all of them."""
    while data:
        data = data[os.write(file, data) :]


def translated(text: str) -> dict[str, Any]:
    """Return the object for a printed line: ours as it is, Dagster's with our names, others as a message."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if isinstance(line, dict) and {"time", "level", "event", "message"} <= line.keys():
        return line
    of_dagster = line if isinstance(line, dict) and "event" in line else {"event": text}
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    level = str(of_dagster.get("level", "info"))
    return {
        "time": str(of_dagster.get("timestamp", now)),
        "level": "error" if level == "critical" else level,
        "event": "line",
        "message": _short(str(of_dagster["event"])),
        "logger": str(of_dagster.get("logger", "output")),
    }


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, Exception) or kind.__name__ == "Abort":
        return  # somebody has interrupted the command
    logging.getLogger(_LOGGER).error(
        "The command failed.",
        exc_info=(kind, error, trace),
        extra=event_fields("command_failed"),
    )


class JsonHandler(logging.Handler):
    """Writes records as JSON to stderr, an object a line, with the run and step that this process is in.

    Args:
        level: The least severe level that is written.

    Attributes:
        place: The fields of the run and the step; `RunHandler` keeps them.
        begun: When each run has begun, by the monotonic clock; likewise.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.place: dict[str, str] = {}
        self.begun: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; one that cannot be written is reported as `logging` does."""
        # Lines of a run are written by `RunHandler`, and get here too if Dagster has captured them.
        if not hasattr(record, "dagster_meta"):
            try:
                self.write({**_line(record, record.levelno), **self.place, **_given(record)})
            except Exception:  # noqa: BLE001 - a line that cannot be written must not end the work
                self.handleError(record)

    def write(self, line: Mapping[str, Any]) -> None:
        """Write one object."""
        text = json.dumps(line, ensure_ascii=False, default=str)
        with self.lock or threading.Lock():
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()


class RunHandler(logging.Handler):
    """Writes the lines and events of Dagster's runs by the handler of the process.

    Args:
        of_process: That handler.
    """

    def __init__(self, of_process: JsonHandler) -> None:
        super().__init__(logging.NOTSET)
        self._of_process = of_process

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, unless it is a detail that nobody asked for."""
        try:
            line = self._line_of_run(record, record.dagster_meta)  # type: ignore[attr-defined]
            if line is not None:
                self._of_process.write(line)
        except Exception:  # noqa: BLE001 - a line that cannot be written must not end the work
            self.handleError(record)

    def _line_of_run(self, record: logging.LogRecord, meta: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the object for a line or an event of a run; None for a detail."""
        happened = meta.get("dagster_event")
        level, name, fields = record.levelno, "", dict[str, Any]()
        place = {"run_id": meta["run_id"], "job": meta["job_name"], "step": meta["step_key"]}
        place = {key: value for key, value in place.items() if value}
        if happened is not None:
            kind = str(happened.event_type_value).replace("PIPELINE_", "RUN_")
            self._keep_place(kind, place)
            name, level = _OF_DAGSTER.get(kind, ("line", logging.DEBUG))
            fields, level = self._fields_of(happened, kind, str(meta["run_id"]), level)
            if "check" in fields:
                name = "check_failed"
            elif name == "line":
                fields["dagster_event"] = kind
        if level < self._of_process.level:
            return None
        line = _line(record, level)
        line["event"] = name or line["event"]
        line["message"] = _short(str(meta.get("orig_message") or record.getMessage()))
        return {**line, **place, **_given(record), **fields}

    def _keep_place(self, kind: str, place: Mapping[str, str]) -> None:
        """Remember where this process is, for lines that others log."""
        if kind in ("RUN_SUCCESS", "RUN_FAILURE", "RUN_CANCELED"):
            self._of_process.place = {}
        elif kind in ("STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_SKIPPED"):
            self._of_process.place = {key: value for key, value in place.items() if key != "step"}
        elif kind in ("RUN_START", "STEP_START", "STEP_RESTARTED"):
            self._of_process.place = dict(place)

    def _fields_of(self, happened: Any, kind: str, run: str, level: int) -> tuple[dict[str, Any], int]:
        """Return the fields of an event, and its level here."""
        fields: dict[str, Any] = {}
        data = happened.event_specific_data
        if kind == "RUN_START":
            self._of_process.begun[run] = time.monotonic()
        elif kind in ("RUN_SUCCESS", "RUN_FAILURE", "RUN_CANCELED") and run in self._of_process.begun:
            fields["seconds"] = round(time.monotonic() - self._of_process.begun.pop(run), 3)
        elif kind == "STEP_SUCCESS" and data is not None:
            fields["seconds"] = round(data.duration_ms / 1000, 3)
        elif kind == "ASSET_CHECK_EVALUATION" and data is not None and not data.passed:
            level = logging.WARNING if data.severity.value == "WARN" else logging.ERROR
            fields |= {"check": data.check_name, "asset": "/".join(data.asset_key.path)}
        if happened.asset_key is not None:
            fields["asset"] = "/".join(happened.asset_key.path)
        if (error := getattr(data, "error", None)) is not None:
            fields["error"] = _stored_error(error)
        return fields, level


def _line(record: logging.LogRecord, level: int) -> dict[str, Any]:
    """Return what every object has, and the error if the record has one."""
    moment = dt.datetime.fromtimestamp(record.created, dt.UTC)
    name = logging.getLevelName(level).lower()
    line: dict[str, Any] = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": "error" if name == "critical" else name,
        "event": getattr(record, _EVENT, "line"),
        "message": _short(record.getMessage()),
        "logger": record.name,
    }
    if record.exc_info and record.exc_info[1] is not None:
        line["error"] = _error(record.exc_info[1])
    return line


def _given(record: logging.LogRecord) -> Mapping[str, Any]:
    """Return the fields of an event."""
    fields: Mapping[str, Any] = getattr(record, _FIELDS, {})
    return fields


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 1]}…"


def _error(error: BaseException) -> dict[str, Any]:
    """Return type, message and traceback of an error; the traceback has places, without code and values."""
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    described: dict[str, Any] = {
        "type": type(error).__name__,
        "message": _short(str(error)),
        "traceback": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if error.__cause__ is not None:
        described["cause"] = type(error.__cause__).__name__
    return described


def _stored_error(error: Any) -> dict[str, Any]:
    """Return an error as Dagster has stored it, in the form of `_error`; without Dagster's wrappers."""
    while error.cause is not None and _WRAPPERS.fullmatch(error.cls_name or ""):
        error = error.cause
    places = [
        f"{found[1]}:{found[2]} {found[3]}"
        for line in error.stack
        if (found := _FRAME.search(line)) is not None
    ]
    return {
        "type": error.cls_name or "",
        "message": _short(error.message.strip()),
        "traceback": places[-_MOST_FRAMES:],
    }
