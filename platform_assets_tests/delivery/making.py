"""Deliveries for tests: a source whose content tests choose, and the engine over folders of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform_assets.delivery.attempts import AttemptPolicy
from platform_assets.delivery.engine import Engine, Order, Watcher
from platform_assets.delivery.interfaces import Bytes, DeliveryResult, Renderer, Rows, Stamp, Writer
from platform_assets.delivery.receipts import RECEIPT_COLUMNS, ReceiptRow, Receipts
from platform_assets.delivery.staging import Naming, Staging
from platform_assets.delivery.writers.build import build_writer
from platform_assets.delivery.writers.settings import DestinationSettings
from platform_assets.lake.delta import LakeTable
from platform_assets.lake.protection import NoProtection, Protection

QUICK = AttemptPolicy(attempts=3, first_wait=0.01, longest_wait=0.01, jitter=0)
Block = dict[str, Any]


@dataclass
class Document:
    """A source of one or more files.

    Attributes:
        content: The content of each file, by name.
        version_: The version that it tells; None if only reading tells.
        opened: How often it was opened.
        before: Called before each file is read.
    """

    content: dict[str, bytes] = field(default_factory=lambda: {"customers.csv": b"id,name\n1,Ann\n"})
    version_: str | None = "1"
    opened: int = 0
    before: Callable[[str], object] = lambda name: None

    def version(self) -> str | None:
        return self.version_

    @contextmanager
    def open(self) -> Iterator[Iterator[Rows | Bytes]]:
        self.opened += 1
        yield self._files()

    def _files(self) -> Iterator[Rows | Bytes]:
        for name, content in self.content.items():
            self.before(name)
            yield Bytes(name, iter([content[:5], content[5:]]), len(content), row_count=lambda: 1)


def folder_block(path: Path) -> Block:
    return {"address": str(path)}


def writer_of(block: Block) -> Writer:
    return build_writer(DestinationSettings.model_validate(block))


class Deliveries:
    """The engine over folders of a test.

    Args:
        folder: The folder.
        protection: Changes or holds back data.
    """

    def __init__(self, folder: Path, protection: Protection | None = None) -> None:
        self.folder = folder
        self.receipts = Receipts(LakeTable(str(folder / "receipts"), RECEIPT_COLUMNS))
        self.engine = Engine(
            self.receipts,
            lambda name: Staging(folder / "staging" / name, 10_000_000),
            lambda: protection or NoProtection(),
        )
        self.lines: list[str] = []

    def order(
        self,
        source: Any,
        to: Mapping[str, Block],
        *,
        name: str = "customers",
        policy: AttemptPolicy = QUICK,
        template: str = "{0}",
        definition: str = "d",
        renderers: Callable[[Path], Sequence[Renderer]] = lambda folder: (),
    ) -> Order:
        def named(stamp: Stamp, given: str, number: int, rows: int | None) -> str:
            return template.format(given, uuid=stamp.uuid, number=number)

        return Order(
            name,
            "Customers in the morning",
            "platform_assets 0",
            definition,
            lambda: source,
            renderers,
            Naming(named),
            {key: lambda block=block: writer_of(block) for key, block in to.items()},  # type: ignore[misc]
            policy,
        )

    def make(self, order: Order, **options: Any) -> DeliveryResult:
        return self.engine.deliver(order, Watcher(self.lines.append), **options)

    def rows(self) -> list[ReceiptRow]:
        """All receipts, from the oldest."""
        return list(reversed(self.receipts.newest(10_000)))

    def told(self, destination: str) -> list[tuple[str, int]]:
        """The receipts of a destination as status and attempt."""
        return [(row.status, row.attempt) for row in self.rows() if row.destination == destination]

    def staged(self) -> list[Path]:
        return [path for path in (self.folder / "staging").rglob("*") if path.is_file()]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder without metadata, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".metadata.json")
    }
