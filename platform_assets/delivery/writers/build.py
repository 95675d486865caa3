"""The writer of a destination, from its settings; the library of a protocol is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from platform_assets.configuration.secrets import Secret
from platform_assets.delivery.interfaces import DeliveryError, Writer
from platform_assets.delivery.writers.address import FOLDER, Address, parse_address
from platform_assets.delivery.writers.settings import (
    DestinationSettings,
    FtpSettings,
    GcsSettings,
    HttpSettings,
    MailSettings,
    S3Settings,
)


def build_writer(settings: DestinationSettings) -> Writer:
    """Build the writer of a destination. Nothing is connected, and no secret is fetched.

    Raises:
        DeliveryError: A writer of the user's own cannot be imported or built.
    """
    address = parse_address(settings.address)
    if address.scheme == FOLDER:
        from platform_assets.delivery.writers.folder import FolderWriter

        return FolderWriter(Path(address.path), settings.sidecar != "never")
    if address.scheme == "s3":
        from platform_assets.delivery.writers.s3 import S3Options, S3Writer

        given = settings.s3 or S3Settings()
        options = S3Options(
            given.storage_class, given.encryption, given.kms_key, given.tags, given.acl, given.bucket_owner
        )
        return S3Writer(
            address.host,
            address.path,
            given.storage_options,
            options,
            settings.sidecar == "always",
            settings.timeout,
        )
    if address.scheme in ("ftp", "ftps"):
        return _ftp_writer(address, settings)
    if address.scheme == "gs":
        from platform_assets.delivery.writers.gcs import GcsWriter

        store = settings.gcs or GcsSettings()
        return GcsWriter(
            address.host,
            address.path,
            store.storage_options,
            store.storage_class,
            store.kms_key,
            settings.sidecar == "always",
            settings.timeout,
        )
    if settings.sftp is not None:
        from platform_assets.delivery.writers.sftp import SftpWriter

        return SftpWriter(
            address.host,
            address.path,
            address.user,
            address.port or 22,
            settings.sftp.host_key,
            settings.sftp.known_hosts,
            settings.sftp.password,
            settings.sftp.key_file,
            settings.sftp.private_key,
            settings.sftp.passphrase,
            settings.sftp.agent,
            settings.sidecar != "never",
            settings.timeout,
        )
    if address.scheme in ("http", "https"):
        from platform_assets.delivery.writers.http import HttpWriter

        web = settings.http or HttpSettings()
        return HttpWriter(
            settings.address,
            web.method,
            web.user,
            web.password,
            web.token,
            web.headers,
            web.expect,
            web.allow_redirects,
            web.ca_file,
            settings.sidecar == "always",
            settings.timeout,
        )
    if settings.email is not None:
        return _mail_writer(address, settings, settings.email)
    return _own_writer(address.path, settings.options or {})


def _ftp_writer(address: Address, settings: DestinationSettings) -> Writer:
    from platform_assets.delivery.writers.ftp import FtpWriter, Security

    given = settings.ftp or FtpSettings()
    explicit: Security = "none" if given.security == "none" else "explicit"
    return FtpWriter(
        address.host,
        address.path,
        "implicit" if address.scheme == "ftps" else explicit,
        address.port,
        address.user,
        given.password,
        given.ca_file,
        given.encoding,
        settings.sidecar != "never",
        settings.timeout,
    )


def _mail_writer(address: Address, settings: DestinationSettings, given: MailSettings) -> Writer:
    from platform_assets.delivery.writers.email import Letter, MailWriter, SpoolWriter
    from platform_assets.smtp import MailServer

    letter = Letter(
        given.sender,
        tuple(address.path.split(",")),
        given.subject,
        given.text,
        settings.sidecar == "always",
        given.max_mb << 20,
    )
    if given.host is None:
        return SpoolWriter(letter, given.spool or Path())
    return MailWriter(
        letter,
        MailServer(
            given.host,
            given.port,
            given.user,
            given.password,
            given.security,
            given.ca_file,
            settings.timeout,
        ),
    )


def _own_writer(place: str, options: Mapping[str, Any]) -> Writer:
    """Build a writer by the import path of its class, `package.module:Class`."""
    module, _, name = place.partition(":")
    attempt = f"The writer python:{place} cannot be used"
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise DeliveryError(f"{attempt}: {error}. Install its package, or correct the address.") from None
    arguments = {
        key: value.resolve() if isinstance(value, Secret) else value for key, value in options.items()
    }
    try:
        writer = kind(**arguments)
    except TypeError as error:
        raise DeliveryError(f"{attempt}: {error}. Correct the options of the destination.") from None
    missing = [part for part in ("address", "open", "link") if not hasattr(writer, part)]
    if missing:
        raise DeliveryError(
            f"{attempt}: it has no {' and no '.join(missing)}. See Writer in delivery/interfaces.py."
        )
    return cast("Writer", writer)
