"""Times transfers of one large file beside the client that everybody has for the protocol.

FTPS: vsftpd, which demands that data connections continue the TLS session, beside curl with TLS 1.2 at most.
SFTP: OpenSSH's server beside its own sftp command. S3: a server that takes parts and forgets them, with TLS,
beside boto3's upload_file; any real server would be slower than both, and hide the difference.

The contestants take turns. Those in Python are processes of their own: seconds are counted inside once
everything is imported, from the connection to the verified end, peak memory is what the operating system says
in the end, 1 MB being 1,000,000 bytes. The others are timed from start to end. Files and servers are in
memory where the machine has a place for that. What arrived is checked before a run counts. The limits were
set for 2 GB and two cores that are otherwise idle: at other sizes they are shown and not judged. On a machine
that does other things, the ratio of the processor's seconds says more: the peer's by ours, of the client
alone.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import os
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

MEGABYTES = 2_000
"""The size that the limits are meant for."""
LEAST_RATIO = 0.8
MOST_MB = 150
_NAME = "large.bin"


@dataclass(frozen=True)
class Run:
    """A finished transfer: seconds by the clock and of the processor, and peak memory in MB if measured."""

    seconds: float
    processor: float
    peak: float = 0.0


@dataclass(frozen=True)
class Match:
    """Two contestants, and how to see and remove what has arrived."""

    protocol: str
    peer: str
    ours: Callable[[], Run]
    theirs: Callable[[], Run]
    arrived: Callable[[], int]
    remove: Callable[[], None]


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        _child(json.loads(arguments.child))
        return
    place = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="bench-delivery-", dir=arguments.folder or place))
    try:
        source = _large_file(folder, arguments.megabytes)
        judged = arguments.megabytes == MEGABYTES
        print(f"{arguments.megabytes:,} MB, {arguments.rounds} rounds; MB/s, the median of the rounds")
        print(f"{'protocol':10} {'ours':>8} {'peer':>8} {'ratio':>6} {'processor':>9} {'peak MB':>8}  peer")
        for begin in (_ftp, _sftp, _s3):
            if begin.__name__.strip("_") in arguments.parts:
                with ExitStack() as stack:
                    match = begin(stack, folder, source)
                    if match is not None:
                        _play(match, arguments.megabytes, arguments.rounds, judged=judged)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["ftp", "sftp", "s3"], choices=["ftp", "sftp", "s3"])
    parser.add_argument("--folder", type=Path, help="where the file and the servers' folders are")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _play(match: Match, megabytes: int, rounds: int, *, judged: bool) -> None:
    ours, theirs = [], []
    for _ in range(rounds):
        for runs, contest in ((ours, match.ours), (theirs, match.theirs)):
            runs.append(contest())
            if match.arrived() != megabytes * 1_000_000:
                sys.exit(f"{match.protocol}: {match.arrived():,} bytes arrived")
            match.remove()
    own = megabytes / statistics.median(run.seconds for run in ours)
    other = megabytes / statistics.median(run.seconds for run in theirs)
    peak = max(run.peak for run in ours)
    kept = "kept" if own / other >= LEAST_RATIO and peak <= MOST_MB else "NOT KEPT"
    verdict = f"   {kept}" if judged else ""
    processor = statistics.median(
        there.processor / here.processor for here, there in zip(ours, theirs, strict=True)
    )
    figures = f"{own:8,.0f} {other:8,.0f} {own / other:6.2f} {processor:9.2f} {peak:8,.0f}"
    print(f"{match.protocol:10} {figures}  {match.peer}{verdict}", flush=True)


def _large_file(folder: Path, megabytes: int) -> Path:
    path = folder / _NAME
    block = os.urandom(1_000_000)
    with path.open("wb") as target:
        for number in range(megabytes):
            target.write(number.to_bytes(8, "big") + block[8:])
    return path


def _ours(
    block: dict[str, Any], source: Path, environment: dict[str, str] | None = None
) -> Callable[[], Run]:
    with source.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    with source.open("rb") as content:
        md5 = hashlib.file_digest(content, "md5").hexdigest()
    work = {"block": block, "path": str(source), "sha256": sha256, "md5": md5, "kind": "ours"}
    return lambda: _in_a_process(work, environment)


def _in_a_process(work: dict[str, Any], environment: dict[str, str] | None = None) -> Run:
    ended = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(work)],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if ended.returncode:
        sys.exit(ended.stderr)
    return Run(**json.loads(ended.stdout))


def _child(work: dict[str, Any]) -> None:
    """A contestant: what it needs is imported before the time counts."""
    run = _delivery(work) if work["kind"] == "ours" else _boto3(work)
    begun, processor = time.perf_counter(), time.process_time()
    run()
    seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "processor": processor, "peak": peak / 1e6}))


def _delivery(work: dict[str, Any]) -> Callable[[], None]:
    import asyncssh  # noqa: F401 - not to be counted
    import boto3  # noqa: F401

    from platform_assets.delivery.interfaces import StagedFile, Stamp
    from platform_assets.delivery.writers import ftp, s3, sftp, ssh_packets  # noqa: F401
    from platform_assets.delivery.writers.build import build_writer
    from platform_assets.delivery.writers.settings import DestinationSettings

    path = Path(work["path"])
    stamp = Stamp("bench", "Benchmark", "bench", str(time.time_ns()), dt.datetime.now(dt.UTC), "1")
    file = StagedFile(
        path, _NAME, path.stat().st_size, work["sha256"], work["md5"], None, "application/octet-stream", stamp
    )
    writer = build_writer(DestinationSettings.model_validate(work["block"]))

    def run() -> None:
        with writer.open() as transfer:
            transfer.write(file, lambda _: None)

    return run


def _boto3(work: dict[str, Any]) -> Callable[[], None]:
    import boto3

    def run() -> None:
        boto3.client("s3", **work["client"]).upload_file(work["path"], "bucket", f"in/{_NAME}")

    return run


def _timed(command: list[str], **options: Any) -> Run:
    begun, processor = time.perf_counter(), _of_children()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    seconds = time.perf_counter() - begun
    if ended.returncode:
        sys.exit(f"{command[0]} failed: {ended.stderr}")
    return Run(seconds, _of_children() - processor)


def _of_children() -> float:
    """The seconds of the processor that processes started here, and ended since, have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _lacks(*programs: str) -> bool:
    for program in programs:
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
            print(f"{program} is not installed: left out")
            return True
    return False


def _ftp(stack: ExitStack, folder: Path, source: Path) -> Match | None:
    if _lacks("vsftpd", "curl"):
        return None
    from platform_assets_tests.fixtures.certificates import new_certificate
    from platform_assets_tests.fixtures.ftp import PASSWORD, running_vsftpd

    (folder / "ftp").mkdir()
    server = stack.enter_context(
        running_vsftpd(*new_certificate(folder / "ftp", "benchmark"), folder / "ftp")
    )
    (folder / "ftp" / "password").write_text(PASSWORD)
    block = {
        "address": f"ftp://anonymous@127.0.0.1:{server.port}/in",
        "ftp": {
            "password": f"secret://file{folder / 'ftp' / 'password'}",
            "ca_file": str(server.ca_file),
        },
    }
    command = ["curl", "--silent", "--show-error", "--ssl-reqd", "--tls-max", "1.2"]
    command += ["--cacert", str(server.ca_file), "--user", f"anonymous:{PASSWORD}"]
    command += ["--upload-file", str(source), f"ftp://127.0.0.1:{server.port}/in/{_NAME}"]
    target = server.root / _NAME
    return Match(
        "FTPS", "curl", _ours(block, source), lambda: _timed(command), lambda: _size(target), target.unlink
    )


def _sftp(stack: ExitStack, folder: Path, source: Path) -> Match | None:
    if _lacks("sshd", "sftp"):
        return None
    from platform_assets_tests.fixtures.ssh import running_sshd

    (folder / "ssh" / "in").mkdir(parents=True)
    server = stack.enter_context(running_sshd(folder / "ssh"))
    target = folder / "ssh" / "in" / _NAME
    block = {
        "address": f"sftp://{server.user}@127.0.0.1:{server.port}{target.parent}",
        "sftp": {"host_key": server.fingerprint, "key_file": str(server.key_file)},
    }
    known = folder / "ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    command = ["sftp", "-q", "-F", "none", "-P", str(server.port), "-i", str(server.key_file)]
    command += ["-o", f"UserKnownHostsFile={known}", "-b", "-", f"{server.user}@127.0.0.1"]
    return Match(
        "SFTP",
        "sftp",
        _ours(block, source),
        lambda: _timed(command, input=f"put {source} {target}\n"),
        lambda: _size(target),
        target.unlink,
    )


def _s3(stack: ExitStack, folder: Path, source: Path) -> Match:
    from platform_assets_tests.fixtures.certificates import new_certificate

    (folder / "s3").mkdir()
    certificate = new_certificate(folder / "s3", "benchmark")
    arrived: list[int] = []
    port = stack.enter_context(_forgetful_server(certificate, arrived))
    endpoint, environment = f"https://127.0.0.1:{port}", {"AWS_CA_BUNDLE": str(certificate[0])}
    (folder / "s3" / "secret").write_text("a secret that nobody checks")
    block = {
        "address": "s3://bucket/in",
        "s3": {
            "storage_options": {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_REGION": "eu-west-2",
                "AWS_ACCESS_KEY_ID": "benchmark",
                "AWS_SECRET_ACCESS_KEY": f"secret://file{folder / 's3' / 'secret'}",
            }
        },
    }
    client = {
        "endpoint_url": endpoint,
        "region_name": "eu-west-2",
        "aws_access_key_id": "benchmark",
        "aws_secret_access_key": "a secret that nobody checks",
    }
    theirs = {"kind": "boto3", "client": client, "path": str(source)}
    return Match(
        "S3",
        "boto3's upload_file",
        _ours(block, source, environment),
        lambda: _in_a_process(theirs, environment),
        lambda: sum(arrived),
        arrived.clear,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _forgetful_server(certificate: tuple[Path, Path], arrived: list[int]) -> Iterator[int]:
    """An S3 server that takes the parts of uploads, counts their bytes, and forgets them."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(404)

        def do_GET(self) -> None:
            self._answer(200, "<ListMultipartUploadsResult/>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.endswith("?uploads"):
                self._answer(
                    200,
                    "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
                )
            else:
                self._answer(
                    200,
                    "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>",
                )

        def do_PUT(self) -> None:
            left = int(self.headers.get("X-Amz-Decoded-Content-Length") or self.headers["Content-Length"])
            arrived.append(left)
            if "aws-chunked" in self.headers.get("Content-Encoding", ""):
                while size := int(self.rfile.readline().partition(b";")[0], 16):
                    self._skip(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass  # the checksum behind the content
            else:
                self._skip(left)
            self._answer(200, "", {"ETag": '"1"'} | self._checksum())

        def _checksum(self) -> dict[str, str]:
            name = "x-amz-checksum-crc32"
            return {name: self.headers[name]} if name in self.headers else {}

        def _skip(self, left: int) -> None:
            while left:
                left -= len(self.rfile.read1(min(left, 1 << 20))) or left

        def _answer(self, status: int, text: str = "", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

        def get_request(self) -> tuple[Any, Any]:
            connection, address = super().get_request()
            connection.settimeout(60)
            return self.context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ), address

    Server.context.load_cert_chain(*certificate)
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        with contextlib.suppress(OSError):
            server.server_close()


if __name__ == "__main__":
    main()
