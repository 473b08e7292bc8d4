"""Images in a column of a Parquet file: bytes, or Hugging Face's struct of `bytes` and `path`.

The order is that of the rows.  Row groups are read one after the other, and a skip passes over whole ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from scanner.errors import SourceError, UsageError
from scanner.records import Item, Reason, Reject
from scanner.sources.location import Location
from scanner.sources.names import member_uri, printable
from scanner.sources.options import IdentityFrom, Options

IMAGE_COLUMN: Final = "image"
IDENTITY_COLUMN: Final = "identity"
ROWS_READ: Final = 1
"""Rows in memory at a time, besides what pyarrow keeps of a row group's pages.

One dictionary page of a kilobyte can stand for a large value in every row.  Rows of 4 kB, one by one, cost 19 us each
instead of 4, which is little beside decoding them.
"""


class ParquetSource:
    """The images of one file."""

    def __init__(self, location: Location, options: Options) -> None:
        """Read the footer and settle the columns.

        Raises:
            SourceError: it is no Parquet file, or has no column of that name and kind.
        """
        if options.identity_from in {IdentityFrom.FOLDER, IdentityFrom.NAME}:
            message = (
                f"Rows of {location.uri} have no folders or names to take identities from.  "
                "Name a column with identity_column instead."
            )
            raise UsageError(message)
        self.uri = location.uri
        self._location = location
        self._options = options
        with location.open() as file:
            footer = open_parquet(file, self.uri)
            schema = footer.schema_arrow
            self._size_bytes = file.seek(0, 2)
            self._group_rows = rows_of_groups(footer, self._size_bytes, self.uri)
        self._image = self._image_column(schema)
        self._identity = self._identity_column(schema)

    def describe(self) -> dict[str, str | int]:
        """Return kind, uri, the columns, entries, bytes and a hash over samples of the content."""
        return {
            "kind": "parquet",
            "uri": self.uri,
            "columns": f"{self._image},{self._identity or ''}",
            "entries": self.count(),
            "bytes": self._size_bytes,
            "content": self._location.content_hash(),
        }

    def count(self) -> int:
        """Return how many rows there are."""
        return sum(self._group_rows)

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """Yield every row; each row of a row group that cannot be read is a reject of its own."""
        with self._location.open() as file:
            parquet = open_parquet(file, self.uri)
            first = 0
            for group, rows in enumerate(self._group_rows):
                if first + rows > skip:
                    yield from self._group(parquet, group, first=first, start=max(skip, first))
                first += rows

    def _group(self, parquet: Any, group: int, *, first: int, start: int) -> Iterator[Item | Reject]:
        """Yield the rows of one group from row `start` of the file on; `first` is the group's first row."""
        end = first + self._group_rows[group]
        row = first
        columns = [self._image, self._identity] if self._identity else [self._image]
        try:
            for batch in parquet.iter_batches(batch_size=ROWS_READ, row_groups=[group], columns=columns):
                for index in range(max(0, start - row), batch.num_rows):
                    yield self._entry(batch, index, row + index)
                row += batch.num_rows
        except (pa.ArrowException, OSError, ValueError):
            pass
        for lost in range(max(row, start), end):
            yield Reject(self._uri(lost), Reason.BAD_RECORD, f"row group {group} cannot be read")

    def _entry(self, batch: Any, index: int, row: int) -> Item | Reject:
        uri = self._uri(row)
        identity = None
        if self._identity:
            value = batch.column(self._identity)[index].as_py()
            identity = None if value is None else printable(str(value))
        value = batch.column(self._image)[index]
        is_struct = pa.types.is_struct(value.type)
        scalar = value["bytes"] if is_struct and value.is_valid else value
        if not scalar.is_valid:
            if is_struct and value.is_valid and "path" in value and value["path"].is_valid:
                return Reject(uri, Reason.UNREADABLE, "only a path, the image is not in the file", identity=identity)
            return Reject(uri, Reason.EMPTY_FILE, "the row holds no image", identity=identity)
        data = scalar.as_buffer()
        limit = self._options.bytes_max
        if data.size > limit:
            return Reject(uri, Reason.TOO_LARGE_FILE, f"{data.size} bytes, at most {limit} are read", identity=identity)
        if not data.size:
            return Reject(uri, Reason.EMPTY_FILE, "not a single byte", identity=identity)
        return Item(uri, data.to_pybytes(), identity)

    def _uri(self, row: int) -> str:
        return member_uri(self.uri, f"row-{row}")

    def _image_column(self, schema: Any) -> str:
        wanted = self._options.image_column or IMAGE_COLUMN
        fitting = [field.name for field in schema if _holds_images(field.type)]
        if wanted in fitting:
            return wanted
        what = "holds no bytes" if wanted in schema.names else "is not there"
        choice = f"Choose with image_column one of: {', '.join(fitting)}." if fitting else "No column holds bytes."
        raise SourceError(f"Column {wanted!r} of {self.uri} {what}.  {columns_sentence(schema)}  {choice}")

    def _identity_column(self, schema: Any) -> str | None:
        wanted = self._options.identity_column
        if self._options.identity_from is IdentityFrom.NOTHING:
            return None
        return text_column(schema, wanted or IDENTITY_COLUMN, self.uri, must_be=wanted is not None)


def open_parquet(file: IO[bytes], uri: str) -> Any:
    """Return pyarrow's reader of an open file.

    Raises:
        SourceError: it is no Parquet file, or its footer is damaged.
    """
    try:
        opened = pq.ParquetFile(file, pre_buffer=False)
        names = opened.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError):
        message = f"{uri} is no Parquet file, or it is cut: its footer cannot be read.  Fetch it again."
        raise SourceError(message) from None
    if not all(map(str.isprintable, names)):
        raise SourceError(f"{uri} has columns whose names cannot be printed.  Name them otherwise.")
    return opened


def rows_of_groups(footer: Any, size_bytes: int, uri: str) -> list[int]:
    """Return how many rows each row group has, as the footer says.

    Raises:
        SourceError: less than none, or more than the file has bytes: every lost row would be a reject of its own.
    """
    rows = [int(footer.metadata.row_group(group).num_rows) for group in range(footer.metadata.num_row_groups)]
    if min(rows, default=0) < 0 or sum(rows) > size_bytes:
        raise SourceError(
            f"{uri} is no sound Parquet file: its footer tells of {sum(rows)} rows, and all of it has {size_bytes} bytes.  "
            "Fetch it again."
        )
    return rows


def text_column(schema: Any, name: str, uri: str, *, must_be: bool) -> str | None:
    """Return the name of a column that holds texts or whole numbers; None where there need not be one."""
    if name not in schema.names:
        if not must_be:
            return None
        raise SourceError(f"Column {name!r} of {uri} is not there.  {columns_sentence(schema)}")
    kind = schema.field(name).type
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_integer(plain):
        return name
    raise SourceError(f"Column {name!r} of {uri} holds {kind}; texts or whole numbers are needed.")


def columns_sentence(schema: Any) -> str:
    """Return a sentence that lists the columns with their types."""
    return f"The columns are: {', '.join(f'{field.name} ({field.type})' for field in schema)}."


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
