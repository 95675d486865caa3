"""Places that writers write to, each a real server or folder, looked at by other means than the writer's."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import requests

from platform_assets.delivery.interfaces import Receipt, StagedFile, Stamp, Transfer, Writer
from platform_assets.delivery.writers.build import build_writer
from platform_assets.delivery.writers.settings import DestinationSettings
from platform_assets_tests.fixtures.ftp import FtpServer
from platform_assets_tests.fixtures.gcs import GcsServer
from platform_assets_tests.fixtures.http_files import PASSWORD, USER, FileServer
from platform_assets_tests.fixtures.patience import PATIENCE
from platform_assets_tests.fixtures.s3 import S3Server
from platform_assets_tests.fixtures.ssh import SshServer, new_key
from platform_assets_tests.fixtures.wire import free_port, wired

Block = dict[str, Any]
WRONG = "mellon, said a stranger"
STAMPED = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)


class Stage:
    """Makes staged files.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(exist_ok=True)

    def __call__(
        self,
        content: bytes,
        name: str = "customers.csv",
        *,
        uuid: str = "0c8f6f0e-5f2b-4a9d-9c57-0d5a3b1c7e11",
        title: str = "Customers in the morning",
        rows: int | None = 3,
        content_type: str = "text/csv",
    ) -> StagedFile:
        """Stage a file."""
        path = self._folder / hashlib.sha256(content).hexdigest()[:16]
        path.write_bytes(content)
        stamp = Stamp("customers", title, "platform_assets 0.1.0", uuid, STAMPED, "7")
        return StagedFile(
            path,
            name,
            len(content),
            hashlib.sha256(content).hexdigest(),
            hashlib.md5(content).hexdigest(),
            rows,
            content_type,
            stamp,
        )


class Place:
    """A destination.

    Attributes:
        resumes: True if a broken transfer is continued, False if it starts again.
        has_names: False if what is sent has no name there that one could overwrite.
        knows: True if the destination can be asked for what it has.
        has_credentials: True if one signs in.
        has_network: True if a network is in between.
    """

    resumes = False
    knows = True
    has_credentials = True
    has_network = True

    def block(self) -> Block:
        """The destination's block of the configuration."""
        raise NotImplementedError

    def at_port(self, port: int) -> Block:
        """The block, with another port of 127.0.0.1."""
        raise NotImplementedError

    def signed_in_wrongly(self) -> Block:
        """The block, with a password that is wrong."""
        raise NotImplementedError

    def read(self, name: str) -> bytes | None:
        """The content under a name; None if there is none."""
        raise NotImplementedError

    def names(self) -> set[str]:
        """Everything that is there, unfinished too."""
        raise NotImplementedError

    def metadata(self, name: str) -> dict[str, str]:
        """The metadata that came with a file."""
        about = json.loads(self.read(f"{name}.metadata.json") or b"{}")
        return {key: str(value) for key, value in about.items()}

    @property
    def port(self) -> int:
        """The server's port on 127.0.0.1."""
        raise NotImplementedError

    @contextmanager
    def cut_after(self, size: int) -> Iterator[Block]:
        """The block of a server whose connections break after so many bytes."""
        with wired(self.port, cut_after=size) as wire:
            yield self.at_port(wire.port)

    @contextmanager
    def silent_after(self, size: int) -> Iterator[Block]:
        """The block of a server that falls silent after so many bytes."""
        with wired(self.port, silent_after=size) as wire:
            yield self.at_port(wire.port)

    def progress(self, size: int) -> None:
        """Told of every sent block, where that is how the place knows when to break."""

    def unreachable(self) -> Block:
        """The block of a server that does not listen."""
        return self.at_port(free_port())


def writer_of(block: Block, **changes: Any) -> Writer:
    """Build a writer from a block of the configuration."""
    return build_writer(DestinationSettings.model_validate({**block, **changes}))


def opened(block: Block, **changes: Any) -> AbstractContextManager[Transfer]:
    return writer_of(block, **changes).open()


def deliver(block: Block, *files: StagedFile, **changes: Any) -> list[Receipt]:
    """Write files over one connection."""
    with opened(block, **changes) as transfer:
        return [transfer.write(file, lambda _: None) for file in files]


class FolderPlace(Place):
    """A folder."""

    has_credentials = False
    has_network = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def block(self) -> Block:
        return {"address": str(self._folder)}

    def read(self, name: str) -> bytes | None:
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        found = self._folder.rglob("*")
        return {path.relative_to(self._folder).as_posix() for path in found if path.is_file()}


class S3Place(Place):
    """A prefix of a bucket in the S3-compatible server."""

    resumes = True

    def __init__(self, server: S3Server, folder: Path) -> None:
        self._server = server
        self.bucket = server.create_bucket()
        self._secret = folder / "secret_access_key"
        self._secret.write_text(server.secret_access_key)
        self._wrong = folder / "wrong_secret_access_key"
        self._wrong.write_text(WRONG)

    def block(self) -> Block:
        return self.at_port(self.port)

    def at_port(self, port: int) -> Block:
        options = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": self._server.region,
            "AWS_ACCESS_KEY_ID": self._server.access_key_id,
            "AWS_SECRET_ACCESS_KEY": f"secret://file{self._secret}",
        }
        return {"address": f"s3://{self.bucket}/in/here", "s3": {"storage_options": options}}

    def signed_in_wrongly(self) -> Block:
        block = self.block()
        block["s3"]["storage_options"]["AWS_SECRET_ACCESS_KEY"] = f"secret://file{self._wrong}"
        return block

    @property
    def port(self) -> int:
        return urlsplit(self._server.endpoint_url).port or 0

    def read(self, name: str) -> bytes | None:
        client = self._server.client()
        try:
            answer = client.get_object(Bucket=self.bucket, Key=f"in/here/{name}")
        except client.exceptions.NoSuchKey:
            return None
        content: bytes = answer["Body"].read()
        return content

    def names(self) -> set[str]:
        keys = {key.removeprefix("in/here/") for key in self._server.keys(self.bucket)}
        return keys | {f"unfinished {one['Key']}" for one in self.uploads()}

    def uploads(self) -> list[dict[str, Any]]:
        """The multipart uploads that are not finished."""
        uploads: list[dict[str, Any]] = (
            self._server.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        )
        return uploads

    def metadata(self, name: str) -> dict[str, str]:
        head = self._server.client().head_object(Bucket=self.bucket, Key=f"in/here/{name}")
        metadata: dict[str, str] = head["Metadata"]
        return metadata


class FtpPlace(Place):
    """A folder of an FTP server.

    Args:
        server: The server.
        folder: A folder for passwords.
        scheme: `ftp` or `ftps`.
        home: The folder of the address that is the server's `root`.
        options: Further options.
    """

    resumes = True

    def __init__(
        self, server: FtpServer, folder: Path, scheme: str = "ftp", home: str = "", **options: Any
    ) -> None:
        self.server = server
        self._scheme = scheme
        self._home = home
        self._options = options
        self._password = folder / "ftp_password"
        self._password.write_text(server.password)
        self._wrong = folder / "wrong_ftp_password"
        self._wrong.write_text(WRONG)

    def block(self) -> Block:
        return self.at_port(self.port)

    def at_port(self, port: int) -> Block:
        options = {
            "password": f"secret://file{self._password}",
            "ca_file": str(self.server.ca_file),
            **self._options,
        }
        address = f"{self._scheme}://{self.server.user}@127.0.0.1:{port}{self._home}/to/us"
        return {"address": address, "ftp": options}

    def signed_in_wrongly(self) -> Block:
        block = self.block()
        block["ftp"]["password"] = f"secret://file{self._wrong}"
        return block

    @property
    def port(self) -> int:
        return self.server.port

    def read(self, name: str) -> bytes | None:
        path = self.server.root / "to" / "us" / name
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        folder = self.server.root / "to" / "us"
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    @contextmanager
    def cut_after(self, size: int) -> Iterator[Block]:
        self.server.cut_after = size
        yield self.block()
        self.server.cut_after = None

    @contextmanager
    def silent_after(self, size: int) -> Iterator[Block]:
        self.server.silent_after = size
        yield self.block()
        self.server.silent_after = None


class VsftpdPlace(FtpPlace):
    """A folder of vsftpd; its processes are ended, or stopped, for a connection that breaks."""

    def __init__(self, server: FtpServer, folder: Path) -> None:
        super().__init__(server, folder, home="/in")
        shutil.rmtree(server.root / "to", ignore_errors=True)
        self._left: int | None = None
        self._signal = signal.SIGKILL

    def progress(self, size: int) -> None:
        if self._left is None:
            return
        self._left -= size
        if self._left <= 0:
            self._left = None
            for process in psutil.Process(self.server.pid).children(recursive=True):
                process.send_signal(self._signal)

    @contextmanager
    def cut_after(self, size: int) -> Iterator[Block]:
        self._left, self._signal = size, signal.SIGKILL
        yield self.block()

    @contextmanager
    def silent_after(self, size: int) -> Iterator[Block]:
        self._left, self._signal = size, signal.SIGSTOP
        try:
            yield self.block()
        finally:
            for process in psutil.Process(self.server.pid).children(recursive=True):
                process.kill()


class SftpPlace(Place):
    """A folder of an SFTP server."""

    resumes = True

    def __init__(self, server: SshServer, folder: Path) -> None:
        self.server = server
        self._folder = folder / "to" / "us"
        self._password = folder / "sftp_password"
        self._password.write_text(server.password or "none")
        self._wrong = folder / "wrong_sftp_password"
        self._wrong.write_text(WRONG)
        self._wrong_key, _, _ = new_key(folder, "unknown_key")

    def block(self) -> Block:
        return self.at_port(self.port)

    def at_port(self, port: int) -> Block:
        address = f"sftp://{self.server.user}@127.0.0.1:{port}{self._folder}"
        return {
            "address": address,
            "sftp": {"host_key": self.server.fingerprint, "key_file": str(self.server.key_file)},
        }

    def signed_in_wrongly(self) -> Block:
        block = self.block()
        if self.server.password:
            del block["sftp"]["key_file"]
            block["sftp"]["password"] = f"secret://file{self._wrong}"
        else:
            block["sftp"]["key_file"] = str(self._wrong_key)
        return block

    @property
    def port(self) -> int:
        return self.server.port

    def read(self, name: str) -> bytes | None:
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def names(self) -> set[str]:
        found = self._folder.rglob("*")
        return {path.relative_to(self._folder).as_posix() for path in found if path.is_file()}


class HttpPlace(Place):
    """A path of an HTTP server."""

    def __init__(self, server: FileServer, folder: Path) -> None:
        self.server = server
        self._password = folder / "http_password"
        self._password.write_text(PASSWORD)
        self._wrong = folder / "wrong_http_password"
        self._wrong.write_text(WRONG)

    def block(self) -> Block:
        return self.at_port(self.port)

    def at_port(self, port: int) -> Block:
        return {
            "address": f"http://127.0.0.1:{port}/to/us",
            "http": {"user": USER, "password": f"secret://file{self._password}"},
        }

    def signed_in_wrongly(self) -> Block:
        block = self.block()
        block["http"]["password"] = f"secret://file{self._wrong}"
        return block

    @property
    def port(self) -> int:
        return self.server.port

    def read(self, name: str) -> bytes | None:
        found = self.server.files.get(f"/to/us/{name}")
        return found[0] if found is not None else None

    def names(self) -> set[str]:
        return {path.removeprefix("/to/us/") for path in self.server.files}

    def metadata(self, name: str) -> dict[str, str]:
        headers = self.server.files[f"/to/us/{name}"][1]
        start = "X-Delivery-"
        return {
            key.removeprefix(start).lower(): value for key, value in headers.items() if key.startswith(start)
        }


class GcsPlace(Place):
    """A prefix of a bucket of the Google Cloud Storage emulator."""

    resumes = False  # across processes; see test_gcs.py for attempts of one process
    has_credentials = False

    def __init__(self, server: GcsServer) -> None:
        self._server = server
        self.bucket = server.create_bucket()

    def block(self) -> Block:
        return self.at_port(self.port)

    def at_port(self, port: int) -> Block:
        options = {"GOOGLE_BASE_URL": f"http://127.0.0.1:{port}", "GOOGLE_SKIP_SIGNATURE": "true"}
        return {"address": f"gs://{self.bucket}/in/here", "gcs": {"storage_options": options}}

    @property
    def port(self) -> int:
        return urlsplit(self._server.endpoint_url).port or 0

    def read(self, name: str) -> bytes | None:
        # Not by Google's client: the emulator gives it links in which signs are not escaped.
        path = quote(f"in/here/{name}", safe="")
        answer = requests.get(
            f"{self._server.endpoint_url}/storage/v1/b/{self.bucket}/o/{path}?alt=media", timeout=PATIENCE
        )
        return answer.content if answer.status_code == 200 else None

    def names(self) -> set[str]:
        blobs = self._server.client().list_blobs(self.bucket)
        return {blob.name.removeprefix("in/here/") for blob in blobs}

    def metadata(self, name: str) -> dict[str, str]:
        blob = self._server.client().bucket(self.bucket).get_blob(f"in/here/{name}")
        return dict(blob.metadata)
