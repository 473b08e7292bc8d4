"""Turns what a user names into a source: looks at what is there, expands patterns, refuses what is empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Final

from scanner.errors import SourceEmpty, SourceError, UsageError
from scanner.sources.base import Source
from scanner.sources.chain import ChainedSource
from scanner.sources.folder import FolderSource, Listed, changed_at, listed_remote
from scanner.sources.generated import GENERATED, GeneratedSource
from scanner.sources.location import Location, clean_uri, is_url, locate
from scanner.sources.names import IMAGE_SUFFIXES, is_image_name, suffix_of, text_of
from scanner.sources.options import FILE_BYTES_MAX, Options, parse_identity_from
from scanner.sources.recordio import RecordSource
from scanner.sources.recordio_frames import MAGIC as RECORD_MAGIC
from scanner.sources.tar import TarSource
from scanner.sources.zip import ZipSource

PATTERN_PLACES_MAX: Final = 100_000
"""How many places a pattern with braces may name."""

_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_BRACES: Final = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")


def open_source(
    spec: str,
    *,
    identity_from: str | None = "labels",
    image_column: str | None = None,
    identity_column: str | None = None,
    bytes_max: int = FILE_BYTES_MAX,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """Open a folder, an image, an archive or a pattern of archives, local or by URL; or a generator.

    Args:
        spec: a path or any URL of fsspec; `{00..03}`, `{a,b}` and `*` name several, read in sorted order.  Or
            `generated:GEN.toml?n=300&seed=1`, see `scanner.sources.generated`.
        identity_from: "labels" (what the format says), "folder" (first sub-folder), "name" (file name up to
            its last underscore), "nothing" or None.
        image_column: the Parquet column of images; "image" if not named.
        identity_column: the Parquet column of identities; "identity", where there is one, if not named.
        bytes_max: images of more bytes are rejects.
        storage_options: what the file system of the URL needs, as fsspec takes it.

    Raises:
        SourceError: it is not there, is not what it says, or holds no entry at all.
        ModelError: a generator that cannot be opened.
        UsageError: the options do not fit.
    """
    if spec.startswith(GENERATED):
        return GeneratedSource(spec, bytes_max=bytes_max)
    options = Options(parse_identity_from(identity_from), image_column, identity_column, bytes_max)
    places = expand(spec, storage_options)
    uri = clean_uri(spec)
    if all(is_image_name(place.uri) for place in places) and not (len(places) == 1 and _is_folder(places[0])):
        source: Source = _open_images(spec, places, options)
    elif len(places) == 1:
        source = _open_one(places[0], options)
    else:
        source = ChainedSource([_open_one(place, options) for place in places], uri=uri)
    if next(iter(source.entries()), None) is None:
        raise SourceEmpty(_empty_message(source, places))
    return source


def open_sources(specs: Sequence[str], **options: Any) -> Source:
    """Open several, one after the other, as one; the options are those of `open_source`."""
    if not specs:
        raise UsageError("No source was named.  Name at least one folder, archive or URL.")
    sources = [open_source(spec, **options) for spec in specs]
    return sources[0] if len(sources) == 1 else ChainedSource(sources)


def expand(spec: str, storage_options: Mapping[str, Any] | None = None) -> list[Location]:
    """Return the places that a path, URL or pattern names, sorted; one that is there as it stands is itself."""
    plain = locate(spec, storage_options)
    # In a URL `?` begins a query, and `[` is the letter that it looks like.
    is_pattern = "*" in spec if is_url(spec) else has_magic(spec)
    if not (is_pattern or _BRACES.search(spec)) or plain.exists():
        return [plain]
    found: list[Location] = []
    for one in _braces(spec):
        if not ("*" in one if is_url(one) else has_magic(one)):
            place = locate(one, storage_options)
            place.info()
            found.append(place)
        elif is_url(one):
            system = plain.file_system
            paths = system.glob(locate(one, storage_options).path)
            found += [
                Location(clean_uri(system.unstrip_protocol(path)), path, plain.is_local, system) for path in paths
            ]
        else:
            found += [locate(path) for path in glob(one, recursive=True)]  # noqa: PTH207 - keeps the path as it was named
    if not found:
        message = f"Nothing matches {clean_uri(spec)}.  Check the pattern; in a shell, put it in quotes."
        raise SourceEmpty(message)
    by_uri = {place.uri: place for place in found}
    return [by_uri[uri] for uri in sorted(by_uri)]


def _braces(spec: str) -> list[str]:
    """Return the texts that `{00..03}` and `{a,b}` stand for, as a shell expands them."""
    done: list[str] = []
    todo = [spec]
    while todo:
        text = todo.pop()
        match = _BRACES.search(text)
        if match is None:
            done.append(text)
            continue
        numbers = _RANGE.fullmatch(match[1])
        if numbers:
            first, last = int(numbers[1]), int(numbers[2])
            _check_places(uri=spec, count=len(done) + len(todo) + abs(last - first) + 1)
            words = [f"{number:0{len(numbers[1])}d}" for number in range(min(first, last), max(first, last) + 1)]
        else:
            words = match[1].split(",")
        todo += [text[: match.start()] + word + text[match.end() :] for word in words]
        _check_places(uri=spec, count=len(done) + len(todo))
    return done


def _check_places(*, uri: str, count: int) -> None:
    if count > PATTERN_PLACES_MAX:
        message = f"The pattern {clean_uri(uri)} names {count} places or more, at most {PATTERN_PLACES_MAX} are read."
        raise UsageError(message)


def _open_images(spec: str, places: list[Location], options: Options) -> Source:
    """Open image files that were named one by one, as one folder whose entries they are."""
    for_name = places[0]
    if len(places) == 1 and places[0].uri == clean_uri(spec):
        listed = [_listed(for_name, "")]
        return FolderSource(for_name, options, listed=listed)
    # The part of the pattern before its first wildcard or brace, up to a slash, is the folder.
    stem = clean_uri(re.split(r"[*?\[{]", spec, maxsplit=1)[0].rpartition("/")[0] or ".")
    root = Location(stem, locate(stem).path, for_name.is_local, for_name.file_system)
    return FolderSource(root, options, listed=[_listed(place, place.uri.removeprefix(f"{stem}/")) for place in places])


def _listed(place: Location, name: str) -> Listed:
    if place.is_local:
        status = Path(place.path).stat()
        return Listed(text_of(name), place.path, status.st_size, modified=changed_at(status))
    return listed_remote(name, place.path, place.info())


def _open_one(place: Location, options: Options) -> Source:
    if _is_folder(place):
        return FolderSource(place, options)
    if is_image_name(place.uri):
        return FolderSource(place, options, listed=[_listed(place, "")])
    return _opener(place)(place, options)


def _is_folder(place: Location) -> bool:
    return bool(place.info().get("type") == "directory")


def _opener(place: Location) -> Callable[[Location, Options], Source]:
    """Return what opens this file: by its name if that says it, else by its first bytes."""
    name = place.uri.lower()
    suffix = suffix_of(name)
    if suffix in {".tar", ".tgz"} or name.endswith(".tar.gz"):
        return TarSource
    if suffix == ".zip":
        return ZipSource
    if suffix == ".rec":
        return RecordSource
    if suffix == ".parquet":
        return _open_parquet
    with place.open() as file:
        head = file.read(512)
    if head.startswith(b"PK\3\4"):
        return ZipSource
    if head.startswith(b"PAR1"):
        return _open_parquet
    if head.startswith(RECORD_MAGIC):
        return RecordSource
    if head[257:262] == b"ustar":
        return TarSource
    raise SourceError(_unknown_message(place, head))


def _open_parquet(place: Location, options: Options) -> Source:
    # pyarrow takes 200 ms to import.
    from scanner.sources.parquet import ParquetSource

    return ParquetSource(place, options)


def _unknown_message(place: Location, head: bytes) -> str:
    if head.startswith(b"\x93NUMPY"):
        return f"{place.uri} holds an array, not images.  Ready embeddings are opened as embeddings, not scanned."
    return (
        f"{place.uri} is nothing that images are read from.  Name a folder, an image, or one of: "
        "*.tar, *.tar.gz, *.tgz, *.zip, *.parquet, *.rec."
    )


def _empty_message(source: Source, places: list[Location]) -> str:
    looked = f"names ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
    message = f"{source.uri} holds not one entry; what was looked for: {looked}, or rows and records with images."
    if isinstance(source, FolderSource) and places[0].is_local:
        archives = sorted(p.name for p in Path(places[0].path).glob("*") if suffix_of(p.name) in {".tar", ".parquet"})
        if archives:
            pattern = f"{source.uri}/*{suffix_of(archives[0])}"
            return f"{message}  It holds archives: name them as '{pattern}'."
        return f"{message}  {source.ignored_count} other files were passed over."
    return message
