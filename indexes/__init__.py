"""Unit vectors in, hits out: exhaustive search by cosine, and the folders that hold what is searched.

    build_index     blocks of vectors and metadata -> an index folder
    open_index      an index folder -> Index
    Index           references, engine, lookup; add, remove, compact, verify
    Engine          search(queries, threshold=, k=) -> Hits; exact, flat, compressed and cuda keep one contract
    VectorBatch     unit vectors, checked
    Hits            query_row, reference_id, score: three columns in one order
    References      searchable rows, in memory or memory-mapped
    SelfJoin        all pairs of an index's own references, each once, block by block
    Components      connected components of pairs that come in blocks
    IndexesError    base of everything raised

Importing this package imports none of faiss, pyarrow and numpy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexes.build import Block, build_index
    from indexes.components import Components
    from indexes.engine import Engine
    from indexes.errors import IndexesError
    from indexes.hits import Hits
    from indexes.index import Index, open_index
    from indexes.references import References
    from indexes.self_join import SelfJoin
    from indexes.vectors import VectorBatch

__all__ = [
    "Block",
    "Components",
    "Engine",
    "Hits",
    "Index",
    "IndexesError",
    "References",
    "SelfJoin",
    "VectorBatch",
    "build_index",
    "open_index",
]

_HOMES = {
    "Block": "build",
    "Components": "components",
    "Engine": "engine",
    "Hits": "hits",
    "Index": "index",
    "IndexesError": "errors",
    "References": "references",
    "SelfJoin": "self_join",
    "VectorBatch": "vectors",
    "build_index": "build",
    "open_index": "index",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'indexes' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"indexes.{_HOMES[name]}"), name)
