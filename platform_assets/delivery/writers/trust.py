"""TLS: which certificates are trusted, and what is said about a server that cannot be."""

from __future__ import annotations

import ssl
from pathlib import Path

from platform_assets.delivery.interfaces import DeliveryError


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Create a context that checks certificates and host names, with TLS 1.2 or newer.

    Args:
        ca_file: Root certificates to trust in place of the system's.

    Raises:
        DeliveryError: The file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or type(error).__name__
        raise DeliveryError(
            f"The root certificates in {ca_file} cannot be used: {reason}. Correct ca_file."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def untrusted(server: str, error: ssl.SSLCertVerificationError) -> DeliveryError:
    """Return the error for a server whose certificate does not verify."""
    reason = error.verify_message.rstrip(".") or "its certificate does not verify"
    return DeliveryError(
        f"{server} cannot be trusted: {reason}. "
        "Correct the host name, or name the file with the server's root certificate in ca_file."
    )
