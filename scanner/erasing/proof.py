"""The proof at the end of an erasure: everything that can be decoded is searched for the erased, ours and not.

It does not ask which columns of which table there are, as the erasing does: every text cell of every Parquet file, every
word of every JSON file, every text file, the pictures in tars of ours, every vector, every index.
"""

from __future__ import annotations

import html
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from indexes import open_index
from indexes.errors import IndexesError
from indexes.manifest import MANIFEST_NAME
from scanner import artefacts
from scanner.erasing.known import Known
from scanner.erasing.pictures import pictures_of
from scanner.erasing.rows import same_vectors
from scanner.erasing.walk import JOURNAL, RECORDS, SHARD
from scanner.errors import ArtefactError

TEXTS: Final = frozenset({".html", ".txt", ".csv", ".tsv", ".jsonl", ".log", ".md", ".toml", ".xml", ".yaml", ".yml"})
_TEXT_BYTES_MAX: Final = 256 << 20
_DISTINCT: Final = re.compile(r"(?=.*[0-9_.\-/ ])(?=.*[A-Za-z]).{4,}", re.DOTALL)
_LABELS: Final = re.compile(r"(^|_)(identity|label|person|subject|name)($|_)")
_ROWS: Final = 8192


@dataclass(frozen=True, slots=True)
class Words:
    """The erased, as words.

    Attributes:
        whole: texts that are found wherever they are a whole cell or word.
        labels: identities so short or common ("12", "match") that they are looked for only where a label stands.
        sources: beginnings of texts.
    """

    whole: frozenset[str]
    labels: frozenset[str]
    sources: tuple[str, ...]
    pattern: re.Pattern[str] | None = field(repr=False, compare=False)

    @classmethod
    def of(cls, known: Known) -> Words:
        """Return what to look for."""
        distinct = {label for label in known.labels if _DISTINCT.fullmatch(label)}
        whole = frozenset({*known.items, *known.uris, *distinct})
        texts = sorted({*whole, *known.sources}, key=len, reverse=True)
        pattern = "|".join(rf"(?<![\w-]){re.escape(text)}(?![\w-])" for text in texts if text)
        return cls(
            whole, frozenset(known.labels - distinct), tuple(known.sources), re.compile(pattern) if pattern else None
        )

    def is_in(self, text: str, *, named: bool) -> bool:
        """True when a cell or a value of JSON is one of the erased; `named` where labels stand."""
        if text in self.whole or (named and text in self.labels):
            return True
        item, colon, _ = text.rpartition(":")
        _, slash, label = text.partition("/")
        return (
            bool(colon and item in self.whole)
            or bool(named and slash and (label in self.labels or label in self.whole))
            or text.startswith(self.sources)
        )


def search(roots: Sequence[Path], known: Known) -> list[str]:
    """Return the files below the roots in which something of the erased is left, each with what it is; sorted."""
    words = Words.of(known)
    looked = ((path, _look(path, known, words)) for path in files_below(roots))
    return sorted({f"{path}: {what}" for path, what in looked if what})


def files_below(roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the files at and below the roots, but for links and what an erasure itself writes."""
    for root in roots:
        inside: Iterator[Path] = iter([root]) if root.is_file() else root.rglob("*")
        for path in inside:
            parts = path.relative_to(root).parts
            if not path.is_symlink() and path.is_file() and JOURNAL not in parts and RECORDS not in parts[:-1]:
                yield path


def text_columns(schema: pa.Schema) -> list[str]:
    """Return the columns of texts, and of lists of texts."""
    return [one.name for one in schema if _is_text(one.type)]


def texts_of(column: pa.Array) -> Iterator[str]:
    """Yield the distinct texts of such a column."""
    for value in pa.compute.unique(column.flatten() if pa.types.is_list(column.type) else column).to_pylist():
        if value is not None:
            yield value


def _look(path: Path, known: Known, words: Words) -> str:
    """Return what of the erased a file holds, "" where it holds nothing or cannot be decoded."""
    try:
        if path.name == MANIFEST_NAME:
            return _index(path.parent, known)
        if path.suffix == ".parquet":
            return _parquet(path, known, words)
        if SHARD.fullmatch(path.name):
            return _tar(path, known)
        if path.suffix == ".json":
            document = json.loads(path.read_text("utf-8"))
            return "a word" if _json(document, words, named=False) else ""
        if path.suffix in TEXTS and path.stat().st_size <= _TEXT_BYTES_MAX and words.pattern is not None:
            text = path.read_text("utf-8", errors="replace")
            return "a word" if words.pattern.search(html.unescape(text)) else ""
    except (OSError, ValueError, pa.ArrowException, tarfile.TarError, ArtefactError, IndexesError):
        return ""  # what cannot be read is told by the walk
    return ""


def _parquet(path: Path, known: Known, words: Words) -> str:
    with artefacts.open_parquet(path) as file:
        schema = file.schema_arrow
        texts = text_columns(schema)
        vectors = [one.name for one in schema if pa.types.is_fixed_size_list(one.type)]
        fingerprint = (schema.metadata or {}).get(artefacts.FINGERPRINT_KEY, b"").decode(errors="replace")
        erased = known.vectors.get(fingerprint)
        for batch in file.iter_batches(batch_size=_ROWS, columns=[*texts, *vectors]):
            for name in texts:
                named = bool(_LABELS.search(name))
                if any(words.is_in(text, named=named) for text in texts_of(batch.column(name))):
                    return f"a cell of {name}"
            for name in vectors:
                column = batch.column(name)
                if erased is None or column.type.list_size != erased.shape[1] or column.null_count:
                    continue
                values = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
                if same_vectors(np.ascontiguousarray(values, np.float32), erased).any():
                    return f"a vector of {name}"
    return ""


def _index(path: Path, known: Known) -> str:
    """Look at the vectors of an index; its tables are files like all others.  Segments that nobody names are a finding."""
    index = open_index(path)
    references, erased = index.references(), known.vectors.get(index.fingerprint)
    stored = {folder.name for folder in (path / "segments").iterdir()} if (path / "segments").is_dir() else set()
    if stored - {segment.name for segment in index.manifest.segments} or index.manifest.tombstones:
        return "references that were erased, but not yet from the disk"
    rows = references.live_rows()
    for start in range(0, len(rows) if erased is not None else 0, _ROWS):
        assert erased is not None
        if same_vectors(references.gather(rows[start : start + _ROWS]), erased).any():
            return "a vector"
    return ""


def _tar(path: Path, known: Known) -> str:
    for one in pictures_of(path):
        if one.identity in known.labels or one.stem in known.items or one.item_id in known.items:
            return "a picture"
    return ""


def _json(value: Any, words: Words, *, named: bool) -> bool:
    if isinstance(value, str):
        return words.is_in(value, named=named)
    if isinstance(value, dict):
        return any(
            words.is_in(key, named=False) or _json(one, words, named=bool(_LABELS.search(key)))
            for key, one in value.items()
        )
    if isinstance(value, list):
        return any(_json(one, words, named=named) for one in value)
    return False


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
