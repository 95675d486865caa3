"""Secret references: how a configuration names a secret, and how the secret is fetched.

Nothing is fetched until a reference is resolved.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import core_schema
from pydantic_core.core_schema import ValidationInfo

from platform_assets.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler


REFERENCES = "secret://env/NAME, secret://file/PATH, secret://aws/SECRET-ID#KEY or secret://ssm/NAME#KEY"


ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Secret:
    """A reference to a secret, safe to print; `resolve` fetches the value every time and never caches it.

    Attributes:
        reference: `secret://env/NAME` (environment variable), `secret://file/PATH[#KEY]` (a file's content
            without surrounding white space, or one member of the JSON object in it),
            `secret://aws/SECRET-ID[#KEY]` (AWS Secrets Manager), or `secret://ssm/NAME[#KEY]` (AWS Systems
            Manager Parameter Store; a NAME with slashes is a path from the root). A file's PATH is
            absolute; `./` and `../` start a path relative to the config file, `~/` one in the home folder.
    """

    reference: str

    def __str__(self) -> str:
        """Return the reference."""
        return self.reference

    @classmethod
    def parse(cls, text: str, base: Path | None = None) -> Secret:
        """Read a reference.

        Args:
            text: The reference.
            base: The folder that relative file paths start from; the working directory where None.

        Raises:
            ValueError: if the text is not a reference; the message does not repeat the text, which may be the
                secret itself.
        """
        if not text.startswith("secret://"):
            raise ValueError(f"write a reference, never the secret itself: {REFERENCES}")
        scheme, _, rest = text.removeprefix("secret://").partition("/")
        name, _, key = rest.partition("#")
        if scheme == "gcp":
            raise ValueError(f"secret://gcp is not supported yet; use {REFERENCES}")
        if scheme not in ("env", "file", "aws", "ssm"):
            raise ValueError(f"this kind of reference does not exist; use {REFERENCES}")
        if not name or (rest.endswith("#") and not key):
            raise ValueError(f"the reference is not complete; use {REFERENCES}")
        if scheme == "env" and not ENV_NAME.fullmatch(rest):
            raise ValueError("secret://env/ is followed by the name of one environment variable")
        if scheme == "file":
            absolute = name if name.startswith(("./", "../", "~/")) else "/" + name.lstrip("/")
            text = f"secret://file{absolute_path(absolute, base)}" + (f"#{key}" if key else "")
        return cls(text)

    def resolve(self) -> str:
        """Fetch the secret.

        Raises:
            SettingsError: if the secret cannot be fetched; the message names the reference, never the value.
        """
        scheme, _, rest = self.reference.removeprefix("secret://").partition("/")
        name, _, key = rest.partition("#")
        if scheme == "env":
            value = os.environ.get(name)
            if not value:
                raise SettingsError(f"{self.reference}: the environment variable {name} is not set or empty.")
            return value
        match scheme:
            case "file":
                text = self._read_file(Path("/" + name))
            case "aws":
                text = self._read_secrets_manager(name)
            case _:
                text = self._read_parameter_store(name)
        return self._member(text, key) if key else text

    def _read_file(self, path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"{self.reference}: the file {path} cannot be read: {reason}.") from None
        if not text:
            raise SettingsError(f"{self.reference}: the file {path} is empty.")
        return text

    def _read_secrets_manager(self, secret_id: str) -> str:
        answer = self._ask_aws(
            "AWS Secrets Manager",
            secret_id,
            lambda client: client("secretsmanager").get_secret_value(SecretId=secret_id),
        )
        if "SecretString" not in answer:
            raise SettingsError(f"{self.reference}: the secret is binary; only text secrets can be used.")
        return cast("str", answer["SecretString"])

    def _read_parameter_store(self, name: str) -> str:
        # The names of a hierarchy start with a slash; an ARN has slashes too, and is a name as it is.
        if "/" in name and not name.startswith(("/", "arn:")):
            name = f"/{name}"
        answer = self._ask_aws(
            "AWS Systems Manager",
            name,
            lambda client: client("ssm").get_parameter(Name=name, WithDecryption=True),
        )
        return cast("str", answer["Parameter"]["Value"])

    def _ask_aws(
        self, service: str, name: str, ask: Callable[[Callable[[str], Any]], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Ask a service of AWS for a secret.

        Args:
            service: The service's name in messages.
            name: Name or ARN of the secret; an ARN names its region.
            ask: Sends the request; it is given what creates a client by the service's name at AWS.
        """
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise SettingsError(
                f"{self.reference}: this needs the aws extra: pip install 'platform-assets[aws]'."
            ) from None
        # boto3 reads only AWS_DEFAULT_REGION; the other AWS clients in use also read AWS_REGION.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if name.startswith("arn:"):
            region = name.split(":")[3]
        limits = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
        try:
            return ask(lambda kind: boto3.client(kind, region_name=region, config=limits))
        except ClientError as error:
            answer = error.response.get("Error", {})
            reason = f"{answer.get('Code')}: {answer.get('Message')}"
            raise SettingsError(f"{self.reference}: {service} refused: {reason}") from None
        except BotoCoreError as error:
            raise SettingsError(f"{self.reference}: {service} cannot be reached: {error}") from None

    def _member(self, text: str, key: str) -> str:
        import json

        try:
            members = json.loads(text)
        except ValueError:
            members = None
        if not isinstance(members, dict):
            raise SettingsError(
                f"{self.reference}: it refers to {key!r} of a JSON object, but the secret is not a JSON "
                "object."
            )
        value = members.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            found = "no such member" if key not in members else "an empty or structured value"
            raise SettingsError(f"{self.reference}: the JSON object holds {found} for {key!r}.")
        return str(value)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate from a reference or a Secret; serialize as the reference."""
        return core_schema.with_info_plain_validator_function(
            to_secret, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, str]:
        """Describe the text of a reference, for editors."""
        return {"type": "string", "pattern": "^secret://"}


def to_secret(value: object, info: ValidationInfo) -> Secret:
    """Validate a reference; for pydantic."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError(f"write a reference, never the secret itself: {REFERENCES}")
    return Secret.parse(value, base_folder(info))


def base_folder(info: ValidationInfo) -> Path | None:
    """The folder that relative paths start from; None means the working directory."""
    return cast("Path | None", (info.context or {}).get("base"))


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):|(s3|s3a|gs|gcs|file|https?)//", re.IGNORECASE)


def absolute_path(text: str, base: Path | None) -> Path:
    """Make a local path absolute without otherwise changing it.

    Raises:
        ValueError: The path is a URI, a Windows path, or not a valid path.
    """
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("it has control characters in it")
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        raise ValueError("it is a path on Windows; the platform runs on Linux and macOS")
    if (scheme := _SCHEME.match(text)) is not None:
        name = (scheme[1] or scheme[2]).lower()
        # Hadoop and others write local paths as file: URIs.
        name = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}.get(name, name)
        if name in ("s3", "gs"):
            raise ValueError(f"a bucket is written {name}://bucket/prefix")
        raise ValueError("it looks like a URI; a local path with a colon is written ./name:rest")
    try:
        # normpath, not resolve: symbolic links stay as the user wrote them.
        given = str(Path(text).expanduser()) if text.startswith("~") else text
        return Path(os.path.normpath(os.path.join(base or os.getcwd(), given)))
    except RuntimeError:
        raise ValueError(f"no home folder is known for {text.partition('/')[0]}") from None
