"""BigQuery as the resource of dagster-gcp, for the user's own assets.

Dagster's package is imported only when the resource is created, because importing dagster_gcp takes seconds.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from platform_assets.bigquery.access import BigQueryAccess
from platform_assets.errors import WarehouseError

if TYPE_CHECKING:
    from dagster_gcp import BigQueryResource
    from google.cloud.bigquery import Client


def bigquery_resource(access: BigQueryAccess) -> "BigQueryResource":
    """Create a resource whose clients have the project, location, credentials and labels of the access.

    Args:
        access: The project and its credentials; a key is fetched when a client is opened.

    Raises:
        WarehouseError: The package is missing.
    """
    try:
        from dagster_gcp import BigQueryResource
    except ImportError:
        raise WarehouseError(
            "The resource bigquery cannot be created without dagster-gcp; install the gcp extra: "
            "pip install 'platform-assets[gcp]'."
        ) from None

    class ConfiguredBigQueryResource(BigQueryResource):
        """A BigQueryResource that hands its key to the client alone, and not to the whole environment."""

        @contextlib.contextmanager
        def get_client(self) -> "Iterator[Client]":
            """Open a client, and close it at the end."""
            with access.connect() as client:
                yield client

    return ConfiguredBigQueryResource(project=access.project, location=access.location)
