"""Generated images on disk: what lies there, who reads it, and that nothing but the seed decides on it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from drawn_people import files_of
from small_gen import write_generator

from scanner import artefacts
from scanner.errors import NothingScanned, RunMismatch, UsageError
from scanner.jobs.generating import generate as job
from scanner.jobs.generating import image_pieces
from scanner.jobs.generating.generate import estimate_generate, generate
from scanner.records import Item
from scanner.sources import open_source


@pytest.fixture(scope="module")
def gen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("gen"))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("poisoned"), limit=1.2)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SHARD_IMAGES", 50)


def images_in(folder: Path, form: str) -> list[bytes]:
    return [entry.data for entry in open_source(f"{folder}/images-*.{form}").entries() if isinstance(entry, Item)]


@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_the_folder_is_a_source_of_the_images_of_the_seed(form, gen, tmp_path) -> None:
    result = generate(gen, tmp_path / "out", count=120, seed=7, form=form)

    names = [f"images-{number:06d}.{form}" for number in range(3)]
    assert result.shards == tuple(names)
    assert (result.entries, result.images, result.rejected) == (120, 120, 0)
    assert sorted(files_of(tmp_path / "out")) == ["generated.json", *names, "rejects.parquet"]
    direct = [entry.data for entry in open_source(f"generated:{gen}?n=120&seed=7").entries()]
    assert images_in(tmp_path / "out", form) == direct
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0


def test_the_account_says_what_was_made(gen, tmp_path) -> None:
    generate(gen, tmp_path / "out", count=60, seed=7)

    account = json.loads((tmp_path / "out" / "generated.json").read_text())
    assert account["counts"] == {"entries": 60, "images": 60, "rejected": 0, "reasons": {}}
    assert [(shard["name"], shard["images"]) for shard in account["shards"]] == [
        ("images-000000.tar", 50), ("images-000001.tar", 10),
    ]  # fmt: skip
    assert {len(shard["sha256"]) for shard in account["shards"]} == {64}
    assert (account["seed"], account["count"], account["form"], account["device"]) == (7, 60, "tar", "cpu")
    assert account["generator"]["latent"] == {"size": 4, "law": "normal", "truncation": None, "classes": None}
    assert str(tmp_path) not in json.dumps(account)


def test_parquet_has_the_number_of_every_image(gen, tmp_path) -> None:
    generate(gen, tmp_path / "out", count=70, form="parquet")

    table = pq.read_table(tmp_path / "out" / "images-000001.parquet")
    assert table.column_names == ["image", "number", "label"]
    assert table["number"].to_pylist() == list(range(50, 70))
    assert table["label"].null_count == 20


def test_neither_shards_nor_blocks_decide_on_an_image(gen, tmp_path, monkeypatch) -> None:
    generate(gen, tmp_path / "one", count=130, seed=3)
    monkeypatch.setattr(job, "SHARD_IMAGES", 37)
    generate(gen, tmp_path / "two", count=130, seed=3)

    assert images_in(tmp_path / "one", "tar") == images_in(tmp_path / "two", "tar")


@pytest.mark.parametrize("dies_after", [1, 64, 65, 110])
def test_interrupted_work_is_finished_with_the_same_bytes(dies_after, gen, tmp_path, monkeypatch) -> None:
    generate(gen, tmp_path / "whole", count=130, seed=3)
    made = 0
    encode = image_pieces.encode_image

    def dying(pixels):
        nonlocal made
        made += 1
        if made > dies_after:
            raise KeyboardInterrupt
        return encode(pixels)

    monkeypatch.setattr(image_pieces, "encode_image", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(gen, tmp_path / "out", count=130, seed=3)
    monkeypatch.setattr(image_pieces, "encode_image", encode)
    with pytest.raises(UsageError, match="--resume"):
        generate(gen, tmp_path / "out", count=130, seed=3)
    with pytest.raises(RunMismatch, match="seed changed"):
        generate(gen, tmp_path / "out", count=130, seed=4, resume=True)

    generate(gen, tmp_path / "out", count=130, seed=3, resume=True)

    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_what_was_finished_is_not_made_again(gen, tmp_path, monkeypatch) -> None:
    calls = []
    sampling = importlib.import_module("scanner.generators.sample")  # the package has a function of that name
    blocks = sampling.sample_blocks
    monkeypatch.setattr(sampling, "sample_blocks", lambda *a, **k: calls.append(k["first"]) or blocks(*a, **k))
    encode = image_pieces.encode_image
    left = iter(range(110))

    def dying(pixels):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return encode(pixels)

    monkeypatch.setattr(image_pieces, "encode_image", dying)
    with pytest.raises(KeyboardInterrupt):
        generate(gen, tmp_path / "out", count=130)
    monkeypatch.setattr(image_pieces, "encode_image", encode)
    generate(gen, tmp_path / "out", count=130, resume=True)

    assert calls == [0, 100]


def test_what_is_there_is_replaced_only_when_asked(gen, tmp_path) -> None:
    out = tmp_path / "out"
    generate(gen, out, count=60)
    before = files_of(out)

    with pytest.raises(UsageError, match="--force"):
        generate(gen, out, count=60)
    assert generate(gen, out, count=60, resume=True).images == 60
    with pytest.raises(RunMismatch, match="other count"):
        generate(gen, out, count=61, resume=True)
    assert files_of(out) == before
    assert generate(gen, out, count=20, force=True).shards == ("images-000000.tar",)
    assert "images-000001.tar" not in files_of(out)
    (out / "mine.txt").write_text("do not delete")
    with pytest.raises(UsageError, match="does not delete"):
        generate(gen, out, count=20, force=True)


def test_images_that_are_none_are_counted(gen, poisoned, tmp_path) -> None:
    good = generate(gen, tmp_path / "good", count=130)
    result = generate(poisoned, tmp_path / "out", count=130)

    rejects = artefacts.read_table(tmp_path / "out" / "rejects.parquet", "rejects")
    assert 0 < result.rejected == rejects.num_rows
    assert result.images + result.rejected == good.images
    assert set(rejects["reason"].to_pylist()) == {"not_finite"}
    account = json.loads((tmp_path / "out" / "generated.json").read_text())
    assert account["counts"]["reasons"] == {"not_finite": result.rejected}
    kept = images_in(tmp_path / "out", "tar")
    assert len(kept) == result.images
    assert set(kept) < set(images_in(tmp_path / "good", "tar"))
    uris = set(rejects["uri"].to_pylist())
    direct = [e for e in open_source(f"generated:{poisoned}?n=130").entries() if not isinstance(e, Item)]
    assert uris == {reject.uri for reject in direct}


def test_nothing_at_all_is_an_error(tmp_path, monkeypatch) -> None:
    gen = write_generator(tmp_path / "gen", limit=0.0)
    first_good = next(
        number for number, entry in enumerate(open_source(f"generated:{gen}?n=50").entries()) if isinstance(entry, Item)
    )
    if first_good == 0:
        pytest.skip("the first image of this seed is a good one")

    with pytest.raises(NothingScanned, match=f"All {first_good} images"):
        generate(gen, tmp_path / "out", count=first_good)
    assert not (tmp_path / "out").exists()


def test_a_shard_without_an_image_is_no_file(poisoned, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(job, "SHARD_IMAGES", 1)

    result = generate(poisoned, tmp_path / "out", count=40)

    assert len(result.shards) == result.images == len(images_in(tmp_path / "out", "tar"))
    assert result.rejected > 0


def test_a_dry_run_predicts_and_writes_nothing(gen, tmp_path) -> None:
    found = estimate_generate(gen, count=1000)
    result = generate(gen, tmp_path / "out", count=100, form="parquet")

    size = sum(path.stat().st_size for path in result.path.glob("images-*"))
    assert found.images_per_s > 0
    assert found.seconds == pytest.approx(1000 / found.images_per_s)
    assert found.bytes == pytest.approx(10 * size, rel=0.3)
    assert "1000 images at " in found.sentence()


@pytest.mark.parametrize(("count", "seed", "form"), [(0, 1, "tar"), (3, -1, "tar"), (3, 1, "zip")])
def test_wrong_wishes_are_refused_before_anything_is_opened(count, seed, form, tmp_path) -> None:
    with pytest.raises(UsageError):
        generate(tmp_path / "absent.toml", tmp_path / "out", count=count, seed=seed, form=form)
