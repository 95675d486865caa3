"""Places of files and their object stores: zones, and the options that object store clients take."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ValidationInfo

from platform_assets.configuration.secrets import ENV_NAME, Secret, absolute_path, base_folder, to_secret

SECRET_OPTION = re.compile(r"secret|password|token|private|account_key$|credential", re.IGNORECASE)


_BUCKET_URI = re.compile(r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s@?#]+)*")


def _zone(value: object, info: ValidationInfo) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it is not text")
    if value != value.strip():
        raise ValueError("it starts or ends with white space")
    uri = value.rstrip("/")
    if _BUCKET_URI.fullmatch(uri):
        return uri
    if re.match(r"(s3|gs)://", uri):
        raise ValueError(
            "only s3:// and gs:// with a bucket name in lower case are known, and after it a prefix without "
            "empty parts, white space, @, ? or #"
        )
    if "://" in uri and not re.match(r"(s3[an]?|gc?s):", uri, re.IGNORECASE):
        raise ValueError("only s3:// and gs:// with a bucket name in lower case are known")
    return str(absolute_path(value, base_folder(info)))


Zone = Annotated[str, BeforeValidator(_zone)]


def parse_options(value: object, info: ValidationInfo) -> dict[str, str | Secret]:
    """Convert HOCON values to text and secrets, and report every mistake of the block at its own key."""
    if not isinstance(value, Mapping):
        raise ValueError("it is not a block")
    options: dict[str, str | Secret] = {}
    mistakes: list[InitErrorDetails] = []
    for name, given in value.items():
        try:
            if not ENV_NAME.fullmatch(name):
                raise ValueError("an option's name is made of letters, digits and underscores")
            if isinstance(given, Secret) or SECRET_OPTION.search(name) or str(given).startswith("secret://"):
                options[name] = to_secret(given, info)
            elif isinstance(given, bool):
                options[name] = _option(name, str(given).lower())
            elif isinstance(given, str | int | float):
                options[name] = _option(name, str(given))
            else:
                raise ValueError("it is a block, a list or null")
        except ValueError as error:
            problem = PydanticCustomError("storage_option", "{reason}", {"reason": str(error)})
            mistakes.append(InitErrorDetails(type=problem, loc=(name,), input=given))
    if mistakes:
        raise ValidationError.from_exception_data("storage_options", mistakes)
    return options


def _option(name: str, value: str) -> str:
    """Reject options that the underlying libraries would ignore or reject too late."""
    if not value.strip():
        raise ValueError("it is empty; leave the option out, or unset its environment variable")
    plain = name.lower()
    if plain not in _OPTIONS and (close := difflib.get_close_matches(plain, _OPTIONS, n=1, cutoff=0.85)):
        known = close[0].upper() if name.isupper() else close[0]
        raise ValueError(f"no library knows the option {name}; perhaps {known}")
    if plain in _ENDPOINTS and not re.match(r"https?://[^/\s]+", value):
        raise ValueError("an endpoint is an address that starts with http:// or https://")
    return value


_AWS_ENDPOINTS = ("aws_endpoint_url", "aws_endpoint", "endpoint_url", "endpoint")
_ENDPOINTS = (*_AWS_ENDPOINTS, "google_base_url")
# Common options, with and without the vendor's prefix. Other names are accepted unless they look like a
# misspelling of one of these.
_OPTIONS = frozenset(
    prefix + option
    for prefix, options in {
        "aws_": "access_key_id secret_access_key session_token region default_region endpoint_url endpoint "
        "virtual_hosted_style_request unsigned_payload skip_signature allow_http s3_allow_unsafe_rename "
        "s3_locking_provider conditional_put copy_if_not_exists disable_tagging server_side_encryption "
        "sse_kms_key_id sse_bucket_key_enabled request_payer role_arn role_session_name "
        "web_identity_token_file checksum_algorithm metadata_endpoint container_credentials_relative_uri "
        "profile bucket bucket_name s3_express imdsv1_fallback iam_role_arn iam_role_session_name",
        "google_": "service_account service_account_path service_account_key bucket bucket_name base_url "
        "application_credentials skip_signature pubsub_emulator",
        "": "access_key_id secret_access_key session_token region default_region endpoint_url endpoint "
        "allow_http allow_invalid_certificates connect_timeout timeout proxy_url pool_idle_timeout "
        "pool_max_idle_per_host http1_only http2_only user_agent max_retries retry_timeout service_account "
        "virtual_hosted_style_request skip_signature unsigned_payload conditional_put copy_if_not_exists",
    }.items()
    for option in options.split()
)


def with_http(options: dict[str, str]) -> dict[str, str]:
    """Object store options that also allow plain HTTP if the endpoint starts with http://."""
    plain = {name.lower(): value for name, value in {**_of_environment(), **options}.items()}
    endpoint = next((plain[name] for name in _AWS_ENDPOINTS if name in plain), "")
    if endpoint.startswith("http://") and not {"aws_allow_http", "allow_http"} & plain.keys():
        return {**options, "AWS_ALLOW_HTTP": "true"}
    return options


def _of_environment() -> dict[str, str]:
    """The options that delta-rs reads from the environment."""
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ALLOW_HTTP")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


StoreOptions = Annotated[dict[str, str | Secret], BeforeValidator(parse_options)]
"""Options of an object store: text, or references to secrets."""


def resolve_options(options: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return options with their secrets fetched; never log or store the result.

    Raises:
        SettingsError: A secret cannot be fetched.
    """
    return {
        name: option.resolve() if isinstance(option, Secret) else option for name, option in options.items()
    }
