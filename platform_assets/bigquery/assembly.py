"""Access to BigQuery, and the resource for the user's own assets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_assets.rooms import Assembly

if TYPE_CHECKING:
    from platform_assets.bigquery.access import BigQueryAccess
    from platform_assets.configuration.secrets import Secret
    from platform_assets.own_assets import AssetResources


@runtime_checkable
class HasBigQueryAccess(Protocol):
    """A room whose settings name a Google Cloud project."""

    def bigquery_access(self) -> BigQueryAccess | None:
        """Return the access to the first project that is configured; None without one."""
        ...


class BigQueryRoom(Assembly[None]):
    """BigQuery for the user's own assets."""

    def asset_resources(self) -> AssetResources:
        """See `HasAssetResources.asset_resources`: `bigquery`, in the project of the first such warehouse."""
        return {
            "bigquery": (
                "BigQuery, as dagster-gcp's BigQueryResource, in the project of the first BigQuery warehouse",
                self._resource,
            )
        }

    def _resource(self) -> object:
        from platform_assets.bigquery.access import BigQueryAccess
        from platform_assets.bigquery.resources import bigquery_resource

        accesses = (room.bigquery_access() for room in self.rooms.offering(HasBigQueryAccess))
        configured = next((access for access in accesses if access is not None), None)
        return bigquery_resource(configured or BigQueryAccess())


ROOM = BigQueryRoom


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
