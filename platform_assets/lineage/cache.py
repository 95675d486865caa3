"""The graph in a file of the state folder, under a fingerprint of all that it is derived from."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from platform_assets import column_lineage
from platform_assets.column_lineage import DeclaredTable
from platform_assets.lineage.graph import Graph
from platform_assets.processes import write_whole

_FILE, _PROOF = "graph.json", "proof.json"


def cached_graph(folder: Path | None, declared: Sequence[DeclaredTable], masking: Sequence[str]) -> Graph:
    """Return the graph of these tables: from the file, if it is that of these tables; otherwise derive it.

    Args:
        folder: Folder of the file; it is created. None to keep nothing.
        declared: The tables.
        masking: Names of further SQL functions that mask.

    Raises:
        LineageError: The lineage of model SQL cannot be derived.
    """
    if folder is None:
        from platform_assets.lineage.construction import build_graph

        return build_graph(declared, masking)
    file, wanted = folder / _FILE, _fingerprint(declared, masking)
    # A file that is missing, damaged or of another version is written again.
    with contextlib.suppress(OSError, ValueError):
        known, _, text = file.read_text(encoding="utf-8").partition("\n")
        if known == wanted:
            return Graph.from_json(text)
    from platform_assets.lineage.construction import build_graph

    graph = build_graph(declared, masking)
    # Without a place to keep it, the graph is derived each time.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{wanted}\n{graph.to_json()}".encode())
    return graph


def cached_proof(folder: Path, graph: Graph) -> Graph:
    """Return a graph with the results of experiments: from the file, if they are those of this graph.

    Args:
        folder: Folder of the file; it is created.
        graph: The graph.
    """
    file = folder / _PROOF
    code = Path(__file__).with_name("proof.py").read_bytes()
    wanted = hashlib.blake2b(code + graph.to_json().encode(), digest_size=16).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        known, _, text = file.read_text(encoding="utf-8").partition("\n")
        if known == wanted:
            return Graph.from_json(text)
    from platform_assets.lineage.proof import try_edges

    proved = graph.with_proof(try_edges(graph).observed)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{wanted}\n{proved.to_json()}".encode())
    return proved


def _fingerprint(declared: Sequence[DeclaredTable], masking: Sequence[str]) -> str:
    """Return a fingerprint of the declarations, and of the code that derives the graph from them."""
    found = hashlib.blake2b(digest_size=16)
    for file in (Path(column_lineage.__file__), *sorted(Path(__file__).parent.glob("*.py"))):
        found.update(file.read_bytes())
    found.update(repr((version("sqlglot"), tuple(masking), tuple(declared))).encode())
    return found.hexdigest()
