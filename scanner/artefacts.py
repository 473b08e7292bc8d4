"""What lies on disk: Arrow schemas, written down and versioned, and how tables of them are read and written.

Every Parquet file of ours names its schema, its version and (where it holds or stems from vectors) the
embedder's fingerprint in its metadata.  Readers refuse what is foreign or newer, with a sentence.
Vectors and crops are biometric data: folders of ours are made for their owner alone (mode 0700), and where the
environment has a key, tables that hold such columns are sealed (see `indexes.sealed`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from indexes.errors import FormatError
from indexes.keys import current_keys
from indexes.sealed import parquet_source
from scanner.documents import read_text
from scanner.errors import ArtefactError
from scanner.schemas import (
    CROP_FIELD,
    CROPS,
    DEDUPE_GROUPS,
    DEDUPE_PAIRS,
    FACE_FIELDS,
    IDENTITIES,
    INVERSIONS,
    JOINT,
    MATCHES,
    PHOTOS,
    QUALITY,
    QUERIES,
    REFERENCE_ROWS,
    REJECTS,
    embeddings_schema,
    samples_schema,
)
from scanner.table_writer import PRIVATE_COLUMNS, ROW_GROUP_ROWS, TableWriter, write_tables

__all__ = [
    "CROPS",
    "CROP_FIELD",
    "DEDUPE_GROUPS",
    "DEDUPE_PAIRS",
    "FACE_FIELDS",
    "FINGERPRINT_KEY",
    "IDENTITIES",
    "INVERSIONS",
    "JOINT",
    "MATCHES",
    "PHOTOS",
    "PRIVATE",
    "PRIVATE_COLUMNS",
    "QUALITY",
    "QUERIES",
    "REFERENCE_ROWS",
    "REJECTS",
    "ROW_GROUP_ROWS",
    "SCHEMA_VERSION",
    "TableWriter",
    "embeddings_schema",
    "is_ours",
    "is_readable",
    "iter_tables",
    "make_private_folder",
    "open_artefact",
    "open_parquet",
    "read_json",
    "read_table",
    "samples_schema",
    "stamp_of",
    "stamped",
    "table_of",
    "write_tables",
]

SCHEMA_VERSION: Final = 1
_VERSION_DIGITS_MAX: Final = 9
_NAME_KEY: Final = b"identity_leak.schema"
_VERSION_KEY: Final = b"identity_leak.version"
_COLUMNS_KEY: Final = b"identity_leak.columns"
FINGERPRINT_KEY: Final = b"identity_leak.fingerprint"
_SURROGATE: Final = "\\ud"
PRIVATE: Final = 0o700
"""Mode of folders that hold vectors or crops."""


def stamped(schema: pa.Schema, name: str, *, fingerprint: str | None = None) -> pa.Schema:
    """Return `schema` with our name, version and the embedder's fingerprint in its metadata."""
    stamp = {
        _NAME_KEY: name.encode(),
        _VERSION_KEY: str(SCHEMA_VERSION).encode(),
        _COLUMNS_KEY: " ".join(schema.names).encode(),
    }
    if fingerprint is not None:
        stamp[FINGERPRINT_KEY] = fingerprint.encode()
    return schema.with_metadata(stamp)


def is_ours(schema: pa.Schema) -> bool:
    """Tell whether a Parquet file's schema bears our stamp."""
    return _NAME_KEY in (schema.metadata or {})


def read_table(path: Path, name: str, *, columns: list[str] | None = None) -> pa.Table:
    """Read a whole artefact, checking that it is one of ours.

    Raises:
        ArtefactError: not there, no Parquet, of another kind, or of a newer version.
        SealError: sealed with a key that is not at hand.
    """
    with open_artefact(path, name) as file, _explained(f"{path} is damaged"):
        return file.read(columns=columns)


def iter_tables(path: Path, name: str, *, rows_max: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Read an artefact in blocks of at most `rows_max` rows; same checks as `read_table`."""
    with open_artefact(path, name) as file, _explained(f"{path} is damaged"):
        for batch in file.iter_batches(batch_size=rows_max, columns=columns):
            yield pa.Table.from_batches([batch])


def open_artefact(path: Path, name: str) -> pq.ParquetFile:
    """Open one of our Parquet files after checking its stamp; see `read_table` for errors."""
    file = open_parquet(path)
    schema, names = file.schema_arrow, file.schema_arrow.names
    stamp = schema.metadata or {}
    found = stamp.get(_NAME_KEY, b"").decode(errors="replace")
    version = stamp.get(_VERSION_KEY, b"0").decode(errors="replace")
    if found != name:
        file.close()
        raise ArtefactError(f"{path} holds {found or 'no artefact of ours'}, expected {name}. Name another file.")
    if not version.isdecimal() or len(version) > _VERSION_DIGITS_MAX or int(version) > SCHEMA_VERSION:
        file.close()
        raise ArtefactError(
            f"{path} is a {name} file of version {version}; this scanner reads up to {SCHEMA_VERSION}. "
            "Install the newer scanner that wrote it."
        )
    # Pages have checksums, the footer has none: a column renamed by a flipped bit would be read as missing.
    if _COLUMNS_KEY in stamp and stamp[_COLUMNS_KEY].decode(errors="replace").split(" ") != names:
        file.close()
        raise ArtefactError(f"{path} is damaged: its columns are not those it says it has. Make it again.")
    return file


def stamp_of(path: Path) -> str:
    """Return the name of the schema in a Parquet file, "" where it is none of ours; ArtefactError: it cannot be read."""
    with open_parquet(path) as file:
        stamp = file.schema_arrow.metadata or {}
        return str(stamp.get(_NAME_KEY, b"").decode(errors="replace"))


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open any Parquet file, sealed or plain; ArtefactError: it cannot be read."""
    with _explained(f"{path} is no readable Parquet file"):
        try:
            file = pq.ParquetFile(parquet_source(path), page_checksum_verification=True)
        except FileNotFoundError as error:
            message = f"{path} is not there. It is written last: the run has probably not finished."
            raise ArtefactError(message) from error
        try:
            file.schema_arrow.names  # noqa: B018 - what is wrong with a footer is found when it is looked at
        except BaseException:
            file.close()
            raise
    return file


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise ArtefactError(str(error)) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArtefactError(f"{what}: {error}. Make it again.") from error


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    """Read a number; one beyond what a float holds could not be written again."""
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of ours; ArtefactError when it is missing or broken."""
    try:
        text = read_text(path)
        document = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        if _SURROGATE in text.lower():  # half of one, written as an escape, could not be written again
            json.dumps(document, ensure_ascii=False).encode()
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} is not there: is this a finished run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}. Make it again.") from error
    if not isinstance(document, dict):
        raise ArtefactError(f"{path} holds no JSON object. Make it again.")
    return document


def is_readable(document: Mapping[str, Any], form: str, version: int) -> bool:
    """Tell whether a JSON document of ours is of this format, and of a version up to this one."""
    found = document.get("format_version", 0)
    return document.get("format") == form and isinstance(found, int) and found <= version


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner can enter, and those above it; one that is there already keeps its mode.

    Raises:
        SealError: the keys of the environment cannot be used. Said here, before the long work whose results they seal.
    """
    current_keys()
    if not path.parent.exists():
        make_private_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=PRIVATE)


def table_of(schema: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """Make a table of `schema` from columns; missing nullable columns are filled with null."""
    rows = len(next(iter(columns.values()))) if columns else 0
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(rows, field.type))
        else:
            arrays.append(values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
