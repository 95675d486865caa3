"""What is derived from declarations, in files of the state folder, under a fingerprint of all that it needs.

A file that is missing, damaged or of another fingerprint is written again; without a place for it, what it
would hold is derived each time.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from platform_assets.column_lineage import DeclaredTable
from platform_assets.processes import write_whole

if TYPE_CHECKING:
    from platform_assets.lineage.graph import Graph
    from platform_assets.lineage.notes import Notes

T = TypeVar("T")
_GRAPH, _PROOF, _NOTES = "graph.json", "proof.json", "notes.json"
_SHARED = ("classification.py", "column_lineage.py", "description.py")
"""The modules outside this room that what is derived is made of."""


def cached_graph(folder: Path | None, declared: Sequence[DeclaredTable], masking: Sequence[str]) -> Graph:
    """Return the graph of these tables: from the file, if it is that of these tables; otherwise derive it.

    Args:
        folder: Folder of the file; it is created. None to keep nothing.
        declared: The tables.
        masking: Names of further SQL functions that mask.

    Raises:
        LineageError: The lineage of model SQL cannot be derived.
    """
    from platform_assets.lineage.graph import Graph

    def derive() -> Graph:
        from platform_assets.lineage.construction import build_graph

        return build_graph(declared, masking)

    if folder is None:
        return derive()
    return _kept(folder / _GRAPH, _fingerprint(declared, masking), Graph.from_json, derive, Graph.to_json)


def cached_proof(folder: Path, graph: Graph) -> Graph:
    """Return a graph with the results of experiments: from the file, if they are those of this graph.

    Args:
        folder: Folder of the file; it is created.
        graph: The graph.
    """
    from platform_assets.lineage.graph import Graph

    def try_out() -> Graph:
        from platform_assets.lineage.proof import try_edges

        return graph.with_proof(try_edges(graph).observed)

    code = Path(__file__).with_name("proof.py").read_bytes()
    wanted = hashlib.blake2b(code + graph.to_json().encode(), digest_size=16).hexdigest()
    return _kept(folder / _PROOF, wanted, Graph.from_json, try_out, Graph.to_json)


def cached_notes(
    folder: Path | None,
    declared: Sequence[DeclaredTable],
    masking: Sequence[str],
    known: object,
    derive: Callable[[], Notes],
) -> Notes:
    """Return the notes about these tables: from the file, if nothing that they are made from has changed.

    Args:
        folder: Folder of the file; it is created. None to keep nothing.
        declared: The tables.
        masking: Names of further SQL functions that mask.
        known: All that the notes are made from beside the graph; what differs has different text.
        derive: Makes the notes. Its errors are raised.
    """
    from platform_assets.lineage.notes import notes_from_json, notes_to_json

    if folder is None:
        return derive()
    wanted = _fingerprint(declared, masking, known)
    return _kept(folder / _NOTES, wanted, notes_from_json, derive, notes_to_json)


def _kept(
    file: Path, wanted: str, read: Callable[[str], T], derive: Callable[[], T], write: Callable[[T], str]
) -> T:
    """Return what a file of this fingerprint holds; otherwise derive it, and keep it in the file."""
    with contextlib.suppress(OSError, ValueError):
        known, _, text = file.read_text(encoding="utf-8").partition("\n")
        if known == wanted:
            return read(text)
    derived = derive()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{wanted}\n{write(derived)}".encode())
    return derived


def _fingerprint(declared: Sequence[DeclaredTable], masking: Sequence[str], known: object = None) -> str:
    """Return a fingerprint of the declarations and all else that is known, and of the code that uses them."""
    found = hashlib.blake2b(digest_size=16)
    own = Path(__file__).parent
    for file in (*(own.with_name(name) for name in _SHARED), *sorted(own.glob("*.py"))):
        found.update(file.read_bytes())
    found.update(repr((version("sqlglot"), tuple(masking), tuple(declared), known)).encode())
    return found.hexdigest()
