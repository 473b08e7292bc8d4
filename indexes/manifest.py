"""The manifest: what an index folder holds. The one file whose replacement is a commit.

Strict in both directions: unknown keys, names that could lead out of the folder, and newer versions
are refused with a sentence. It holds no clock, so equal input gives an equal manifest.
"""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from indexes.atomic import encode_json, write_bytes
from indexes.errors import FormatError

FORMAT = "identity-leak-index"
FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
SEGMENTS_FOLDER = "segments"
_MANIFEST_BYTES_MAX = 64 << 20
_NAMED = 5
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def _check_name(name: str) -> str:
    if not _SAFE_NAME.fullmatch(name):
        raise ValueError("must be a plain file name")
    return name


SafeName = Annotated[str, AfterValidator(_check_name)]
"""A name that cannot lead out of its folder: letters, digits, `_ . -`, no leading dot."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class FileRecord(_Strict):
    """Size and SHA-256 of one file."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class SegmentRecord(_Strict):
    """One immutable segment; its ids ascend from `id_first` to `id_last`."""

    name: SafeName
    rows: int = Field(ge=1)
    id_first: int = Field(ge=0)
    id_last: int = Field(ge=0)
    files: dict[SafeName, FileRecord]


class ListRecord(_Strict):
    """One file of tombstones or one erasure record."""

    name: SafeName
    rows: int = Field(ge=1)
    file: FileRecord


class Manifest(_Strict):
    """Everything that a reader needs to know before it opens another file.

    `embedder` describes the embedder to people; only `fingerprint` is compared.
    """

    format: Literal["identity-leak-index"] = "identity-leak-index"
    format_version: Literal[2] = 2
    fingerprint: str
    embedder: dict[str, Any] = {}
    dim: int = Field(ge=1, le=65_536)
    dtype: Literal["float32", "float16"]
    schema_base64: str
    segment_rows_max: int = Field(ge=1)
    seed: int = 0
    codec_wanted: Literal["auto", "none", "always"] = "auto"
    codec: dict[SafeName, FileRecord] = {}
    next_id: int = Field(ge=0)
    next_segment: int = Field(ge=0)
    segments: list[SegmentRecord] = []
    tombstones: list[ListRecord] = []
    erasures: list[ListRecord] = []

    @property
    def rows(self) -> int:
        """Number of rows that are not erased."""
        stored = sum(segment.rows for segment in self.segments)
        return stored - sum(tombstone.rows for tombstone in self.tombstones)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Commit: replace the folder's manifest in one step."""
    write_bytes(folder / MANIFEST_NAME, encode_json(manifest.model_dump(mode="json")))


def read_manifest(folder: Path) -> Manifest:
    """Read and check a folder's manifest.

    Raises:
        FormatError: no index, a broken manifest (all problems at once), or a newer format.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():  # a pipe among them, which would wait for ever
        raise FormatError(f"'{folder}' is no index: it has no {MANIFEST_NAME}. {_beside(folder)}")
    with path.open("rb") as file:
        content = file.read(_MANIFEST_BYTES_MAX + 1)
    if len(content) > _MANIFEST_BYTES_MAX:
        raise FormatError(f"'{path}' is larger than {_MANIFEST_BYTES_MAX} bytes: not a manifest.")
    document = _parse_object(path, content)
    if document.get("format") != FORMAT:
        raise FormatError(
            f"'{path}' has the format {document.get('format')!r}, expected {FORMAT!r}. It belongs to another tool."
        )
    version = document.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise FormatError(
            f"'{path}' has format version {version}, this tool reads up to {FORMAT_VERSION}. "
            f"Install a version of the tool that reads format {version}."
        )
    try:
        if version == 1:
            content = json.dumps(_without_old_codes(document)).encode()
        manifest = Manifest.model_validate_json(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(
            f"'{path}' is damaged ({error!r}). Restore it from a copy or build the index again."
        ) from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise FormatError(
            f"'{path}' is damaged: {problems}. Restore it from a copy or build the index again."
        ) from None
    return manifest


def _beside(folder: Path) -> str:
    """Say which indexes lie where one was looked for."""
    there = sorted(one.parent.name for one in folder.parent.glob(f"*/{MANIFEST_NAME}"))[:_NAMED]
    return f"Indexes in '{folder.parent}': {', '.join(there)}." if there else "Check the path, or build an index there."


def _without_old_codes(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a manifest of version 1, which differs in its compressed form alone, as one of an index without codes.

    The next `add` or `compact` writes codes of the present form, and clears the old ones away.
    """
    changed = copy.deepcopy({**document, "format_version": FORMAT_VERSION, "codec": {}})
    for segment in changed.get("segments", []):
        segment.pop("codec_error", None)
        segment["files"].pop("codes.safetensors", None)
    return changed


def _parse_object(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"'{path}' is no JSON ({error}). Restore it from a copy or build the index again.") from None
    if not isinstance(document, dict):
        raise FormatError(f"'{path}' holds no JSON object. Restore it from a copy.")
    return document
