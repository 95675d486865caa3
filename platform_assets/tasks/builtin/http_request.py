"""The task `http_request`: one request to an HTTP server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from platform_assets.configuration.secrets import Secret
from platform_assets.configuration.values import Address
from platform_assets.tasks.http import Request, send
from platform_assets.tasks.publishing import publish, temporary_path
from platform_assets.tasks.task import Task, TaskContext, TaskError, TaskOutcome

_MIB = 1 << 20


class HttpRequest(Task):
    """Send a request to an HTTP server, and keep the answer as a file if that is asked for.

    Headers may be references to secrets; neither headers nor bodies are logged. A redirect is followed to
    public addresses only, and without the headers if it leads to another host.

    Idempotent: GET and PUT are. For POST, send a header such as `Idempotency-Key = "report-"${TODAY}`
    if the server knows it. A downloaded file that has the same bytes already is left alone.
    """

    def run(
        self,
        context: TaskContext,
        url: Address,
        method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET",
        headers: dict[str, str | Secret] | None = None,
        body: str | None = None,
        json_body: Any = None,
        body_file: Path | None = None,
        output: Path | None = None,
        expect: list[int] | None = None,
        seconds: Annotated[float, Field(gt=0)] = 30,
        max_mb: Annotated[float, Field(gt=0)] = 100,
        max_redirects: Annotated[int, Field(ge=0, le=20)] = 5,
        allow_private_redirects: bool = False,
    ) -> TaskOutcome:
        """Send it.

        Args:
            context: The task's context.
            url: The address.
            method: The method.
            headers: Headers; a value may be a reference to a secret.
            body: The body, as text.
            json_body: The body, as a value that is sent as JSON.
            body_file: The body, as a file.
            output: The file to keep the answer in.
            expect: The status codes that mean success; by default 200 to 299.
            seconds: How long the server may stay silent.
            max_mb: The most megabytes of the answer.
            max_redirects: The most redirects to follow.
            allow_private_redirects: Follow redirects to addresses of private networks and of this machine,
                too.
        """
        if sum(given is not None for given in (body, json_body, body_file)) > 1:
            raise TaskError("Give one of body, json_body and body_file.")
        resolved = {
            name: context.secret(header) if isinstance(header, Secret) else header
            for name, header in (headers or {}).items()
        }
        content: bytes | Path | None = body_file
        if body is not None:
            content = body.encode()
        elif json_body is not None:
            content = json.dumps(json_body).encode()
            resolved.setdefault("Content-Type", "application/json")
        request = Request(
            method,
            url,
            resolved,
            content,
            seconds,
            int(max_mb * _MIB),
            max_redirects,
            allow_private_redirects,
            context.deadline,
        )
        if output is None:
            answer = send(request, None)
            changed = method not in ("GET", "HEAD")
        else:
            with temporary_path(output) as part:
                answer = send(request, part)
                self._check(answer.status, expect, url)
                changed = publish(part, output)
        self._check(answer.status, expect, url)
        context.log(f"{method} {answer.shown_url}: {answer.status}, {answer.size:,} bytes")
        facts = {"status": answer.status, "bytes": answer.size}
        return TaskOutcome([output] if output is not None else [], facts, changed)

    def _check(self, status: int, expect: list[int] | None, url: str) -> None:
        if not (status in expect if expect is not None else 200 <= status < 300):
            wanted = ", ".join(map(str, expect)) if expect is not None else "200 to 299"
            raise TaskError(f"{url.split('?')[0]} answered {status}; expected {wanted}.")
