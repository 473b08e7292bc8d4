"""An index on disk, opened: its references, its engine, its metadata.

Opening reads the manifest and maps the segments; it checks sizes and headers, not every byte, which
is `verify`'s work. An opened index is a snapshot: writers replace the manifest, never a segment.

    index = open_index(path, fingerprint="net@3f2a91")
    engine, reason = index.engine(memory_bytes=4 << 30)
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from indexes.choose import choose_engine
from indexes.codec import Codec
from indexes.codec_file import read_codec
from indexes.engine import Engine
from indexes.errors import FormatError, MismatchError, UnknownIdError
from indexes.manifest import MANIFEST_NAME, SEGMENTS_FOLDER, Manifest, read_manifest
from indexes.references import Part, References
from indexes.row_files import damage_explained, read_ids
from indexes.sealed import parquet_source
from indexes.segment import ID_COLUMN, ROW_GROUP_ROWS, ROWS_NAME, open_segment

if TYPE_CHECKING:
    from indexes.build import Block
    from indexes.edit import EraseRecord

TOMBSTONES_FOLDER = "tombstones"
ERASURES_FOLDER = "erasures"
_IDS_NAMED = 5


def open_index(path: Path | str, *, fingerprint: str | None = None) -> "Index":
    """Open an index.

    Args:
        path: its folder.
        fingerprint: of the embedder whose vectors are to be compared; None to accept any.

    Raises:
        FormatError: no index, damaged, or of a newer format.
        MismatchError: built with another embedder.
    """
    index = Index(Path(path))
    if fingerprint is not None and index.fingerprint != fingerprint:
        raise MismatchError(
            f"index '{index.path.name}' was built with embedder {index.fingerprint}, "
            f"this run uses {fingerprint}. Scores between them mean nothing. "
            f"Build the index again with {fingerprint}, or use the embedder {index.fingerprint}."
        )
    return index


class Index:
    """A snapshot of an index folder; `add`, `remove` and `compact` move it on to their result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self._check_files()

    @property
    def rows(self) -> int:
        """Number of references that can be found."""
        return self.manifest.rows

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self.manifest.dim

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the embedder."""
        return self.manifest.fingerprint

    @cached_property
    def manifest_sha256(self) -> str:
        """SHA-256 of the manifest: names this state of the index exactly."""
        return hashlib.sha256((self.path / MANIFEST_NAME).read_bytes()).hexdigest()

    @property
    def schema(self) -> pa.Schema:
        """What is kept of a reference beside its vector and its id."""
        from indexes.build import decode_schema

        return decode_schema(self.manifest.schema_base64)

    @cached_property
    def codec(self) -> Codec | None:
        """The codec of the compressed form, if the index has one."""
        return read_codec(self.path, dim=self.dim) if self.manifest.codec else None

    def references(self) -> References:
        """Return the searchable rows: memory-mapped vectors and codes, ids in memory (8 bytes each)."""
        return self._references

    def engine(
        self, memory_bytes: int, want: str = "auto", *, references: References | None = None
    ) -> tuple[Engine, str]:
        """Return (engine, reason) for some of its references, by default all; see `choose.choose_name`."""
        some = self.references() if references is None else references
        return choose_engine(some, self.codec, memory_bytes=memory_bytes, want=want)

    def lookup(self, ids: npt.ArrayLike, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the metadata of some references.

        Args:
            ids: integers (n,), any order, repeats allowed.
            columns: names, `id` among them if wanted; None for all.

        Returns:
            n rows, in the order of `ids`. Only the row groups that hold them are read.

        Raises:
            UnknownIdError: an id was never given out, or is erased.
        """
        wanted = np.asarray(ids, np.int64)
        rows = self._rows_of(wanted)
        starts = self._starts
        tables, places = [self.schema_of(columns).empty_table()], []
        for number in np.unique(np.searchsorted(starts, rows, side="right") - 1):
            mine = np.flatnonzero((rows >= starts[number]) & (rows < starts[number + 1]))
            tables.append(self._read_rows(number, rows[mine] - starts[number], columns))
            places.append(mine)
        back = np.argsort(np.concatenate([np.empty(0, np.int64), *places]))
        with damage_explained(self.path / SEGMENTS_FOLDER):
            return pa.concat_tables(tables).take(back)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one metadata column of all rows that are not erased, in order of id."""
        files = [self._segment_path(segment.name) / ROWS_NAME for segment in self.manifest.segments]
        empty, alive = self.schema_of([name]).empty_table(), self.references().alive
        with damage_explained(self.path / SEGMENTS_FOLDER):
            tables = [pq.read_table(parquet_source(file), columns=[name]) for file in files]
            values = pa.concat_tables([empty, *tables]).column(0)
            return values if alive is None else values.filter(pa.array(alive))

    def add(self, blocks: "Iterable[Block]") -> "Index":
        """Add blocks as new segments, in one commit; ids go on from `next_id`. Returns itself."""
        from indexes.edit import add_blocks

        add_blocks(self.path, blocks)
        return self._reopen()

    def remove(
        self,
        ids: npt.ArrayLike | None = None,
        *,
        where: Mapping[str, Sequence[Any]] | None = None,
        request: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> "EraseRecord":
        """Erase references by id or by metadata; see `edit.erase`."""
        from indexes.edit import erase

        record = erase(self, ids, where=where, request=request, clock=clock)
        self._reopen()
        return record

    def compact(self) -> "Index":
        """Rewrite the segments that hold erased rows, so that these are gone from the disk."""
        from indexes.edit import compact

        compact(self.path)
        return self._reopen()

    def verify(self) -> list[str]:
        """Check every byte; returns what is wrong, in sentences; nothing for a sound index."""
        from indexes.verify import verify_index

        return verify_index(self)

    @cached_property
    def _references(self) -> References:
        erased = self.erased_ids()
        parts = []
        for segment in self.manifest.segments:
            folder = self._segment_path(segment.name)
            arrays = open_segment(folder, segment, dim=self.dim, dtype=self.manifest.dtype)
            ids = read_ids(folder / ROWS_NAME, ID_COLUMN)
            if ids.shape[0] != segment.rows or np.any(np.diff(ids) <= 0):
                raise FormatError(
                    f"'{folder / ROWS_NAME}' has {ids.shape[0]} ids, expected {segment.rows} ascending "
                    "ones. The index is damaged: restore it from a copy or build it again."
                )
            codes, codec = arrays.get("codes"), self.codec
            if codes is not None and (codec is None or codes.codes.shape[1] != codec.code_bytes):
                raise FormatError(
                    f"the codes in '{folder}' have {codes.codes.shape[1]} columns, the index's codec makes "
                    f"{'none' if codec is None else codec.code_bytes}. Restore the index from a copy or build it again."
                )
            alive = ~np.isin(ids, erased) if erased.size else None
            dead = alive is not None and not alive.all()
            parts.append(Part(arrays["vectors"], ids, alive if dead else None, codes))
        return References(parts, dim=self.dim)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.cumsum([0, *(segment.rows for segment in self.manifest.segments)])

    def _rows_of(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        references = self.references()
        # Ids ascend within a segment and from segment to segment, so the whole list is sorted.
        rows = np.searchsorted(references.ids, ids)
        known = rows < references.rows_stored
        known[known] = references.ids[rows[known]] == ids[known]
        if references.alive is not None:
            known[known] = references.alive[rows[known]]
        if not known.all():
            unknown = ids[~known]
            raise UnknownIdError(
                f"index '{self.path.name}' has no reference with id "
                f"{', '.join(map(str, unknown[:_IDS_NAMED]))}{' and others' if unknown.size > _IDS_NAMED else ''}: "
                "never given out, or erased. Search the index again for ids that are still there."
            )
        return rows

    def _read_rows(self, number: int, rows: npt.NDArray[np.int64], columns: Sequence[str] | None) -> pa.Table:
        folder = self._segment_path(self.manifest.segments[number].name)
        groups, group_of = np.unique(rows // ROW_GROUP_ROWS, return_inverse=True)
        with damage_explained(folder / ROWS_NAME), pq.ParquetFile(parquet_source(folder / ROWS_NAME)) as file:
            table = file.read_row_groups(groups.tolist(), columns=columns)
            return table.take(group_of * ROW_GROUP_ROWS + rows % ROW_GROUP_ROWS)

    def schema_of(self, columns: Sequence[str] | None = None) -> pa.Schema:
        """Return the schema of some metadata columns, `id` among them if wanted; raises MismatchError for unknown ones."""
        schema = self.schema.insert(0, pa.field(ID_COLUMN, pa.int64(), nullable=False))
        missing = sorted(set(columns or ()) - set(schema.names))
        if missing:
            raise MismatchError(
                f"index '{self.path.name}' has no column {', '.join(missing)}; it has {', '.join(schema.names)}."
            )
        return schema if columns is None else pa.schema([schema.field(name) for name in columns])

    def _segment_path(self, name: str) -> Path:
        return self.path / SEGMENTS_FOLDER / name

    def erased_ids(self) -> npt.NDArray[np.int64]:
        """Return the ids that are erased and still stored."""
        folder = self.path / TOMBSTONES_FOLDER
        lists = [read_ids(folder / record.name, ID_COLUMN) for record in self.manifest.tombstones]
        return np.concatenate([np.empty(0, np.int64), *lists])

    def _check_files(self) -> None:
        for segment in self.manifest.segments:
            open_segment(self._segment_path(segment.name), segment, dim=self.dim, dtype=self.manifest.dtype)
        for folder, records in (
            (TOMBSTONES_FOLDER, self.manifest.tombstones),
            (ERASURES_FOLDER, self.manifest.erasures),
        ):
            for record in records:
                path = self.path / folder / record.name
                if not path.is_file() or path.stat().st_size != record.file.bytes:
                    raise FormatError(f"'{path}' is missing or cut short. Restore the index from a copy.")

    def _reopen(self) -> "Index":
        for name in ("_references", "_starts", "codec", "manifest_sha256"):
            self.__dict__.pop(name, None)
        self.manifest = read_manifest(self.path)
        return self
