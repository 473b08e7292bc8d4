"""Images of any source to latents and reconstructions, in shards, with every entry accounted for."""

from __future__ import annotations

import json
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_people import files_of
from ray_work import InTurn
from small_gen import pictures, write_generator

from scanner import artefacts
from scanner.errors import ModelError, NothingScanned, RunMismatch, UsageError
from scanner.images import decode_rgb, encode_png
from scanner.jobs.inverting.estimate import estimate
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.inverting.pictures import centred
from scanner.jobs.options import SourceOptions
from scanner.sources import open_source

QUICK = InvertOptions(restarts=3, steps_max=120, draws=64, slots=4, shard_images=5, tolerance=0.01)
BY_NAME = SourceOptions(identity_from="name")


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("generator"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven of the generator's pictures, one twice, one that is no picture, one of another size."""
    folder = tmp_path_factory.mktemp("images")
    made = pictures(11)
    for number, picture in enumerate(made):
        (folder / f"p{number % 4}_{number:02d}.png").write_bytes(encode_png(picture))
    (folder / "q_again.png").write_bytes(encode_png(made[3]))
    (folder / "q_broken.png").write_bytes(b"nothing at all")
    (folder / "q_large.png").write_bytes(encode_png(made[0].repeat(4, 0).repeat(4, 1)))
    return folder


@pytest.fixture(scope="module")
def inverted(generator: Path, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "inverted"
    invert_latent(generator, [str(images)], out, options=QUICK, sources=BY_NAME)
    return out


def rows_of(out: Path) -> list[dict]:
    return artefacts.read_table(out / "inversions.parquet", "inversions").to_pylist()


def test_every_entry_has_one_outcome(inverted: Path) -> None:
    account = json.loads((inverted / "inversions.json").read_text())
    counts = account["counts"]

    assert (counts["entries"], counts["inverted"], counts["failed"]) == (14, 12, 0)
    assert counts["reasons"] == {"duplicate": 1, "not_an_image": 1}
    assert sum(counts["statuses"].values()) == 12
    assert len(rows_of(inverted)) == 12
    rejects = artefacts.read_table(inverted / "rejects.parquet", "rejects").to_pylist()
    assert sorted(row["reason"] for row in rejects) == ["duplicate", "not_an_image"]
    assert not (inverted / "unfinished").exists()


def test_latents_make_the_pictures_again(inverted: Path, images: Path) -> None:
    import torch
    from small_gen import Sketch

    rows = rows_of(inverted)

    good = [row for row in rows if row["status"] == "converged"]
    assert len(good) >= 10
    for row in good:
        wanted = decode_rgb(Path(row["uri"]).read_bytes())
        wanted = centred(wanted, 16, 16, share=1.0).astype(np.float32) / 255
        with torch.no_grad():
            made = Sketch()(torch.tensor([row["latent"]]))[0].permute(1, 2, 0).numpy()
        error = np.linalg.norm(made - wanted) / np.linalg.norm(wanted)
        assert error <= 0.0101
        assert row["relative_error"] == pytest.approx(error, rel=1e-2)
        mse = float(((made - wanted) ** 2).mean())
        assert row["pixel_mse"] == pytest.approx(mse, rel=1e-2)
        assert row["psnr_db"] == pytest.approx(-10 * np.log10(mse), rel=1e-3)
        assert row["identity_score"] is None


def test_reconstructions_are_a_source_with_the_identities_of_the_images(inverted: Path) -> None:
    rows = {row["item_id"]: row for row in rows_of(inverted)}

    entries = list(open_source(f"{inverted}/reconstructions-*.tar").entries())

    assert len(entries) == 12
    for entry in entries:
        row = rows[Path(entry.uri.rpartition("::")[2] or entry.uri).name.split("/")[-1].partition(".")[0]]
        assert entry.identity == row["identity"]
        assert entry.identity == Path(row["uri"]).name.rpartition("_")[0]
        assert decode_rgb(entry.data).shape == (16, 16, 3)
    assert sorted(p.name for p in inverted.glob("*.tar")) == [f"reconstructions-00000{i}.tar" for i in range(3)]


def test_the_folder_is_for_its_owner_alone(inverted: Path) -> None:
    assert stat.S_IMODE(inverted.stat().st_mode) == 0o700
    for path in inverted.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix == ".json"


def test_shards_change_no_result(generator: Path, images: Path, inverted: Path, tmp_path: Path) -> None:
    whole = replace(QUICK, shard_images=100)

    invert_latent(generator, [str(images)], tmp_path / "out", options=whole, sources=BY_NAME)

    for one, other in zip(rows_of(inverted), rows_of(tmp_path / "out"), strict=True):
        assert (one["item_id"], one["status"]) == (other["item_id"], other["status"])
        assert one["pixel_mse"] == pytest.approx(other["pixel_mse"], rel=0.1, abs=1e-6)
    with tarfile.open(tmp_path / "out" / "reconstructions-000000.tar") as tar:
        assert len([name for name in tar.getnames() if name.endswith(".png")]) == 12


@pytest.mark.parametrize("encoder", ["none", "train"])
def test_workers_leave_the_bytes_of_one_process(encoder: str, generator: Path, images: Path, tmp_path: Path) -> None:
    options = replace(QUICK, encoder=encoder, encoder_steps=20)

    for name, by in (("alone", None), ("together", InTurn())):
        invert_latent(generator, [str(images)], tmp_path / name, options=options, sources=BY_NAME, workers=by)

    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


def test_shards_of_large_images_hold_fewer(
    generator: Path, images: Path, inverted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.jobs.inverting.latent.SHARD_PIXELS", 5 * 16 * 16 + 100)

    invert_latent(generator, [str(images)], tmp_path / "out", options=replace(QUICK, shard_images=100), sources=BY_NAME)

    assert rows_of(tmp_path / "out") == rows_of(inverted)
    assert (tmp_path / "out" / "reconstructions-000002.tar").exists()


def test_a_generated_source_is_inverted_to_the_last_image(generator: Path, tmp_path: Path) -> None:
    result = invert_latent(generator, [f"generated:{generator}?n=9&seed=3"], tmp_path / "out", options=QUICK)

    assert result.counts.inverted == 9
    assert result.counts.statuses["converged"] >= 8
    assert result.summary["relative_error"]["median"] <= 0.01


def test_an_encoder_is_trained_kept_and_taken_again(generator: Path, images: Path, tmp_path: Path) -> None:
    train = replace(QUICK, encoder="train", encoder_steps=150, restarts=1, draws=0)
    first = invert_latent(generator, [str(images)], tmp_path / "first", options=train)
    again = replace(train, encoder=str(tmp_path / "first" / "encoder.safetensors"))
    second = invert_latent(generator, [str(images)], tmp_path / "second", options=again)
    none = invert_latent(generator, [str(images)], tmp_path / "none", options=replace(train, encoder="none"))

    assert rows_of(tmp_path / "first") == rows_of(tmp_path / "second")
    assert first.counts == second.counts
    assert sum(r["steps"] for r in rows_of(tmp_path / "first")) < sum(r["steps"] for r in rows_of(tmp_path / "none"))
    assert none.counts.inverted == 12
    other = write_generator(tmp_path / "other", limit=100.0)
    with pytest.raises(ModelError, match=r"is no encoder for sketch: it was trained for"):
        invert_latent(other, [str(images)], tmp_path / "third", options=again)
    assert not (tmp_path / "third").exists()


def test_what_the_generator_cannot_be_asked_for_fails_alone(images: Path, tmp_path: Path) -> None:
    generator = write_generator(tmp_path / "broken", limit=0.3)

    result = invert_latent(generator, [str(images)], tmp_path / "out", options=replace(QUICK, draws=0, restarts=1))

    assert result.counts.failed > 0
    assert result.counts.inverted > 0
    assert result.counts.entries == 14
    for row in rows_of(tmp_path / "out"):
        assert (row["status"] == "failed") == (row["latent"] is None) == (row["loss"] is None)


def test_nothing_at_all_is_an_error(generator: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"no picture")

    with pytest.raises(NothingScanned, match=r"Nothing was inverted: 1 entries .*1 not_an_image"):
        invert_latent(generator, [str(tmp_path / "images")], tmp_path / "out", options=QUICK)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_kept_unless_said_otherwise(generator: Path, images: Path, inverted: Path) -> None:
    before = files_of(inverted)

    with pytest.raises(UsageError, match="already there"):
        invert_latent(generator, [str(images)], inverted, options=QUICK, sources=BY_NAME)
    invert_latent(generator, [str(images)], inverted, options=QUICK, sources=BY_NAME, resume=True)
    with pytest.raises(RunMismatch, match="is finished, and was made from"):
        invert_latent(generator, ["elsewhere"], inverted, options=QUICK, sources=BY_NAME, resume=True)

    assert files_of(inverted) == before


def test_other_options_do_not_go_on_with_unfinished_work(
    generator: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scanner.jobs.inverting.parts.InversionParts.merge", die)
        with pytest.raises(KeyboardInterrupt):
            invert_latent(generator, [str(images)], tmp_path / "out", options=QUICK)

    with pytest.raises(RunMismatch, match="options changed"):
        invert_latent(generator, [str(images)], tmp_path / "out", options=replace(QUICK, seed=1), resume=True)
    result = invert_latent(generator, [str(images)], tmp_path / "out", options=QUICK, resume=True)
    assert result.counts.inverted == 12


def test_the_dry_run_predicts_and_writes_nothing(
    generator: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.jobs.inverting.tools._TIMED_S", 0.05)

    found = estimate(generator, [str(images)], options=replace(QUICK, slots=None))

    assert (found.images, found.steps_each_max) == (14, 360)
    assert found.slots == 64
    assert found.most_s == pytest.approx(14 * 360 / found.image_steps_per_s)
    assert "image steps/s" in found.sentence()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("shape", "share", "box"), [((20, 30), 1.0, 20), ((30, 20), 0.5, 10), ((16, 16), 1.0, 16)])
def test_the_middle_is_taken_and_reduced_by_area(shape: tuple[int, int], share: float, box: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)

    found = centred(picture, 4 if box != 16 else 16, 4 if box != 16 else 16, share=share)

    top, left = (shape[0] - box) // 2, (shape[1] - box) // 2
    middle = picture[top : top + box, left : left + box].astype(np.float64)
    if box == 16:
        np.testing.assert_array_equal(found, picture)
    elif box % 4 == 0:
        expected = middle.reshape(4, box // 4, 4, box // 4, 3).mean((1, 3))
        assert np.abs(found - expected).max() <= 0.51
    else:
        assert found.mean() == pytest.approx(middle.mean(), abs=3)
