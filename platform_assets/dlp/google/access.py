"""Access to Google's Sensitive Data Protection: the client, and translation of its errors.

Google's packages are imported only when a client is created. This module knows nothing about what is
inspected.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.local.detectors import BY_NAME
from platform_assets.dlp.model import InfoType, InspectConfig, Sensitivity
from platform_assets.errors import DlpError

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud.dlp_v2 import DlpServiceClient

VERSION = "google"
"""Version used for info types that have none at Google."""

_UNSECURED = "http://"
_LONGEST_WAIT = 32.0
_SENSITIVITIES = {level.value: level for level in Sensitivity}
_QUOTA = 429


class DlpUnavailable(DlpError):
    """Google did not answer in time, or asked to retry later; the request can be repeated."""

    retryable = True


@dataclass(frozen=True)
class DlpAccess:
    """Connection settings of Sensitive Data Protection.

    Args:
        project: Project that owns the jobs and is billed for inspections; None means the project of the
            credentials.
        location: Where data is processed, such as `europe-west2` or `eu`; `global` leaves it to Google.
        credentials: Returns the JSON text of a service account key when a client is created; None means
            application default credentials.
        endpoint: Alternative API address, such as that of a region or of Private Service Connect; `http://`
            addresses are used without credentials and encryption.
        retry_for: How long transient errors are retried, in seconds.
        first_wait: The wait before the first retry, in seconds; doubled after each further retry.
        timeout: Time limit of one request, in seconds.
    """

    project: str | None = None
    location: str = "global"
    credentials: Callable[[], str] | None = field(repr=False, default=None)
    endpoint: str | None = None
    retry_for: float = 300
    first_wait: float = 1
    timeout: float = 60

    @contextlib.contextmanager
    def connect(self) -> Iterator[DlpSession]:
        """Open a session and close it at the end. Nothing is requested until the session is used.

        Raises:
            DlpError: There are no credentials or no project, the credentials are not valid, or the package is
                missing.
        """
        try:
            from google.cloud import dlp_v2
        except ImportError:
            raise DlpError(
                "Google's Sensitive Data Protection cannot be reached without its package; install the gcp "
                "extra: pip install 'platform-assets[gcp]'."
            ) from None
        if self.endpoint is not None and self.endpoint.startswith(_UNSECURED):
            project, client = self.project, self._unsecured_client()
        else:
            credentials, project = self._google_credentials()
            client = dlp_v2.DlpServiceClient(
                credentials=credentials,
                client_options={"api_endpoint": self.endpoint} if self.endpoint else None,
            )
        # At level DEBUG the client would log every request completely, including the inspected text.
        logging.getLogger(type(client.transport).__module__).setLevel(logging.INFO)
        with contextlib.closing(client.transport):
            if not project:
                raise DlpError(
                    "Google's Sensitive Data Protection cannot be used, as no project was named and the "
                    "credentials name none. Name the project."
                )
            yield DlpSession(client, project, self)

    def _unsecured_client(self) -> DlpServiceClient:
        import grpc  # type: ignore[import-untyped]
        from google.cloud import dlp_v2
        from google.cloud.dlp_v2.services.dlp_service.transports import DlpServiceGrpcTransport

        channel = grpc.insecure_channel((self.endpoint or "").removeprefix(_UNSECURED))
        return dlp_v2.DlpServiceClient(transport=DlpServiceGrpcTransport(channel=channel))

    def _google_credentials(self) -> tuple[Any, str | None]:
        from google import auth
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2 import service_account

        scopes = ("https://www.googleapis.com/auth/cloud-platform",)
        if self.credentials is None:
            try:
                credentials, project = auth.default(scopes=scopes)
            except GoogleAuthError as error:
                raise DlpError(
                    "Google's Sensitive Data Protection cannot be used: no application default credentials "
                    f"were found ({_first_line(str(error))}). Run `gcloud auth application-default login`, "
                    "or configure the secret with a service account's key."
                ) from error
            return credentials, self.project or project
        try:
            key = dict(json.loads(self.credentials()))
            made = service_account.Credentials.from_service_account_info(key, scopes=scopes)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, GoogleAuthError):
            # Do not repeat the value that was found: it may be a key.
            raise DlpError(
                "The credentials for Sensitive Data Protection cannot be used: the secret is not the JSON of "
                "a service account's key. Create a key with `gcloud iam service-accounts keys create`, and "
                "store the whole file."
            ) from None
        return made, self.project or made.project_id


@dataclass(frozen=True)
class DlpSession:
    """A client with its request settings. Thread-safe.

    Args:
        client: Google's client.
        project: The project that is billed.
        access: The connection settings.
    """

    client: DlpServiceClient
    project: str
    access: DlpAccess

    @property
    def parent(self) -> str:
        """The parent of requests: the project, at the location where data is processed."""
        return f"projects/{self.project}/locations/{self.access.location}"

    @cached_property
    def info_types(self) -> Mapping[str, InfoType]:
        """The info types that Google supports at this location, by name. Requested once.

        Info types that the local inspector supports too have its sensitivity, so that a policy has the same
        effect.

        Raises:
            DlpError: The list cannot be read.
        """
        with self.translated("list its info types"):
            listed = self.client.list_info_types(
                request={"parent": f"locations/{self.access.location}", "filter": "supported_by=INSPECT"},
                retry=self.retry,
                timeout=self.access.timeout,
            )
        return {
            info_type_.name: InfoType(
                info_type_.name,
                VERSION,
                BY_NAME[info_type_.name].info_type.sensitivity
                if info_type_.name in BY_NAME
                else _SENSITIVITIES.get(int(info_type_.sensitivity_score.score), Sensitivity.MODERATE),
            )
            for info_type_ in listed.info_types
        }

    def looked_for(self, config: InspectConfig) -> tuple[str, ...]:
        """The names of Google's info types that a configuration looks for.

        Args:
            config: The configuration; if it names none, the local inspector's default info types are used, as
                far as Google supports them at this location. Google's own default changes over time, so that
                a configuration would no longer say what was inspected.

        Raises:
            DlpError: It names info types that Google does not support, or none at all.
        """
        custom = {type_.info_type.name for type_ in config.custom_info_types}
        unknown = sorted(set(config.info_types) - custom - self.info_types.keys())
        if unknown:
            raise DlpError(
                f"Google does not know these info types at {self.access.location}: {', '.join(unknown)}. "
                "Remove them, declare them as custom info types, or use the local inspector."
            )
        names = config.info_types or [
            name
            for name, detector in BY_NAME.items()
            if detector.by_default or name in config.min_likelihood_per_info_type
        ]
        left = tuple(
            name for name in names if name in self.info_types and name not in config.exclude_info_types
        )
        if not left and not custom - set(config.exclude_info_types):
            # Without any info type, Google would use its own default.
            raise DlpError(
                "The inspection has nothing to look for: all its info types are excluded. Exclude fewer info "
                "types."
            )
        return left

    @property
    def retry(self) -> Retry:
        """The retry policy for transient errors."""
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type
        from google.auth.exceptions import TransportError

        return Retry(
            predicate=if_exception_type(
                exceptions.TooManyRequests,
                exceptions.ServiceUnavailable,
                exceptions.GatewayTimeout,
                exceptions.InternalServerError,
                exceptions.Aborted,
                TransportError,
            ),
            initial=self.access.first_wait,
            maximum=max(_LONGEST_WAIT, self.access.first_wait),
            multiplier=2,
            timeout=self.access.retry_for,
        )

    @contextlib.contextmanager
    def translated(self, attempt: str) -> Iterator[None]:
        """Translate Google's errors to the platform's errors.

        Args:
            attempt: The operation, worded to follow "Sensitive Data Protection could not".

        Raises:
            DlpUnavailable: A retry may succeed.
            DlpError: A user has to change something.
        """
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError, TransportError

        try:
            yield
        except exceptions.RetryError as error:
            cause = error.cause
            raise self._later(attempt, cause if cause is not None else error) from error
        except TransportError as error:
            raise self._later(attempt, error) from error
        except GoogleAuthError as error:
            raise DlpError(
                f"Sensitive Data Protection could not {attempt}: the credentials were rejected: "
                f"{_first_line(str(error))}. Check that the service account exists and that its key was not "
                "deleted."
            ) from error
        except exceptions.GoogleAPICallError as error:
            raise self._refusal(error, attempt) from error

    def _later(self, attempt: str, error: BaseException) -> DlpUnavailable:
        reason = _first_line(str(getattr(error, "message", error))).rstrip(".")
        if getattr(error, "code", None) == _QUOTA:
            hint = (
                "The project's quota is used up: inspect less at once, or request a higher quota at "
                f"https://console.cloud.google.com/iam-admin/quotas?project={self.project}."
            )
        else:
            hint = "Check the network, and https://status.cloud.google.com."
        return DlpUnavailable(
            f"Sensitive Data Protection could not {attempt} within {self.access.retry_for:g} s: {reason}. "
            f"{hint} The next attempt tries again."
        )

    def _refusal(self, error: Any, attempt: str) -> DlpError:
        """Translate an error of Google's API; only a full quota and the server's own errors are temporary."""
        from google.api_core import exceptions

        if int(error.code or 0) >= 500 or int(error.code or 0) == _QUOTA:
            return self._later(attempt, error)
        reason = _first_line(str(error.message)).rstrip(".")
        advice: Mapping[type[Exception], Callable[[], str]] = {
            exceptions.InvalidArgument: lambda: (
                f"{_violations(error)} Correct the named fields of the configuration."
            ),
            exceptions.Unauthenticated: lambda: (
                " The credentials are not valid: check the key or sign in again."
            ),
            exceptions.Forbidden: lambda: f" {self._how_to_grant(error, reason)}",
            exceptions.NotFound: lambda: (
                f" Check the project {self.project}, the location {self.access.location}, and the names of "
                "bucket, topic and table."
            ),
            exceptions.FailedPrecondition: lambda: " Meet this condition, then try again.",
        }
        found = next((advise() for kind, advise in advice.items() if isinstance(error, kind)), "")
        return DlpError(f"Sensitive Data Protection could not {attempt}: {reason}.{found}")

    def _how_to_grant(self, error: Any, reason: str) -> str:
        if error.reason == "SERVICE_DISABLED" or "has not been used" in reason:
            return f"Enable the API: gcloud services enable dlp.googleapis.com --project={self.project}"
        account = getattr(self.client.transport._credentials, "service_account_email", None)
        member = f"serviceAccount:{account}" if account and "@" in account else "user:YOUR-ACCOUNT"
        return (
            f"Grant the role: gcloud projects add-iam-policy-binding {self.project} --member={member} "
            "--role=roles/dlp.user"
        )


def _violations(error: Any) -> str:
    """The invalid fields of a rejected request, as a sentence that starts with a space."""
    found = [
        f"{violation.field}: {violation.description}".strip(": ")
        for detail in error.details or ()
        for violation in getattr(detail, "field_violations", ())
    ]
    return f" It names {'; '.join(found)}." if found else ""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]
