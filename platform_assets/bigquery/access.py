"""Access to BigQuery: the client, SQL quoting, and translation of its errors.

Google's packages are imported only when a client is created. This module knows nothing about what is loaded.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.errors import WarehouseBusy, WarehouseError
from platform_assets.model.dialects import BIGQUERY

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud import bigquery

_PERMISSION = re.compile(r"\b(?:bigquery|storage)\.[A-Za-z]+\.[A-Za-z]+\b")
_DENIED_ON = re.compile(r"\b(?:Dataset|Table|dataset|table) (?P<project>[\w.:-]+):(?P<dataset>\w+)")
_REQUEST = re.compile(r"^(?:GET|POST|PUT|PATCH|DELETE) \S+: ")
_CONFLICTS = ("concurrent update", "could not serialize access", "concurrent transaction")
_LATER = frozenset(
    {"backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded"}
    | {"quotaExceeded", "rateLimitExceeded"}
)
# The smallest role that includes each permission, and the resource to grant it on.
_ROLES = (
    ("bigquery.jobs.", "roles/bigquery.jobUser", "project"),
    ("bigquery.readsessions.", "roles/bigquery.readSessionUser", "project"),
    ("bigquery.datasets.create", "roles/bigquery.user", "project"),
    ("bigquery.", "roles/bigquery.dataEditor", "dataset"),
    ("storage.", "roles/storage.objectViewer", "bucket"),
)


class LoadOvertaken(WarehouseBusy):
    """Another load changed the table that this load started from; this load wrote nothing."""


@dataclass(frozen=True)
class BigQueryAccess:
    """Connection settings of BigQuery, and the clients made from them.

    Args:
        project: Project that holds the datasets and that jobs are billed to; None means the project of the
            application default credentials.
        location: Location of the datasets and of all jobs, such as `EU` or `europe-west2`.
        credentials: Returns the JSON text of a service account key when a client is created; None means
            application default credentials.
        endpoint: Alternative API address, such as Private Service Connect or an emulator; `http://` addresses
            are used without credentials.
        labels: Labels set on every job, for cost reports.
        retry_for: How long transient errors are retried, in seconds.
        maximum_bytes_billed: Bytes that one query may read; None means no limit.
    """

    project: str | None = None
    location: str = "EU"
    credentials: Callable[[], str] | None = field(repr=False, default=None)
    endpoint: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: {"application": "platform_assets"})
    retry_for: float = 120
    maximum_bytes_billed: int | None = None

    @contextlib.contextmanager
    def connect(self) -> Iterator[bigquery.Client]:
        """A client, closed at the end. Nothing is requested until the client is used.

        Raises:
            WarehouseError: There are no credentials, they are not valid, or the package is missing.
        """
        try:
            from google.auth import exceptions as auth
            from google.cloud import bigquery
        except ImportError:
            raise WarehouseError(
                "BigQuery cannot be reached without Google's packages; install the gcp extra: "
                "pip install 'platform-assets[gcp]'."
            ) from None
        queries = bigquery.QueryJobConfig(labels=dict(self.labels))
        if self.maximum_bytes_billed is not None:
            queries.maximum_bytes_billed = self.maximum_bytes_billed
        credentials = self._google_credentials()
        try:
            client = bigquery.Client(
                project=self.project,
                credentials=credentials,
                location=self.location,
                default_query_job_config=queries,
                default_load_job_config=bigquery.LoadJobConfig(labels=dict(self.labels)),
                client_options={"api_endpoint": self.endpoint} if self.endpoint else None,
            )
        except auth.GoogleAuthError as error:
            raise WarehouseError(
                "BigQuery cannot be reached: no application default credentials were found "
                f"({_first_line(str(error))}). Run `gcloud auth application-default login`, or name the "
                "secret that holds a service account's key."
            ) from error
        except OSError as error:
            raise WarehouseError(
                "BigQuery cannot be reached: neither the configuration nor the credentials name a project. "
                "Name the project."
            ) from error
        try:
            yield client
        finally:
            client.close()  # type: ignore[no-untyped-call]

    @property
    def retry(self) -> Retry:
        """The retry policy for transient errors."""
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(self.retry_for)

    def _google_credentials(self) -> Any:
        if self.endpoint is not None and self.endpoint.startswith("http://"):
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        if self.credentials is None:
            return None
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2 import service_account

        try:
            key = json.loads(self.credentials())
            return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                key, scopes=("https://www.googleapis.com/auth/cloud-platform",)
            )
        except (ValueError, TypeError, GoogleAuthError):
            # Do not repeat the value that was found: it may be a key.
            raise WarehouseError(
                "The credentials for BigQuery cannot be used: the secret is not the JSON of a service "
                "account's key. Create a key with `gcloud iam service-accounts keys create`, and store the "
                "whole file."
            ) from None

    @contextlib.contextmanager
    def translated(self, attempt: str, client: bigquery.Client) -> Iterator[None]:
        """Translate BigQuery's errors to the platform's errors.

        Args:
            attempt: The operation, worded to follow "BigQuery could not".
            client: The client that makes the requests.

        Raises:
            LoadOvertaken: Another load changed the table first.
            WarehouseBusy: A retry may succeed.
            WarehouseError: A user has to change something.
        """
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            yield
        except (exceptions.RetryError, requests.RequestException, TransportError, TimeoutError) as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, exceptions.GoogleAPICallError):
                raise self._explained(cause, attempt, client) from error
            raise WarehouseBusy(
                f"BigQuery could not {attempt}, as it does not answer: "
                f"{_first_line(str(cause)).rstrip('.')}. Check the "
                "network, and https://status.cloud.google.com; this attempt changed nothing, and the next "
                "attempt continues."
            ) from error
        except GoogleAuthError as error:
            raise WarehouseError(
                f"BigQuery could not {attempt}, as the credentials are refused: "
                f"{_first_line(str(error)).rstrip('.')}. "
                "Check that the service account exists and that its key has not been deleted."
            ) from error
        except exceptions.GoogleAPICallError as error:
            raise self._explained(error, attempt, client) from error

    def _explained(self, error: Any, attempt: str, client: bigquery.Client) -> WarehouseError:
        details = next((detail for detail in error.errors if isinstance(detail, dict)), {})
        # Error messages start with the request or the job's address, which only adds noise.
        message = _REQUEST.sub("", _first_line(str(details.get("message") or error.message))).rstrip(".")
        reason, code = str(details.get("reason", "")), int(error.code or 0)
        start = f"BigQuery could not {attempt}: {message}."
        if OVERTAKEN in message:
            return LoadOvertaken(
                f"BigQuery could not {attempt}, because another load committed first. Nothing was written; "
                "the next load writes what is left."
            )
        if any(sign in message.lower() for sign in _CONFLICTS):
            return LoadOvertaken(
                f"{start} Another load or statement is writing to the same tables; nothing was written, "
                "and the next attempt does the work again."
            )
        if code == 404 and "staging_" in message:
            return LoadOvertaken(
                f"{start} Another load removed the staged data; nothing was written, and the next attempt "
                "does the work again."
            )
        if reason in _LATER or code == 429 or code >= 500:
            return WarehouseBusy(f"{start} This is temporary; the next attempt does the work again.")
        if code == 403 or reason in ("accessDenied", "responseTooLarge"):
            return WarehouseError(f"{start} {self.how_to_grant(message, client)}")
        if code == 401:
            return WarehouseError(f"{start} The credentials are not valid: check the key or sign in again.")
        if code == 404 and "location" in message.lower():
            return WarehouseError(
                f"{start} Jobs run in {self.location}: check that the dataset is there too; BigQuery does "
                "not find datasets of other locations."
            )
        return WarehouseError(start)

    def how_to_grant(self, denial: str, client: bigquery.Client) -> str:
        """The command that grants a missing permission, as sentences.

        Args:
            denial: BigQuery's message, with the permission and the resource it was denied on.
            client: The client that was denied.
        """
        found = _PERMISSION.search(denial)
        if found is None:
            return "Ask the project's owner for the roles that the documentation lists."
        permission = found.group()
        role, level = next((role, on) for start, role, on in _ROLES if permission.startswith(start))
        account = getattr(getattr(client, "_credentials", None), "service_account_email", None)
        member = f"serviceAccount:{account}" if account and "@" in account else "user:YOUR-ACCOUNT"
        place = _DENIED_ON.search(denial)
        if level == "dataset" and place is not None:
            return (
                f"The permission {permission} is missing. Grant it: GRANT `{role}` ON SCHEMA "
                f"{BIGQUERY.quote(place['project'], place['dataset'])} TO {BIGQUERY.literal(member)};"
            )
        target = (
            "storage buckets add-iam-policy-binding gs://BUCKET"
            if level == "bucket"
            else f"projects add-iam-policy-binding {client.project}"
        )
        return (
            f"The permission {permission} is missing. Grant it: gcloud {target} --member={member} "
            f"--role={role}"
        )


OVERTAKEN = "platform_assets: another load was faster"
"""Error message of a load's transaction if its guard finds that another load was faster."""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]
