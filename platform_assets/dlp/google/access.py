"""Access to Google's Sensitive Data Protection: a client when it is needed, its errors in plain words.

Nothing of Google's is imported before a client is made. What is inspected is not known here.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from platform_assets.dlp.detectors import BY_NAME
from platform_assets.dlp.model import InfoType, InspectConfig, Sensitivity
from platform_assets.errors import DlpError

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.cloud.dlp_v2 import DlpServiceClient

VERSION = "google"
"""Version of an info type whose detector has none at Google."""

_UNSECURED = "http://"
_LONGEST_WAIT = 32.0
_SENSITIVITIES = {one.value: one for one in Sensitivity}
_QUOTA = 429


class DlpUnavailable(DlpError):
    """Google did not answer in time, or asked to come back later; what was asked can be asked again."""

    retryable = True


@dataclass(frozen=True)
class DlpAccess:
    """How Sensitive Data Protection is reached.

    Args:
        project: Project that jobs belong to and that inspections are billed to; the one that the credentials
            name where None.
        location: Where data is processed, such as `europe-west2` or `eu`; `global` leaves it to Google.
        credentials: Gives the JSON text of a service account's key when a client is made; application
            default credentials are used where None.
        endpoint: Another address of the API, such as that of a region or of Private Service Connect; one
            that starts with `http://` is spoken to without credentials and encryption.
        retry_for: How long a request that fails for a reason that passes is repeated, in seconds.
        first_wait: The wait before the first repetition, in seconds; each further one is twice as long.
        timeout: How long one request may take, in seconds.
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
        """A session, closed at the end. No request is made before it is used.

        Raises:
            DlpError: There are no credentials, or they cannot be used, or no project, or the package is
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
        # At DEBUG it would log every request as a whole, with the text that is inspected.
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
                    "Google's Sensitive Data Protection cannot be reached, as there are no application "
                    f"default credentials ({_first_line(str(error))}). Run `gcloud auth application-default "
                    "login`, or name the secret that holds a service account's key."
                ) from error
            return credentials, self.project or project
        try:
            key = dict(json.loads(self.credentials()))
            made = service_account.Credentials.from_service_account_info(key, scopes=scopes)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, GoogleAuthError):
            # What was found is not repeated: it may be a key.
            raise DlpError(
                "The credentials for Sensitive Data Protection cannot be used: the secret is not the JSON of "
                "a service account's key. Make one with `gcloud iam service-accounts keys create`, and store "
                "the whole file."
            ) from None
        return made, self.project or made.project_id


@dataclass(frozen=True)
class DlpSession:
    """A client, and how its requests are made. Several threads may use it.

    Args:
        client: Google's client.
        project: The project that is billed.
        access: How the service is reached.
    """

    client: DlpServiceClient
    project: str
    access: DlpAccess

    @property
    def parent(self) -> str:
        """What requests are made for: the project, at the location where data is processed."""
        return f"projects/{self.project}/locations/{self.access.location}"

    @cached_property
    def info_types(self) -> Mapping[str, InfoType]:
        """The info types that Google inspects for at this location, by name. Asked once.

        What the local inspector finds too is as sensitive as it is there, so that a policy means the same.

        Raises:
            DlpError: The list is not given.
        """
        with self.translated("list its info types"):
            listed = self.client.list_info_types(
                request={"parent": f"locations/{self.access.location}", "filter": "supported_by=INSPECT"},
                retry=self.retry,
                timeout=self.access.timeout,
            )
        return {
            one.name: InfoType(
                one.name,
                VERSION,
                BY_NAME[one.name].info_type.sensitivity
                if one.name in BY_NAME
                else _SENSITIVITIES.get(int(one.sensitivity_score.score), Sensitivity.MODERATE),
            )
            for one in listed.info_types
        }

    def looked_for(self, config: InspectConfig) -> tuple[str, ...]:
        """Names of Google's info types that a configuration looks for.

        Args:
            config: The configuration; where it names none, they are those that the local inspector looks for
                by default, as far as Google has them at this location. Google's own default changes over
                time, and what was inspected could then not be told from a configuration.

        Raises:
            DlpError: It names info types that Google has not, or looks for nothing at all.
        """
        custom = {one.info_type.name for one in config.custom_info_types}
        unknown = sorted(set(config.info_types) - custom - self.info_types.keys())
        if unknown:
            raise DlpError(
                f"Google inspects at {self.access.location} for no info types of the names "
                f"{', '.join(unknown)}. Leave them out, declare them as custom info types, or inspect with "
                "the local inspector."
            )
        names = config.info_types or [name for name, one in BY_NAME.items() if one.by_default]
        left = tuple(
            name for name in names if name in self.info_types and name not in config.exclude_info_types
        )
        if not left and not custom - set(config.exclude_info_types):
            # Without any info type, Google would look for those of its own default.
            raise DlpError(
                "The inspection would look for nothing: all its info types are excluded. Exclude fewer."
            )
        return left

    @property
    def retry(self) -> Retry:
        """How requests are repeated that fail for reasons that pass."""
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
        """Tell Google's errors as errors of the platform.

        Args:
            attempt: What is attempted, to follow "Sensitive Data Protection could not".

        Raises:
            DlpUnavailable: It may succeed a moment later.
            DlpError: Somebody has to change something.
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
                f"Sensitive Data Protection could not {attempt}, as the credentials are refused: "
                f"{_first_line(str(error))}. Check that the service account exists and that its key has not "
                "been deleted."
            ) from error
        except exceptions.GoogleAPICallError as error:
            raise self._told(error, attempt) from error

    def _later(self, attempt: str, error: BaseException) -> DlpUnavailable:
        said = _first_line(str(getattr(error, "message", error))).rstrip(".")
        if getattr(error, "code", None) == _QUOTA:
            hint = (
                "The project's quota is used up: inspect less at once, or ask for more at "
                f"https://console.cloud.google.com/iam-admin/quotas?project={self.project}."
            )
        else:
            hint = "Check the network, and https://status.cloud.google.com."
        return DlpUnavailable(
            f"Sensitive Data Protection could not {attempt} within {self.access.retry_for:g} s: {said}. "
            f"{hint} The next attempt asks again."
        )

    def _told(self, error: Any, attempt: str) -> DlpError:
        from google.api_core import exceptions

        said = _first_line(str(error.message)).rstrip(".")
        start = f"Sensitive Data Protection could not {attempt}: {said}."
        if isinstance(error, exceptions.InvalidArgument):
            return DlpError(f"{start}{_violations(error)} Correct what it names; asking again does not help.")
        if isinstance(error, exceptions.Unauthenticated):
            return DlpError(f"{start} The credentials are not valid: check the key or sign in again.")
        if isinstance(error, exceptions.Forbidden):
            return DlpError(f"{start} {self._how_to_grant(error, said)}")
        if isinstance(error, exceptions.NotFound):
            return DlpError(
                f"{start} Check the project {self.project}, the location {self.access.location}, and the "
                "names of bucket, topic and table."
            )
        if isinstance(error, exceptions.FailedPrecondition):
            return DlpError(f"{start} Bring about what it asks for, then ask again.")
        if int(error.code or 0) >= 500 or int(error.code or 0) == _QUOTA:
            return self._later(attempt, error)
        return DlpError(start)

    def _how_to_grant(self, error: Any, said: str) -> str:
        if error.reason == "SERVICE_DISABLED" or "has not been used" in said:
            return f"Enable the API: gcloud services enable dlp.googleapis.com --project={self.project}"
        account = getattr(self.client.transport._credentials, "service_account_email", None)
        member = f"serviceAccount:{account}" if account and "@" in account else "user:YOUR-ACCOUNT"
        return (
            f"Grant the role: gcloud projects add-iam-policy-binding {self.project} --member={member} "
            "--role=roles/dlp.user"
        )


def _violations(error: Any) -> str:
    """The fields that a request was refused for, as a sentence that starts with a space."""
    found = [
        f"{one.field}: {one.description}".strip(": ")
        for detail in error.details or ()
        for one in getattr(detail, "field_violations", ())
    ]
    return f" It names {'; '.join(found)}." if found else ""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]
