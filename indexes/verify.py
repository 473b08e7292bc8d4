"""Verification: read every byte of an index and say what is wrong with it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from indexes.errors import FormatError, IndexesError
from indexes.index import ERASURES_FOLDER, TOMBSTONES_FOLDER, Index
from indexes.manifest import SEGMENTS_FOLDER, FileRecord
from indexes.segment import describe_file
from indexes.vectors import check_unit_rows


def verify_index(index: Index) -> list[str]:
    """Return what is wrong with an index, in sentences; an empty list for a sound one.

    Checks SHA-256 and size of every file's content, that ids ascend and were given out, that every tombstone
    names a stored row once, and that every vector is a unit vector.
    """
    findings = [problem for path, record in _files(index) if (problem := _check_file(path, record))]
    if findings:
        return findings
    try:
        references = index.references()
        check_ids(index)
        for part, segment in zip(references.parts, index.manifest.segments, strict=True):
            try:
                check_unit_rows(part.vectors)
            except IndexesError as error:
                findings.append(f"segment {segment.name}: {error}")
        if references.rows != index.rows:
            findings.append(
                f"the manifest counts {index.rows} rows, {references.rows} can be found: "
                "tombstones name rows twice or rows that are not there."
            )
        if index.manifest.codec and index.codec is None:
            findings.append("the codec is missing.")
    except (IndexesError, OSError, ValueError) as error:
        findings.append(str(error))
    return findings


def check_ids(index: Index) -> None:
    """Raise IndexesError unless ids ascend, fit their segments and were all given out."""
    ids = index.references().ids
    if ids.size and (np.any(np.diff(ids) <= 0) or ids[-1] >= index.manifest.next_id):
        raise IndexesError(f"ids in '{index.path}' are not ascending, or were never given out.")
    for part, segment in zip(index.references().parts, index.manifest.segments, strict=True):
        if (part.ids[0], part.ids[-1]) != (segment.id_first, segment.id_last):
            raise IndexesError(f"segment {segment.name} holds other ids than the manifest says.")


def _files(index: Index) -> Iterator[tuple[Path, FileRecord]]:
    for segment in index.manifest.segments:
        for name, record in segment.files.items():
            yield index.path / SEGMENTS_FOLDER / segment.name / name, record
    for tombstone in index.manifest.tombstones:
        yield index.path / TOMBSTONES_FOLDER / tombstone.name, tombstone.file
    for erasure in index.manifest.erasures:
        yield index.path / ERASURES_FOLDER / erasure.name, erasure.file
    for name, record in index.manifest.codec.items():
        yield index.path / name, record


def _check_file(path: Path, record: FileRecord) -> str | None:
    if not path.is_file():
        return f"'{path}' is missing."
    try:
        found = describe_file(path)
    except FormatError as error:
        return str(error)
    if found.bytes != record.bytes:
        return f"'{path}' has {found.bytes} bytes, its manifest says {record.bytes}."
    if found.sha256 != record.sha256:
        return f"'{path}' has changed: its SHA-256 is not the manifest's."
    return None
