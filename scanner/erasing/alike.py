"""Names in which an erased label stands inside a longer word: pictures of the person perhaps, perhaps not.

A generated picture that was saved as `person-5_0001.jpg` was never known to be of person 5, so an erasure leaves it.
A program cannot tell whether it is the person's; the names are told, so that somebody can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexes.errors import IndexesError
from scanner import artefacts
from scanner.erasing.known import Known
from scanner.erasing.proof import Words, files_below, text_columns, texts_of
from scanner.errors import ArtefactError


def names_alike(roots: Sequence[Path], labels: Sequence[str], known: Known) -> tuple[str, ...]:
    """Return the texts of all tables that hold one of `labels` between other signs than letters and digits, sorted.

    Left out are labels that say nothing inside a word ("12", "match"), rows that are known to be the erased's, and texts
    that a proof finds anyway.
    """
    words = Words.of(known)
    telling = sorted(words.whole.intersection(labels), key=len, reverse=True)
    if not telling:
        return ()
    inside = re.compile("|".join(rf"(?<![A-Za-z0-9]){re.escape(label)}(?![A-Za-z0-9])" for label in telling))
    erased = pa.array(sorted(words.whole | words.labels), pa.string())
    tables = (path for path in files_below(roots) if path.suffix == ".parquet")
    found = {text for path in tables for text in _texts(path, erased) if inside.search(text)}
    return tuple(sorted(text for text in found if not words.is_in(text, named=True)))


def _texts(path: Path, erased: pa.Array) -> Iterator[str]:
    """Yield the texts of a table's rows but for those of the erased."""
    try:
        with artefacts.open_parquet(path) as file:
            for batch in file.iter_batches(columns=text_columns(file.schema_arrow)):
                rows = np.ones(len(batch), np.bool_)
                for column in batch.columns:
                    if not pa.types.is_list(column.type):
                        rows &= ~pc.is_in(column, value_set=erased.cast(column.type)).to_numpy(zero_copy_only=False)
                for column in batch.filter(pa.array(rows)).columns:
                    yield from texts_of(column)
    except (OSError, ValueError, pa.ArrowException, ArtefactError, IndexesError):
        return  # what cannot be read is told by the walk
