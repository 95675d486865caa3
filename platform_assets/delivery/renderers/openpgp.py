"""Files encrypted to OpenPGP keys, and signed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_assets.delivery.interfaces import Bytes, DeliveryError, Rows, Stamp
from platform_assets.delivery.renderers.workshop import Workshop, chunks_of, files_only, write_chunks

if TYPE_CHECKING:
    from platform_assets.configuration.secrets import Secret


@dataclass(frozen=True)
class Signing:
    """The key that signs.

    Attributes:
        key: Reference to the secret key, armored.
        passphrase: Reference to its passphrase; None if it has none.
    """

    key: Secret
    passphrase: Secret | None = None


@dataclass(frozen=True)
class OpenPgp:
    """Encrypts files to everybody whose key is named. Each time gives other bytes: the session key is random.

    Args:
        workshop: Means to work with.
        keys: Files with public keys, armored or binary.
        signing: The key that signs; None for no signature.
        armor: True for text, `.asc`, instead of bytes, `.pgp`.
    """

    workshop: Workshop = field(repr=False)
    keys: tuple[Path, ...]
    signing: Signing | None = None
    armor: bool = False

    def render(self, content: Iterator[Rows | Bytes], stamp: Stamp) -> Iterator[Bytes]:
        """See `Renderer.render`."""
        pgp = _library()
        recipients = [cert for path in self.keys for cert in _certificates(pgp, path)]
        signer = _signer(pgp, self.signing) if self.signing is not None else None
        suffix = ".asc" if self.armor else ".pgp"
        for file in files_only(content, "openpgp"):
            plain = file.path
            if plain is None:
                plain = self.workshop.new_file(".plain")
                write_chunks(file, plain)
            secret = self.workshop.new_file(suffix)
            try:
                pgp.encrypt_file(plain, secret, recipients, signer, armor=self.armor)
            except Exception as error:
                # The library has no class of its own for what it refuses.
                raise DeliveryError(f"{file.name} could not be encrypted: {error}.") from error
            finally:
                if plain != file.path:
                    plain.unlink()
            size = secret.stat().st_size
            yield Bytes(
                f"{file.name}{suffix}",
                chunks_of(secret),
                size,
                secret,
                file.row_count,
                "application/pgp-encrypted",
            )


def _library() -> Any:
    try:
        import pysequoia
    except ImportError:
        raise DeliveryError(
            "Files cannot be encrypted without pysequoia: pip install 'platform-assets[delivery]'."
        ) from None
    return pysequoia


def _certificates(pgp: Any, path: Path) -> list[Any]:
    """Read the public keys in a file.

    Raises:
        DeliveryError: The file cannot be read, has no key, or a key can no longer be used.
    """
    try:
        found = list(pgp.Cert.split_bytes(path.read_bytes()))
    except OSError as error:
        raise DeliveryError(f"The key file {path} cannot be read: {error.strerror}.") from error
    except Exception as error:
        raise DeliveryError(f"The key file {path} cannot be read: {error}.") from error
    if not found:
        raise DeliveryError(f"The key file {path} has no public key in it.")
    for key in found:
        name = ", ".join(map(str, key.user_ids)) or key.fingerprint
        if key.is_revoked:
            raise DeliveryError(f"The key of {name} in {path} was revoked. Ask its owner for the new one.")
        if key.expiration is not None and key.expiration <= dt.datetime.now(dt.UTC):
            raise DeliveryError(
                f"The key of {name} in {path} expired on {key.expiration:%Y-%m-%d}. Ask its owner for the "
                "new one."
            )
    return found


def _signer(pgp: Any, signing: Signing) -> Any:
    """Unlock the key that signs.

    Raises:
        SettingsError: A secret cannot be fetched.
        DeliveryError: The key cannot be used; the message does not repeat what the library says of it.
    """
    key = signing.key.resolve()
    passphrase = signing.passphrase.resolve() if signing.passphrase is not None else None
    try:
        return pgp.Tsk.from_bytes(key.encode()).signer(passphrase)
    except Exception:  # noqa: BLE001 - what the library says may repeat the key
        raise DeliveryError(
            f"The key {signing.key} cannot sign. It must be an armored OpenPGP secret key, and its "
            "passphrase the right one."
        ) from None
