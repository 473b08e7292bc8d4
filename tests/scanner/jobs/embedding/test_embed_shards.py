"""Shards that workers embed end up as the bytes of one process; how many there are may not be known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drawn_people import BY_FOLDER, FACES, files_of, photos_of, write_people, write_tar
from ray_work import InTurn

import scanner.jobs.embedding.intake
from scanner import pipeline
from scanner.errors import NothingScanned, WorkerError
from scanner.jobs.embedding.embed import embed
from scanner.jobs.embedding.embed_shards import EmbedShards
from scanner.jobs.indexing.build import BuildOptions, add, build
from scanner.jobs.options import SourceOptions
from scanner.jobs.workers import check_same
from scanner.progress import Silent

PHOTOS = [*photos_of(range(7), range(2)), (1, 0), (3, 1)]
"""Sixteen, the last two of which came before."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_ENTRIES", 4)
    monkeypatch.setattr(scanner.jobs.embedding.intake, "SHARD_ENTRIES", 4)


class Counted(InTurn):
    """Counts what it was given to do."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def map(self, work: Any, things: Iterable[Any]) -> Iterator[Any]:
        def counted() -> Iterator[int]:
            for number in things:
                self.numbers.append(number)
                yield number

        yield from super().map(work, counted())


@pytest.mark.parametrize("photos", [16, 15, 17], ids=lambda n: f"{n} photos")
@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_the_end_is_found_whether_or_not_a_source_can_be_counted(kind: str, photos: int, tmp_path: Path) -> None:
    some = [*PHOTOS, (20, 0)][:photos]
    source = write_tar(tmp_path / "s.tar", some) if kind == "tar" else write_people(tmp_path / "s", some)
    count = photos if kind == "tar" else len(set(some))  # the same photo twice is one file
    workers = Counted()
    for name, by in (("alone", None), ("together", workers)):
        (tmp_path / name).mkdir()
        embed(str(source), tmp_path / name / "e.parquet", faces=FACES, sources=BY_FOLDER, workers=by)

    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")
    shards = -(-count // 4)
    beyond = kind == "tar" and count % 4 == 0  # only an empty shard says that a full one was the last
    assert workers.numbers == list(range(shards + beyond))


def test_an_index_is_built_and_added_to_alike(people_folder: Path, tmp_path: Path) -> None:
    more = write_tar(tmp_path / "more.tar", [(3, 0), (40, 0), (41, 0), (40, 0), (42, 0), (42, 1)])
    for name, by in (("alone", None), ("together", InTurn())):
        index = tmp_path / name / "idx"
        index.parent.mkdir()
        options = BuildOptions(with_crops=True)
        build(index, str(people_folder), faces=FACES, sources=BY_FOLDER, options=options, workers=by)
        add(index, str(more), faces=FACES, options=options, workers=by)

    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


def test_resuming_finished_shards_asks_workers_for_nothing_more(tmp_path: Path) -> None:
    class Stages(Silent):
        def stage(self, name: str, **facts: Any) -> None:
            stages.append((name, facts["done"]))

    stages: list[tuple[str, int]] = []
    source = write_tar(tmp_path / "s.tar", PHOTOS[:6])
    workers = Counted()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.jobs.embedding.embed.write_json", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            embed(str(source), tmp_path / "e.parquet", faces=FACES, workers=workers)

    embed(str(source), tmp_path / "e.parquet", faces=FACES, workers=workers, resume=True, progress=Stages())

    assert workers.numbers == [0, 1]
    assert stages == [("faces", 6)]


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def test_nothing_found_is_the_same_error(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.png").write_bytes(b"no picture")
    messages = []
    for by in (None, InTurn()):
        with pytest.raises(NothingScanned) as caught:
            embed(str(tmp_path / "s"), tmp_path / "e.parquet", faces=FACES, workers=by)
        messages.append(str(caught.value))

    assert messages[0] == messages[1]


def test_a_shard_has_a_name() -> None:
    work = EmbedShards(("s3://set",), SourceOptions(), FACES, False, 256, "s3://set", ({}, {}))

    assert work.name(17) == "Shard 17 of s3://set (entries 4352 to 4607)"
    assert work.threads == 2


def test_what_differs_on_a_worker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "node-7")
    check_same("photos/", {"bytes": 1}, {"bytes": 1})

    with pytest.raises(WorkerError) as caught:
        check_same("photos/", {"bytes": 1, "uri": "photos"}, {"bytes": 2, "uri": "photos"})

    assert str(caught.value) == (
        "The worker on node-7 does not find what this machine finds as photos/: bytes differ. Sources, networks and indexes "
        "must be the same files on every machine, in a shared folder or a store, and all workers must have the kind of "
        "device that this machine has (--device)."
    )
