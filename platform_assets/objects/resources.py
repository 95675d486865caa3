"""S3 and Google Cloud Storage as resources of dagster-aws and dagster-gcp, for the user's own assets.

Dagster's packages are imported only when a resource is created: each takes more than a second.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from platform_assets.errors import ObjectsError
from platform_assets.objects.gcs import gcs_client
from platform_assets.objects.s3 import client_arguments

if TYPE_CHECKING:
    from dagster_aws.s3 import S3Resource
    from dagster_gcp import GCSResource


def s3_resource(options: Mapping[str, str]) -> "S3Resource":
    """Create a resource that reaches S3 as the platform does.

    Args:
        options: The options of `aws_client`; missing ones come from where boto3 looks.

    Raises:
        ObjectsError: The package is missing.
    """
    try:
        from dagster_aws.s3 import S3Resource
    except ImportError:
        raise ObjectsError(
            "The resource s3 cannot be created without dagster-aws; install the aws extra: "
            "pip install 'platform-assets[aws]'."
        ) from None
    given: dict[str, Any] = {**client_arguments(options)}
    return S3Resource(**{name: value for name, value in given.items() if value is not None})


def gcs_resource(options: Mapping[str, str]) -> "GCSResource":
    """Create a resource that reaches Google Cloud Storage as the platform does.

    Args:
        options: The options of `gcs_client`; without a key file, Google's default credentials are used.

    Raises:
        ObjectsError: The package is missing.
    """
    try:
        from dagster_gcp import GCSResource
    except ImportError:
        raise ObjectsError(
            "The resource gcs cannot be created without dagster-gcp; install the gcp extra: "
            "pip install 'platform-assets[gcp]'."
        ) from None

    class ConfiguredGCSResource(GCSResource):
        """A GCSResource with the credentials of the configuration; its own would be Google's default ones."""

        def get_client(self) -> Any:
            """Create a client of Google Cloud Storage."""
            return gcs_client(options)

    return ConfiguredGCSResource()
