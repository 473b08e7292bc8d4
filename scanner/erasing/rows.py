"""Which rows of a table are to go, and what is learnt from them; no file is written here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner.erasing.columns import (
    FACE_POINTERS,
    INDEX,
    LABEL_POINTERS,
    REFERENCE_POINTERS,
    VECTOR,
    Side,
    sides_of,
)
from scanner.erasing.known import ITEM_ID_DIGITS, VECTORS_MAX, Known, Local, is_item_id, joined, strings
from scanner.jobs.parts import vectors_of

SAME_VECTOR = 0.9999
"""Cosine from which two vectors are one crop, saved twice: float16 costs 1e-6, another photo of the person 0.1."""
_BLOCK = 4096

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a table that go, by each of its sides: `sides` are parallel to `columns.sides_of`; each is (rows,)."""

    rows: Mask
    sides: tuple[Mask, ...]


def choose(table: pa.Table, known: Known, local: Local, fingerprint: str = "") -> Chosen:
    """Find the rows of the erased.

    Args:
        table: of ours; its columns decide what is looked at.
        known: what is to go.
        local: of the folder that the table lies in.
        fingerprint: of the table's embedder, whose erased vectors its own are compared with.
    """
    sides = sides_of(table.schema)
    masks = [_fits(table, side, known, local) for side in sides]
    if VECTOR in table.column_names and fingerprint in known.vectors and masks:
        masks[0] = masks[0] | same_vectors(vectors_of(table), known.vectors[fingerprint])
    rows = np.logical_or.reduce(masks) if masks else np.zeros(table.num_rows, np.bool_)
    return Chosen(rows, tuple(masks))


def learn(table: pa.Table, chosen: Chosen, known: Known, local: Local, fingerprint: str = "") -> None:
    """Remember by what else the chosen rows are told: their pictures, places, ids and vectors."""
    for side, rows in zip(sides_of(table.schema), chosen.sides, strict=True):
        if not rows.any():
            continue
        if side.item:
            known.items |= strings(table[side.item], rows)
        if side.face:
            faces = strings(table[side.face], rows)
            local.faces |= faces
            known.items |= {item for face in faces if (item := _item_of(face))}
        if side.reference:
            there = rows & _mask(table[side.reference].is_valid())
            local.references |= set(_references(table.filter(pa.array(there)), side.reference, local).to_pylist())
        if side.uri and side.label:
            _learn_names(table.filter(pa.array(rows)), side, known)
    if VECTOR in table.column_names and chosen.rows.any() and sum(map(len, known.vectors.values())) < VECTORS_MAX:
        known.add_vectors(fingerprint, vectors_of(table.filter(pa.array(chosen.rows))))


def without(table: pa.Table, chosen: Chosen, known: Known, local: Local) -> tuple[pa.Table, int]:
    """Return the table without the chosen rows and with its pointers at the erased emptied; and how many were."""
    table, emptied = table.filter(pa.array(~chosen.rows)), 0
    for name, of_index in REFERENCE_POINTERS.items():
        if name in table.column_names:
            rows = _is_in(_joined(table[of_index], table[name]), known.references | local.references)
            table, emptied = _empty(_empty(table, name, rows), of_index, rows), emptied + int(rows.sum())
    for name in table.column_names:
        if name in FACE_POINTERS:
            rows = _faces(table[name], known, local)
        elif name in LABEL_POINTERS:
            rows = _label_pointers(table[name], known)
        else:
            continue
        table, emptied = _empty(table, name, rows), emptied + int(rows.sum())
    return table, emptied


def same_vectors(vectors: NDArray[np.float32], erased: NDArray[np.float32]) -> Mask:
    """Return which of the rows are an erased vector, but for rounding; (n, dim) and (e, dim) to (n,)."""
    found = np.zeros(len(vectors), np.bool_)
    if vectors.shape[1] != erased.shape[1] or len(erased) > VECTORS_MAX:
        return found
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = (vectors[start : start + _BLOCK] @ erased.T).max(axis=1) > SAME_VECTOR
    return found


def _fits(table: pa.Table, side: Side, known: Known, local: Local) -> Mask:
    rows = np.zeros(table.num_rows, np.bool_)
    if side.label:
        rows |= _is_in(table[side.label], known.labels)
        if INDEX in table.column_names and known.orphans:
            rows |= _is_in(_joined(table[INDEX], table[side.label]), known.orphans)
        elif local.indexes:
            orphans = (name.partition("\0") for name in known.orphans)
            rows |= _is_in(table[side.label], {label for index, _, label in orphans if index in local.indexes})
    if side.item:
        rows |= _is_in(table[side.item], known.items)
    if side.face:
        rows |= _faces(table[side.face], known, local)
    if side.reference and local.references:
        rows |= _is_in(_references(table, side.reference, local), local.references)
    if side.uri:
        rows |= _places(table[side.uri], known)
        if side.label and known.names:
            named = _is_in(_joined(table[side.uri], table[side.label]), known.names)
            rows |= named & (_is_in(table[side.item], {""}) if side.item else True)
    if side.others and (known.uris or known.sources):
        rows |= np.array(
            [any(_is_place(uri, known) for uri in others or ()) for others in table[side.others].to_pylist()], np.bool_
        )
    return rows


def _learn_names(table: pa.Table, side: Side, known: Known) -> None:
    """Remember places with their labels: a place alone may be another picture's elsewhere."""
    assert side.uri is not None
    assert side.label is not None
    labels = table[side.label].to_pylist()
    known.names |= set(joined(table[side.uri].to_pylist(), labels))
    if side.others:
        pairs = zip(table[side.others].to_pylist(), labels, strict=True)
        known.names |= {name for others, label in pairs for name in joined(others or (), [label] * len(others or ()))}


def _references(table: pa.Table, column: str, local: Local) -> pa.ChunkedArray:
    """Return `index NUL id` of each row."""
    if INDEX in table.column_names:
        return _joined(table[INDEX], table[column])
    return _joined(pa.chunked_array([pa.array([local.index] * table.num_rows, pa.string())]), table[column])


def _joined(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return what `known.joined` does, of columns."""
    texts = [column.cast(pa.string()).fill_null("") for column in (left, right)]
    return pc.binary_join_element_wise(*texts, "\0")


def _places(column: pa.ChunkedArray, known: Known) -> Mask:
    rows = _is_in(column, known.uris)
    for source in known.sources:
        rows |= _mask(pc.or_(pc.starts_with(column, source), pc.equal(column, source[:-1])))
    return rows


def _is_place(uri: str, known: Known) -> bool:
    return uri in known.uris or f"{uri}/".startswith(known.sources)


def _faces(column: pa.ChunkedArray, known: Known, local: Local) -> Mask:
    rows = _is_in(column, local.faces)
    if known.items:
        of_picture = _is_in(pc.utf8_slice_codeunits(column, 0, ITEM_ID_DIGITS), known.items)
        rows |= of_picture & _mask(pc.match_substring_regex(column, "^[0-9a-f]+:[0-9]+$"))
    return rows


def _item_of(face: str | None) -> str:
    """Return the picture of a face's id, "" where it has none."""
    item, colon, ordinal = (face or "").rpartition(":")
    return item if colon and ordinal.isdecimal() and is_item_id(item) else ""


def _label_pointers(column: pa.ChunkedArray, known: Known) -> Mask:
    orphans = {name.replace("\0", "/", 1) for name in known.orphans}
    texts = [text or "" for text in column.to_pylist()]
    return np.array([text.partition("/")[2] in known.labels or text in orphans for text in texts], np.bool_)


def _empty(table: pa.Table, name: str, rows: Mask) -> pa.Table:
    """Put null, or "" where there must be a text, into some rows of a column."""
    if not rows.any():
        return table
    place, field = table.column_names.index(name), table.schema.field(name)
    nothing = pa.scalar(None if field.nullable else "", field.type)
    return table.set_column(place, field, pc.if_else(pa.array(rows), nothing, table[name]))


def _is_in(column: pa.ChunkedArray, words: set[str]) -> Mask:
    if not words:
        return np.zeros(len(column), np.bool_)
    return _mask(pc.is_in(column, pa.array(sorted(words), pa.string())))


def _mask(column: pa.ChunkedArray) -> Mask:
    return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
