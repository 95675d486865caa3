"""`sslmode` means what it means to libpq, for both drivers: what holds the snapshot and what reads the rows.

The embedded server is built without TLS, so that a proxy in front of it speaks it: it answers PostgreSQL's
request for encryption, ends the TLS connection and passes on what is inside.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from platform_assets.errors import SourceError, SourceUnavailable
from platform_assets.model.totesys.source import DESIGN
from platform_assets.source.connection import Connection
from platform_assets.source.snapshot import SourceDatabase
from platform_assets_tests.fixtures.postgres import NewDatabase
from platform_assets_tests.fixtures.reading import reading
from platform_assets_tests.fixtures.totesys import Totesys

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)


@dataclass(frozen=True)
class Certificates:
    """A certificate authority, and a server's certificate from it for `localhost` alone."""

    authority: Path
    other_authority: Path
    server: Path


@dataclass
class Proxy:
    """What stands before the server, and how many connections to it were encrypted."""

    port: int
    encrypted: list[bool] = field(default_factory=list)


def certify(
    name: str, issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0] if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer:
        authority_key = issuer[1].public_key()
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        ).add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key), critical=False)
    else:
        usage = {
            name: name in ("key_cert_sign", "crl_sign")
            for name in (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "key_cert_sign",
                "crl_sign",
                "encipher_only",
                "decipher_only",
            )
        }
        builder = builder.add_extension(x509.KeyUsage(**usage), critical=True)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    pem = serialization.Encoding.PEM
    authority, authority_key = certify("Test authority", None)
    other, _ = certify("Another authority", None)
    server, server_key = certify("localhost", (authority.subject, authority_key))
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "other.pem").write_bytes(other.public_bytes(pem))
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(server.public_bytes(pem) + key)
    return Certificates(folder / "ca.pem", folder / "other.pem", folder / "server.pem")


@pytest.fixture(scope="module")
def reader(new_module_database: NewDatabase) -> Connection:
    return Totesys.with_rows(new_module_database()).database.reader


@pytest.fixture
def proxy(certificates: Certificates, reader: Connection) -> Iterator[Proxy]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(listening.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with contextlib.suppress(OSError), client:
                first = client.recv(8, socket.MSG_PEEK)
                while first in (SSL_REQUEST, GSS_REQUEST):
                    client.recv(8)
                    client.sendall(b"S" if first == SSL_REQUEST else b"N")
                    if first == SSL_REQUEST:
                        client = context.wrap_socket(client, server_side=True)
                        break
                    first = client.recv(8, socket.MSG_PEEK)
                with client, socket.create_connection((reader.host, reader.port)) as server:
                    proxy.encrypted.append(isinstance(client, ssl.SSLSocket))
                    pump(client, server)

        threading.Thread(target=accept, daemon=True).start()
        yield proxy


def pump(client: socket.socket, server: socket.socket) -> None:
    while True:
        waiting = isinstance(client, ssl.SSLSocket) and client.pending() > 0
        ready = [client] if waiting else select.select([client, server], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (server if source is client else client).sendall(data)


def read(connection: Connection) -> list[str]:
    source = SourceDatabase("any", (DESIGN,), lambda: connection)
    with source.snapshot() as snapshot, reading(snapshot, DESIGN) as rows:
        return sorted(rows.read_all()["design_name"].to_pylist())


@pytest.mark.parametrize(
    ("sslmode", "encrypted"),
    [
        ("disable", False),
        ("prefer", True),
        ("require", True),
        ("verify-ca", True),
        ("verify-full", True),
    ],
)
def test_both_connections_are_encrypted_as_the_mode_says(
    proxy: Proxy, reader: Connection, certificates: Certificates, sslmode: str, encrypted: bool
) -> None:
    authority = str(certificates.authority) if sslmode.startswith("verify") else None
    connection = replace(reader, host="localhost", port=proxy.port, sslmode=sslmode, sslrootcert=authority)
    assert read(connection) == ["Bronze", "Wooden"]
    # One for the snapshot; the driver that reads the rows opens one to look around, and one to read.
    assert proxy.encrypted == [encrypted] * 3


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
def test_a_server_without_tls_is_read_where_the_mode_allows_it(reader: Connection, sslmode: str) -> None:
    assert read(replace(reader, sslmode=sslmode)) == ["Bronze", "Wooden"]


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused_where_the_mode_asks_for_it(
    reader: Connection, certificates: Certificates, sslmode: str
) -> None:
    connection = replace(reader, sslmode=sslmode, sslrootcert=str(certificates.authority))
    with pytest.raises(SourceError, match="SSL"):
        read(connection)


def test_an_encrypted_connection_to_a_server_that_nobody_vouches_for_is_refused_where_it_is_verified(
    proxy: Proxy, reader: Connection, certificates: Certificates
) -> None:
    for sslmode in ("verify-ca", "verify-full"):
        connection = replace(
            reader,
            host="localhost",
            port=proxy.port,
            sslmode=sslmode,
            sslrootcert=str(certificates.other_authority),
        )
        with pytest.raises(SourceError, match="certificate"):
            read(connection)
    assert proxy.encrypted == []


def test_a_certificate_for_another_name_is_refused_by_verify_full_alone(
    proxy: Proxy, reader: Connection, certificates: Certificates
) -> None:
    # The certificate is for localhost, not for the address.
    connection = replace(
        reader,
        host="127.0.0.1",
        port=proxy.port,
        sslmode="verify-ca",
        sslrootcert=str(certificates.authority),
    )
    assert ipaddress.ip_address(connection.host).is_loopback
    assert read(connection) == ["Bronze", "Wooden"]
    with pytest.raises(SourceError, match=r"127\.0\.0\.1"):
        read(replace(connection, sslmode="verify-full"))


def test_a_file_of_authorities_that_is_missing_or_is_none_is_named(
    proxy: Proxy, reader: Connection, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    for name in ("missing.pem", "none.pem"):
        connection = replace(
            reader,
            host="localhost",
            port=proxy.port,
            sslmode="verify-full",
            sslrootcert=str(tmp_path / name),
        )
        with pytest.raises(SourceError, match=name) as error:
            read(connection)
        assert not isinstance(error.value, SourceUnavailable)
