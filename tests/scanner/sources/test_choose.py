"""What a user can name, and what is said where it is not there."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scanner.errors import SourceError, UsageError
from scanner.sources import open_embeddings, open_source, open_sources
from scanner.sources.location import clean_uri


def message(spec: str, **options: Any) -> str:
    with pytest.raises((SourceError, UsageError)) as caught:
        open_source(spec, **options)
    return str(caught.value)


@pytest.fixture
def shards(tmp_path: Path, tools: dict[str, Any]) -> Path:
    """Eleven tars of one image each, and one that is no part of them."""
    for number in range(11):
        (tmp_path / f"set-{number:02d}.tar").write_bytes(tools["tar_bytes"]([(f"{number}.png", b"image")]))
    (tmp_path / "other.tar").write_bytes(tools["tar_bytes"]([("other.png", b"image")]))
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("set-{02..04}.tar", ["2", "3", "4"]),
        ("set-{10..09}.tar", ["9", "10"]),
        ("set-{07,01}.tar", ["1", "7"]),
        ("set-{00,0{3..4}}.tar", ["0", "3", "4"]),
        ("set-0[12].tar", ["1", "2"]),
        ("set-1*.tar", ["10"]),
        ("{set-00,oth*}.tar", ["other", "0"]),
    ],
)
@pytest.mark.parametrize("by_url", [False, True])
def test_patterns_name_several_in_sorted_order(shards: Path, pattern: str, names: list[str], by_url: bool) -> None:
    if by_url and "[" in pattern:
        pytest.skip("in a URL a bracket is a letter")
    spec = f"{'file://' if by_url else ''}{shards}/{pattern}"

    entries = open_source(spec).entries()

    assert [entry.uri.rpartition("/")[2] for entry in entries] == [f"{name}.png" for name in names]


def test_name_that_only_looks_like_a_pattern(shards: Path) -> None:
    (shards / "set-00.tar").rename(shards / "a{1,2}[x]*.tar")

    assert open_source(f"{shards}/a{{1,2}}[x]*.tar").uri == f"{shards}/a{{1,2}}[x]*.tar"


def test_pattern_messages(shards: Path) -> None:
    assert message(f"{shards}/no-*.tar") == (
        f"Nothing matches {shards}/no-*.tar.  Check the pattern; in a shell, put it in quotes."
    )
    assert message(f"{shards}/set-{{00..11}}.tar") == (
        f"There is no {shards}/set-11.tar.  The nearest folder that exists is {shards}.  "
        f"Did you mean {shards}/set-10.tar?"
    )
    assert message("x{1..999999999}.tar") == (
        "The pattern x{1..999999999}.tar names 999999999 places or more, at most 100000 are read."
    )


def test_images_can_be_named_one_by_one(tmp_path: Path, tools: dict[str, Any]) -> None:
    for name in ("a/1.png", "b/2.png", "b/3.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tools["draw"](1))

    assert [entry.uri for entry in open_source(f"{tmp_path}/b/2.png").entries()] == [f"{tmp_path}/b/2.png"]
    matched = open_source(f"{tmp_path}/*/*.png", identity_from="folder")
    assert [(entry.uri, entry.identity) for entry in matched.entries()] == [
        (f"{tmp_path}/a/1.png", "a"),
        (f"{tmp_path}/b/2.png", "b"),
    ]
    assert matched.count() == 2


def test_relative_paths_stay_as_they_were_named(
    tmp_path: Path, tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").write_bytes(tools["draw"](1))
    monkeypatch.chdir(tmp_path)

    for spec in ("set", "./set/", "set/../set"):
        assert [entry.uri for entry in open_source(spec).entries()] == ["set/1.png"]
    assert [entry.uri for entry in open_source(".").entries()] == ["./set/1.png"]
    assert [entry.uri for entry in open_source("set/*.png").entries()] == ["set/1.png"]


def test_archives_are_known_by_their_first_bytes_too(
    tmp_path: Path, pictures: list[Any], tools: dict[str, Any]
) -> None:
    for kind in ("tar", "zip", "parquet", "rec_alone"):
        name = tools["writers"][kind](tmp_path, pictures)
        (tmp_path / name).rename(tmp_path / f"nameless {kind}")
        assert len(list(open_source(f"{tmp_path}/nameless {kind}").entries())) == 20


def test_missing_places_are_told_from_what_is_near(shards: Path) -> None:
    assert message(f"{shards}/sett-00.tar") == (
        f"There is no {shards}/sett-00.tar.  The nearest folder that exists is {shards}.  "
        f"Did you mean {shards}/set-00.tar?"
    )
    assert message(f"{shards}/a/b/c") == f"There is no {shards}/a/b/c.  The nearest folder that exists is {shards}."


def test_missing_place_by_a_relative_path(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)

    assert message("othr.tar") == (
        "There is no othr.tar.  The nearest folder that exists is the current one.  Did you mean other.tar?"
    )
    assert message("a/b") == "There is no a/b.  The nearest folder that exists is the current one."


def test_missing_place_in_a_store(s3_options: dict[str, Any]) -> None:
    import fsspec

    fsspec.filesystem("s3", **s3_options).pipe_file("bucket/near/faces.tar", b"")

    assert message("s3://bucket/near/face.tar", storage_options=s3_options) == (
        "There is no s3://bucket/near/face.tar.  The nearest folder that exists is s3://bucket/near.  "
        "Did you mean s3://bucket/near/faces.tar?"
    )


def test_empty_places_say_what_was_looked_for(tmp_path: Path, tools: dict[str, Any]) -> None:
    suffixes = ".bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp"
    looked = f"what was looked for: names ending in {suffixes}, or rows and records with images."
    (tmp_path / "notes.txt").write_text("no image")

    assert message(str(tmp_path)) == f"{tmp_path} holds not one entry; {looked}  1 other files were passed over."

    (tmp_path / "a.tar").write_bytes(tools["tar_bytes"]([("notes.txt", b"no image")]))
    assert message(f"{tmp_path}/a.tar") == f"{tmp_path}/a.tar holds not one entry; {looked}"
    assert message(str(tmp_path)) == (
        f"{tmp_path} holds not one entry; {looked}  It holds archives: name them as '{tmp_path}/*.tar'."
    )


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "v.npy", np.ones((2, 2)))
    (tmp_path / "notes.txt").write_text("no image")

    assert message(f"{tmp_path}/v.npy") == (
        f"{tmp_path}/v.npy holds an array, not images.  Ready embeddings are opened as embeddings, not scanned."
    )
    assert message(f"{tmp_path}/notes.txt") == (
        f"{tmp_path}/notes.txt is nothing that images are read from.  Name a folder, an image, or one of: "
        "*.tar, *.tar.gz, *.tgz, *.zip, *.parquet, *.rec."
    )


def test_wrong_words(tmp_path: Path) -> None:
    assert message(str(tmp_path), identity_from="foldr") == (
        "Identities cannot be taken from 'foldr'; the choices are labels, folder, name, nothing.  "
        "Did you mean 'folder'?"
    )
    with pytest.raises(UsageError, match=r"^No source was named\.  Name at least one folder, archive or URL\.$"):
        open_sources([])


@pytest.mark.parametrize(
    ("spec", "clean"),
    [
        ("https://anna:secret@host:80/a/set.tar?sig=secret#secret", "https://host:80/a/set.tar"),
        ("s3://KEY:secret@bucket/a b#1?.tar/", "s3://bucket/a b#1?.tar"),
        ("zip://a.png::https://u:secret@host/x.zip?secret", "zip://a.png::https://host/x.zip"),
        ("memory://a/b", "memory://a/b"),
        ("./a//b/../c/", "a/c"),
        ("generated:a/../b.toml?n=3", "generated:a/../b.toml?n=3"),
        ("generated:/a//b.toml?n=3&trust=x::y", "generated:/a//b.toml?n=3&trust=x::y"),
    ],
)
def test_uris_hold_no_credentials(spec: str, clean: str) -> None:
    assert clean_uri(spec) == clean


@pytest.fixture
def server(shards: Path) -> Iterator[str]:
    """A plain web server, which knows no ranges."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shards))) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield f"127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


def test_archive_on_a_web_server(server: str) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    source = open_source(f"http://anna:secret@{server}/set-03.tar?token=secret")

    entries = list(source.entries())

    assert [entry.uri for entry in entries] == [f"http://{server}/set-03.tar!/3.png"]
    assert "secret" not in str(source.describe())


@pytest.mark.parametrize("path", ["missing.tar", "missing/"])
def test_errors_hold_no_credentials(server: str, path: str) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    for spec in (f"http://anna:secret@{server}/{path}?token=secret", f"http://anna:secret@127.0.0.1:1/{path}"):
        with pytest.raises(SourceError) as caught:
            open_source(spec)

        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_store_that_refuses_is_an_error_without_its_words(s3_options: dict[str, Any]) -> None:
    options = s3_options | {"endpoint_url": "http://127.0.0.1:1", "config_kwargs": {"retries": {"max_attempts": 0}}}

    found = message("s3://KEY:hidden@bucket/set.tar", storage_options=options)

    assert found.startswith("s3://bucket/set.tar cannot be read (")
    assert "TOPSECRET" not in found
    assert "hidden" not in found


def test_unknown_protocol_is_an_error() -> None:
    assert message("gopher://host/set.tar") == (
        "gopher://host/set.tar cannot be read (ValueError).  Check the address, the permissions and the network, "
        "then run again."
    )


def test_failure_in_the_middle_stops_and_is_no_cut(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken line must not look like an archive that ends early: the run has to be taken up again."""
    from scanner.sources import location

    source = open_source(f"{shards}/set-00.tar")

    class Broken:
        def read(self, _: int = -1) -> bytes:
            raise ConnectionResetError(104, "Connection reset by peer")

        def seekable(self) -> bool:
            return False

        def close(self) -> None:
            pass

    monkeypatch.setattr(location.Location, "open", lambda self: location.GuardedFile(Broken(), self.uri))

    with pytest.raises(SourceError) as caught:
        list(source.entries())

    assert str(caught.value) == (
        f"{shards}/set-00.tar cannot be read (Connection reset by peer).  "
        "Check the address, the permissions and the network, then run again."
    )


def test_import_is_light() -> None:
    program = (
        "import sys, scanner.sources; print([m for m in ('pyarrow', 'fsspec', 'PIL', 'torch') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[3], timeout=60
    )

    assert done.stdout.strip() == b"[]"


def test_missing_embeddings(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        open_embeddings(os.fspath(tmp_path / "v.npy"))

    assert str(caught.value) == (f"There is no {tmp_path}/v.npy.  The nearest folder that exists is {tmp_path}.")
