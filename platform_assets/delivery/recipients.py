"""Destinations with several recipients: who has a file already, from one attempt to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol, runtime_checkable

from platform_assets.delivery.interfaces import DeliveryError, Progress, Receipt, StagedFile, Transfer


class PartlyDelivered(DeliveryError):
    """Some recipients have a file, and others refused it.

    Attributes:
        recipients: Those that have it now, each as an address.
        retryable: True if at least one of the others may take it a moment later.
    """

    def __init__(self, message: str, recipients: Iterable[str], *, retryable: bool) -> None:
        super().__init__(message)
        self.recipients = tuple(recipients)
        self.retryable = retryable


@runtime_checkable
class HasRecipients(Protocol):
    """A transfer to several recipients, each of which may refuse a file alone."""

    def write_to_others(self, file: StagedFile, progress: Progress, had: Collection[str]) -> Receipt:
        """Write a file as `Transfer.write` does, and leave out the recipients that have it.

        Args:
            file: The file.
            progress: As for `Transfer.write`.
            had: The recipients that have it, each as an address.

        Raises:
            PartlyDelivered: Some of the others have it now.
            DeliveryError: As for `Transfer.write`.
        """
        ...


class Recipients:
    """The recipients of each file, as far as they have it."""

    def __init__(self) -> None:
        self._had: dict[str, set[str]] = {}

    def have(self, file: str, recipients: Iterable[str]) -> None:
        """Take in that recipients have a file, named as at the destination."""
        self._had.setdefault(file, set()).update(recipients)

    def write(self, transfer: Transfer, file: StagedFile, progress: Progress) -> Receipt:
        """Write a file as `Transfer.write` does, to those recipients that do not have it.

        Raises:
            PartlyDelivered: Some of them have it now.
            DeliveryError: As for `Transfer.write`.
        """
        if not isinstance(transfer, HasRecipients):
            return transfer.write(file, progress)
        try:
            return transfer.write_to_others(file, progress, self._had.get(file.name, ()))
        except PartlyDelivered as error:
            self.have(file.name, error.recipients)
            raise
