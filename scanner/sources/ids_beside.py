"""The names of a `.npy`'s rows, from a file beside it: lines, an array, CSV or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from tokenize import TokenError
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from scanner.errors import SourceError
from scanner.sources.location import Location
from scanner.sources.names import suffix_of
from scanner.sources.parquet import columns_sentence, open_parquet, text_column

SUFFIXES: Final = (".ids.txt", ".ids.npy", ".ids.csv", ".ids.parquet", ".csv", ".parquet")
IDS_BYTES_MAX: Final = 4 << 30


def find_ids(location: Location) -> Location | None:
    """Return the file that names the rows of this one; None where there is none.

    Raises:
        SourceError: several do.
    """
    found = [place for suffix in SUFFIXES for place in _companions(location, suffix) if place.exists()]
    if len(found) > 1:
        names = " and ".join(place.uri for place in found)
        raise SourceError(f"The rows of {location.uri} are named by {names}.  Name the one that holds, or remove one.")
    return found[0] if found else None


def read_ids(place: Location) -> Any:
    """Return a pyarrow table of text columns, of id, uri and identity those that there are."""
    readers = {".txt": _read_lines, ".npy": _read_array, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(suffix_of(place.uri))
    if reader is None:
        raise SourceError(f"{place.uri} is no file of ids.  Name a .txt, .npy, .csv or .parquet file.")
    size = place.info().get("size")
    if size is not None and size > IDS_BYTES_MAX:
        raise SourceError(f"{place.uri} has {size} bytes, at most {IDS_BYTES_MAX} of ids are read.")
    table = reader(place)
    try:
        table.validate(full=True)
    except pa.ArrowException:
        raise SourceError(f"{place.uri} names rows by what is no text: UTF-8 is needed.  Write it again.") from None
    return table


def _read_lines(place: Location) -> Any:
    with place.open() as file:
        data = file.read()
    try:
        lines = data.decode("utf-8").removesuffix("\n").split("\n") if data else []
    except UnicodeDecodeError:
        raise SourceError(f"{place.uri} is no text: one id a line in UTF-8 is needed.") from None
    return pa.table({"id": pa.array([line.rstrip("\r") for line in lines], pa.string())})


def _read_array(place: Location) -> Any:
    with place.open() as file:
        try:
            # An archive of arrays (.npz) and pickled objects end here as well, and headers that are no Python literal.
            array = np.lib.format.read_array(file, allow_pickle=False)
            names = pa.array([str(own) for own in array.tolist()], pa.string()) if array.ndim == 1 else None
        except (ValueError, TypeError, EOFError, MemoryError, RecursionError, SyntaxError, TokenError, SystemError):
            names = None  # SystemError is what letters beyond Unicode end in
    if names is None or array.dtype.kind not in "Uiu":
        raise SourceError(f"{place.uri} is no array of ids: (n,) texts or whole numbers are needed, without pickle.")
    return pa.table({"id": names})


def _read_csv(place: Location) -> Any:
    texts = {name: pa.string() for name in ("id", "uri", "identity")}
    with place.open() as file:
        try:
            table = pa_csv.read_csv(file, convert_options=pa_csv.ConvertOptions(column_types=texts))
            names = table.column_names
        except (pa.ArrowException, ValueError):
            raise SourceError(f"{place.uri} is no CSV file with one header line.  Mend it.") from None
    return table.select(_name_columns(place.uri, names))


def _read_parquet(place: Location) -> Any:
    with place.open() as file:
        parquet = open_parquet(file, place.uri)
        schema = parquet.schema_arrow
        names = _name_columns(place.uri, schema.names)
        for name in names:
            text_column(schema, name, place.uri, must_be=True)
        try:
            table = parquet.read(columns=names)
        except (pa.ArrowException, OSError, ValueError):
            raise SourceError(f"{place.uri} is damaged.  {columns_sentence(schema)}  Fetch it again.") from None
    return table.cast(pa.schema([(name, pa.string()) for name in names])).select(names)


def _companions(place: Location, suffix: str) -> list[Location]:
    """Return where a companion of FILE.npy may stand: FILE + suffix and FILE.npy + suffix."""
    name = place.uri.rpartition("/")[2]
    return [place.beside(f"{name.removesuffix('.npy')}{suffix}"), place.beside(f"{name}{suffix}")]


def _name_columns(uri: str, available: Sequence[str]) -> list[str]:
    """Return which of id, uri and identity there are; there has to be one."""
    found = [name for name in ("id", "uri", "identity") if name in available]
    if not found:
        raise SourceError(f"{uri} names no rows: a column id, uri or identity is needed, there are {list(available)}.")
    return found
