"""Access to BigQuery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.configuration.secrets import Secret


@runtime_checkable
class HasBigQueryAccess(Protocol):
    """A room whose settings name a Google Cloud project."""

    def bigquery_access(self) -> BigQueryAccess | None:
        """Return the access to the first project that is configured; None without one."""
        ...


def build_access(project: str, location: str, credentials: Secret | None) -> BigQueryAccess:
    """Return the access to a Google Cloud project; the secret is fetched when a client is created.

    Args:
        project: Id of the project.
        location: Location of the datasets.
        credentials: Reference to a service account's JSON key; None for the default credentials.
    """
    from platform_assets.bigquery.access import BigQueryAccess

    return BigQueryAccess(
        project=project,
        location=location,
        credentials=credentials.resolve if credentials else None,
    )
