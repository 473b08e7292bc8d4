"""What every image source promises, on local files, in memory and on S3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scanner.records import Item
from scanner.sources import ChainedSource, Source, open_source, open_sources

Write = Callable[[list[Any]], tuple[str, dict[str, Any]]]


@pytest.fixture
def source(write: Write, pictures: list[Any]) -> Source:
    spec, options = write(pictures)
    return open_source(spec, storage_options=options)


def test_same_bytes_and_identities_come_in_the_same_order(source: Source, pictures: list[Any]) -> None:
    items = list(source.entries())

    assert [(item.data, item.identity) for item in items if isinstance(item, Item)] == [
        (one.data, one.identity) for one in pictures
    ]
    assert len({item.uri for item in items}) == len(items)


def test_skipping_is_slicing(source: Source, place: str) -> None:
    entries = list(source.entries())

    # Every place, but on the slow server only those at the borders of shards and row groups.
    for skip in (1, 7, 20) if place == "s3" else range(22):
        assert list(source.entries(skip=skip)) == entries[skip:]


def test_count_is_right_where_it_is_known(source: Source, kind: str) -> None:
    count = source.count()

    assert count == (None if kind in {"tar", "tar_gz", "tar_set", "rec_alone"} else 20)


def test_description_is_the_same_when_opened_again(write: Write, pictures: list[Any]) -> None:
    spec, options = write(pictures)
    first = open_source(spec, storage_options=options).describe()

    assert open_source(spec, storage_options=options).describe() == first


def test_description_changes_with_the_content(write: Write, pictures: list[Any]) -> None:
    spec, options = write(pictures)
    first = open_source(spec, storage_options=options).describe()

    write([*pictures[:-1], replace(pictures[-1], data=pictures[1].data)])

    assert open_source(spec, storage_options=options).describe() != first


def test_uris_begin_with_what_was_named(source: Source, kind: str) -> None:
    uris = [entry.uri for entry in source.entries()]

    if kind == "folder":
        assert uris[1] == f"{source.uri}/0/pic-01.png"
    elif kind in {"tar", "tar_gz", "zip"}:
        assert uris[1] == f"{source.uri}!/0/pic-01.png"
    elif kind == "tar_set":
        assert uris[7] == source.uri.replace("{00..02}", "01") + "!/1/pic-07.png"
    elif kind.startswith("parquet"):
        assert uris[1] == f"{source.uri}!/row-1"
    else:
        assert uris[1] == f"{source.uri}!/record-2"


def test_no_identities_where_none_are_wanted(write: Write, pictures: list[Any]) -> None:
    spec, options = write(pictures)

    entries = open_source(spec, identity_from=None, storage_options=options).entries()

    assert {entry.identity for entry in entries} == {None}


def test_small_limit_rejects_every_image(write: Write, pictures: list[Any]) -> None:
    spec, options = write(pictures)

    entries = list(open_source(spec, bytes_max=10, storage_options=options).entries())

    assert [entry.reason.value for entry in entries if not isinstance(entry, Item)] == ["too_large_file"] * 20


def test_chain_is_one_after_the_other(write: Write, pictures: list[Any], place: str) -> None:
    spec, options = write(pictures)
    one = open_source(spec, storage_options=options)

    chain = open_sources([spec, spec], storage_options=options)
    entries = list(chain.entries())

    assert isinstance(chain, ChainedSource)
    assert entries == [*one.entries(), *one.entries()]
    assert chain.count() in {None, 40}
    for skip in (21,) if place == "s3" else (0, 1, 19, 20, 21, 39, 40, 41):
        assert list(chain.entries(skip=skip)) == entries[skip:]
    assert chain.describe() == open_sources([spec, spec], storage_options=options).describe()
    assert chain.describe() != one.describe()
