"""Sessions of Spark and Sail: how they are started, found and stopped.

Every session computes in UTC and fails on what it cannot convert, as DuckDB does.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from platform_assets.configuration.environment import set_unless_given
from platform_assets.errors import PlatformError, missing_lake_file
from platform_assets.lake.delta import reason_in_short
from platform_assets.lake.upkeep.store import TableStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from platform_assets.lake.delta import LakeTable

_OLDEST_JAVA = 17
_SESSION = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.sources.default": "parquet",
}
"""Properties without which the rows would differ from those of other engines."""
_PROCESS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


_ON_THIS_MACHINE = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
# With the waits between them, about a minute. The default waits for ten.
_RETRIES = 6
_SECONDS_TO_CONNECT = 10
_PORT = 15_002
_RAISED = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)+([\w.]+)(?:: (.*))?", re.MULTILINE
)
_REFUSED = re.compile(r"\b40[13]\b|credential|Forbidden", re.IGNORECASE)
_JAVA_ENDED = "JAVA_GATEWAY_EXITED"


class SparkError(PlatformError):
    """Spark has refused the work, or something that it needs is missing."""


class SparkUnavailable(SparkError):
    """Spark does not answer."""

    retryable = True


@dataclass(frozen=True)
class SparkTarget:
    """A Spark: in a process of this machine, on a cluster, or behind Spark Connect.

    Args:
        master: Returns the address, with secrets fetched; called when a session is started.
        memory_mb: Megabytes of the driver's heap, where this process starts it.
        partitions: Pieces that large work is split into.
        options: Returns further properties, likewise.
        s3_scheme: Scheme of S3 addresses.
        name: Name of the engine in the settings.
    """

    master: Callable[[], str]
    memory_mb: int = 2048
    partitions: int = 8
    options: Callable[[], Mapping[str, str]] = dict
    s3_scheme: str = "s3a"
    name: str = "spark"
    _open: list[SparkSession] = field(default_factory=list, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @contextlib.contextmanager
    def working(self, attempt: str) -> Iterator[SparkSession]:
        """Use the session of this process, which the first use starts.

        Args:
            attempt: The work, for messages: `building star/dim_staff`.

        Raises:
            SparkUnavailable: Spark does not answer; the next use starts another session.
            SparkError: Spark cannot do the work.
        """
        import grpc  # type: ignore[import-untyped]
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        with self._lock:
            if not self._open:
                self._open.append(self._start())
            session = self._open[0]
        try:
            yield session
        except (PySparkException, Py4JError, grpc.RpcError, ConnectionError) as error:
            if self._answers(session):
                reason = _reason(error)
                raise SparkError(f"Spark failed at {attempt}: {reason}{self._advice(reason)}") from error
            self._open.clear()
            raise SparkUnavailable(
                f"Spark ended or did not answer at {attempt}: {reason_in_short(error)}. See that it runs "
                "and has enough memory (spark.memory_mb); the next run continues."
            ) from error

    def place(self, uri: str) -> str:
        """Return the address of a file or folder of the lake as this Spark writes it.

        Raises:
            SparkError: It is in a bucket of S3, for which this Spark has no connector.
        """
        if uri.startswith("s3://"):
            self._require_connector()
            return f"{self.s3_scheme}{uri.removeprefix('s3')}"
        return uri if "://" in uri else f"file://{uri}"

    def require_files(self, table: LakeTable, paths: Sequence[str]) -> None:
        """Look for files of a table before they are read, where this Spark would pass over what is missing.

        Args:
            table: The table.
            paths: Paths or addresses of the files.

        Raises:
            LakeError: A file does not exist.
        """

    def _require_connector(self) -> None:
        """Look for the class of the connector, for which Spark itself searches a minute and tells in Java."""
        import pyspark.sql

        session = self._open[0] if self._open else None
        # What is behind Spark Connect has its connectors itself.
        if type(session) is pyspark.sql.SparkSession:
            properties: Any = session.sparkContext._jsc.hadoopConfiguration()
            kind = properties.get(f"fs.{self.s3_scheme}.impl")
            if kind is None or properties.getClassByNameOrNull(kind) is None:
                raise SparkError(
                    "This Spark cannot read the lake's bucket: it has no connector for S3, which is in no "
                    "Python package. Set spark.options { spark.jars.packages = "
                    f'"org.apache.hadoop:hadoop-aws:{_hadoop_version(session)}" }}, which Spark downloads '
                    "from Maven, or take engine = sail, which needs none."
                )

    def _advice(self, _: str) -> str:
        return ""

    def _answers(self, session: SparkSession) -> bool:
        try:
            session.sql("SELECT 1").toArrow()
        except Exception:  # noqa: BLE001 - whatever it is, this is no answer
            return False
        return True

    def _start(self) -> SparkSession:
        try:
            import pyspark.sql
        except ImportError as error:
            raise _missing("spark", "pyspark") from error
        master = self.master()
        if master.startswith("sc://"):
            return connected(master, self.partitions)
        properties = {
            **_PROCESS,
            **(_ON_THIS_MACHINE if master.startswith("local") else {}),
            **_SESSION,
            "spark.driver.memory": f"{self.memory_mb}m",
            **_partitions(self.partitions),
            **self.options(),
        }
        builder = pyspark.sql.SparkSession.builder.master(master).appName("platform_assets")
        for name, value in properties.items():
            builder = builder.config(name, value)
        try:
            session = _created(builder)
            # Workers run the Python of this path; it is the only place where pyspark takes it from.
            session.sparkContext.pythonExec = sys.executable
            return session
        except Exception as error:
            if shutil.which("java") is None:
                raise SparkError(
                    f"Spark needs Java {_OLDEST_JAVA} or later, and this machine has no java. Install it "
                    f"(Debian: openjdk-{_OLDEST_JAVA}-jre-headless), or point spark.master at a Spark that "
                    "runs elsewhere (sc://host:15002)."
                ) from error
            raise SparkUnavailable(
                f"Spark could not be started at {master}: {reason_in_short(error)}. Check spark.master "
                "and spark.options."
            ) from error


def _created(builder: Any) -> SparkSession:
    """Create a session; Java, which seldom ends by itself at its start, is then started once more."""
    created: SparkSession
    try:
        created = builder.getOrCreate()
    except Exception as error:
        if _JAVA_ENDED not in str(error) or shutil.which("java") is None:
            raise
        created = builder.getOrCreate()
    return created


@dataclass(frozen=True)
class SailTarget(SparkTarget):
    """Sail, which speaks Spark Connect: a server elsewhere, or one inside this process."""

    name: str = "sail"

    def place(self, uri: str) -> str:
        """See `SparkTarget.place`."""
        return uri

    def require_files(self, table: LakeTable, paths: Sequence[str]) -> None:
        """See `SparkTarget.require_files`: Sail 0.7 reads no rows from a file that does not exist."""
        stored = {file.path for file in TableStore(table).listed()}
        for path in paths:
            if path.rpartition("/")[2] not in stored:
                raise missing_lake_file(path)

    def _advice(self, reason: str) -> str:
        if not _REFUSED.search(reason):
            return ""
        return (
            ". Sail takes the credentials and the address of a bucket from its environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL) or the role of its "
            "machine, not from lake.storage_options"
        )

    def _start(self) -> SparkSession:
        master = self.master()
        if master.startswith("sc://"):
            return connected(master, self.partitions)
        try:
            from pysail.spark import SparkConnectServer
        except ImportError as error:
            raise _missing("sail", "pysail") from error
        # Sail logs each start and session to the standard error output; who wants that sets the variable.
        set_unless_given("RUST_LOG", "error")
        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
        weakref.finalize(self, server.stop)
        host, port = server.listening_address
        return connected(f"sc://{host}:{port}", self.partitions)


def connected(address: str, partitions: int) -> SparkSession:
    """Open a session of its own over Spark Connect.

    Args:
        address: The address, `sc://host:port`. What follows may be a token, and is not shown.
        partitions: Pieces that large work is split into.

    Raises:
        SparkError: A library is missing.
        SparkUnavailable: The server does not answer, or refuses the session.
    """
    try:
        from pyspark.sql.connect.client.retries import DefaultPolicy
        from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        raise _missing("spark", "pyspark with Spark Connect") from error
    place = address.removeprefix("sc://").partition("/")[0]
    host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
    try:
        # The client itself would try for ten minutes.
        socket.create_connection((host.strip("[]"), int(port or _PORT)), _SECONDS_TO_CONNECT).close()
        session = SparkSession.builder.remote(address).create()
        session.client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
        for name, value in {**_SESSION, **_partitions(partitions)}.items():
            session.conf.set(name, value)
    except Exception as error:
        raise SparkUnavailable(
            f"Spark Connect at {place} does not answer: {reason_in_short(error)}. Check spark.master, "
            "and that the server runs."
        ) from error
    return session  # type: ignore[return-value]


def _reason(error: BaseException) -> str:
    """Return an error in one line; the message of a worker's Python only if it quotes no value."""
    raised = _RAISED.findall(str(error))
    if not raised:
        return reason_in_short(error)
    name, message = raised[-1]
    if name in ("ImportError", "ModuleNotFoundError"):
        return f"a worker failed: {message}. Workers need this package, in the version of the run"
    is_own = name.startswith(f"{__package__.partition('.')[0]}.") and message
    return f"a worker failed: {message if is_own else name.rpartition('.')[2]}"


def _hadoop_version(session: SparkSession) -> str:
    """Return the version of Hadoop in a Spark; its connector for S3 has the same."""
    jvm: Any = session.sparkContext._jvm
    return str(jvm.org.apache.hadoop.util.VersionInfo.getVersion())


def _partitions(count: int) -> dict[str, str]:
    return {"spark.sql.shuffle.partitions": str(count)}


def _missing(extra: str, library: str) -> SparkError:
    return SparkError(
        f"The engine {extra} needs {library}, which is not installed: pip install 'platform_assets[{extra}]'."
    )
