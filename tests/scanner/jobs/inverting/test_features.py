"""Inverse networks trained and applied: folders, resuming, real data said, reconstructions as a source for `scan`."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ray_work import InTurn
from small_gen import pictures, write_generator
from small_net import soft_picture, write_network, write_photos

from scanner import artefacts
from scanner.errors import ArtefactError, NothingScanned, RunMismatch, UsageError
from scanner.images import decode_rgb, encode_png
from scanner.inversion.features import train
from scanner.inversion.features.store import load_inverse
from scanner.jobs.inverting.apply import apply_inverse
from scanner.jobs.inverting.feature_inputs import FeatureOptions, open_attacked
from scanner.jobs.inverting.features import estimate_training, invert_features
from scanner.jobs.options import SourceOptions
from scanner.sources import open_source

QUICK = FeatureOptions(steps=60, batch=32, rate=5e-3)
BY_NAME = SourceOptions(identity_from="name")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny layers gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures, one of them twice, and one that is none."""
    folder = write_photos(tmp_path_factory.mktemp("photos"), 10)
    (folder / "q_again.png").write_bytes(encode_png(soft_picture(3)))
    (folder / "q_broken.png").write_bytes(b"nothing at all")
    return folder


@pytest.fixture(scope="module")
def inverse(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "inverse"
    torch.set_num_threads(1)
    invert_features(network, out, options=QUICK)
    return out


@pytest.fixture(scope="module")
def applied(inverse: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("applied") / "out"
    apply_inverse(inverse, [str(photos)], out, cut="relu", sources=BY_NAME, shard_images=5)
    return out


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_what_a_training_leaves(inverse: Path) -> None:
    """Two files, private, no work folder; the manifest says that no data was used."""
    assert sorted(p.name for p in inverse.iterdir()) == ["inverse.json", "inverse.safetensors"]
    assert stat.S_IMODE(inverse.stat().st_mode) == 0o700
    manifest = json.loads((inverse / "inverse.json").read_text())
    assert manifest["data"] == "none"
    assert manifest["stream"]["kind"] == "procedural"
    assert [entry["name"] for entry in manifest["cuts"]] == ["relu", "layer1.0", "layer2.0", "mean", "linear"]


def test_the_inverse_opens_for_its_network(network: Path, inverse: Path) -> None:
    attacked, law = open_attacked(network, FeatureOptions(device="cpu"))

    assert law is None
    assert load_inverse(inverse, attacked).names[0] == "relu"


def test_killed_and_resumed_equals_uninterrupted(
    network: Path, inverse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, manifest included; without --resume the unfinished work is not touched."""
    step = train._step

    def dying(state, *rest):
        if state.step == 23:
            raise KeyboardInterrupt
        step(state, *rest)

    real = train.train_inverse
    monkeypatch.setattr(train, "_step", dying)
    monkeypatch.setattr(train, "train_inverse", lambda *a, **k: real(*a, **k, keep_every=10))
    out = tmp_path / "inverse"
    with pytest.raises(KeyboardInterrupt):
        invert_features(network, out, options=QUICK)
    monkeypatch.undo()
    assert not (out / "inverse.json").exists()
    with pytest.raises(UsageError, match="--resume"):
        invert_features(network, out, options=QUICK)
    with pytest.raises(RunMismatch, match="plan"):
        invert_features(network, out, options=replace(QUICK, cycle=0.5), resume=True)
    invert_features(network, out, options=QUICK, resume=True)

    left, expected = bytes_of(out), bytes_of(inverse)
    manifests = [json.loads(files.pop("inverse.json")) for files in (left, expected)]
    for manifest in manifests:
        manifest.pop("network_path")  # relative to the folder, and the folders lie apart
    assert left == expected
    assert manifests[0] == manifests[1]


def test_finished_work_is_not_done_again(network: Path, inverse: Path) -> None:
    before = bytes_of(inverse)
    result = invert_features(network, inverse, options=QUICK, resume=True)

    assert result.path == inverse
    assert bytes_of(inverse) == before
    with pytest.raises(RunMismatch, match="other options"):
        invert_features(network, inverse, options=replace(QUICK, steps=61), resume=True)


def test_real_data_is_said(network: Path, photos: Path, tmp_path: Path) -> None:
    result = invert_features(network, tmp_path / "real", options=replace(QUICK, steps=2, real=(str(photos),)))

    assert "upper bound" in result.manifest["data"]
    assert result.manifest["stream"]["images"] == 10


def test_real_data_without_a_picture(network: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"nothing")
    with pytest.raises(NothingScanned, match="no usable image"):
        invert_features(network, tmp_path / "real", options=replace(QUICK, real=(str(tmp_path / "none"),)))


def test_synthesised_images_are_kept_with_the_work(network: Path, tmp_path: Path) -> None:
    result = invert_features(network, tmp_path / "mixed", options=replace(QUICK, steps=2, synthesise=4))

    assert result.manifest["stream"]["kind"] == "mixed"
    assert result.manifest["stream"]["second.images"] == 4


def test_a_wrong_cut_fails_before_anything_is_written(network: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"layer1\.0"):
        invert_features(network, tmp_path / "out", options=replace(QUICK, at=("layer1.1",)))
    assert not (tmp_path / "out").exists()


def test_the_estimate_writes_nothing(network: Path, tmp_path: Path) -> None:
    found = estimate_training(network, options=QUICK)

    assert found.images_per_s > 0
    assert found.train_s > 0
    assert found.cuts[-1] == "linear"
    assert "60 steps" in found.sentence()
    assert list(tmp_path.iterdir()) == []


def test_every_entry_has_one_outcome(applied: Path) -> None:
    account = json.loads((applied / "inversions.json").read_text())

    assert account["counts"]["entries"] == 12
    assert account["counts"]["inverted"] == 10
    assert account["counts"]["statuses"] == {"single_pass": 10}
    assert account["counts"]["reasons"] == {"duplicate": 1, "not_an_image": 1}
    assert account["cut"] == "relu"
    assert not (applied / "unfinished").exists()


def test_reconstructions_are_a_source_with_the_users_labels(applied: Path) -> None:
    """In order of the entries, as PNG of the network's size; the figures fit the pictures."""
    rows = artefacts.read_table(applied / "inversions.parquet", "inversions").to_pylist()
    items = [item for path in sorted(applied.glob("*.tar")) for item in open_source(str(path)).entries()]

    assert [item.identity for item in items] == [row["identity"] for row in rows]
    for number, (item, row) in enumerate(zip(items, rows, strict=True)):
        made, photo = decode_rgb(item.data), soft_picture(number)
        assert made.shape == photo.shape
        mse = float(np.mean((made / 255.0 - photo / 255.0) ** 2))
        assert row["psnr_db"] == pytest.approx(-10 * np.log10(mse), abs=0.5)
    made = [decode_rgb(item.data) / 255.0 for item in items]
    error = [[np.mean((one - soft_picture(n) / 255.0) ** 2) for n in range(10)] for one in made]
    assert np.mean(np.diag(error)) < 0.7 * np.mean(error)  # nearer to its own photo than to the others


def test_apply_resumed_equals_uninterrupted(
    inverse: Path, photos: Path, applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scanner.jobs.inverting.parts import InversionParts

    write = InversionParts.write

    def dying(self, shard):
        if shard.number == 1:
            raise KeyboardInterrupt
        write(self, shard)

    monkeypatch.setattr(InversionParts, "write", dying)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        apply_inverse(inverse, [str(photos)], out, cut="relu", sources=BY_NAME, shard_images=5)
    monkeypatch.undo()
    apply_inverse(inverse, [str(photos)], out, cut="relu", sources=BY_NAME, shard_images=5, resume=True)

    assert bytes_of(out) == bytes_of(applied)
    again = apply_inverse(inverse, [str(photos)], out, cut="relu", sources=BY_NAME, shard_images=5, resume=True)
    assert again.counts.inverted == 10
    with pytest.raises(RunMismatch, match="another cut"):
        apply_inverse(inverse, [str(photos)], out, cut="linear", sources=BY_NAME, resume=True)


def test_workers_leave_the_bytes_of_one_process(inverse: Path, photos: Path, applied: Path, tmp_path: Path) -> None:
    apply_inverse(
        inverse, [str(photos)], tmp_path / "out", cut="relu", sources=BY_NAME, shard_images=5, workers=InTurn()
    )

    assert bytes_of(tmp_path / "out") == bytes_of(applied)


def test_pictures_that_are_none_are_no_result(inverse: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"nothing")

    with pytest.raises(
        NothingScanned, match=r"Nothing was re-created: 1 entries .*\(1 not_an_image\)\. Look at the pic"
    ):
        apply_inverse(inverse, [str(tmp_path / "none")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_moved_network_can_be_named(inverse: Path, photos: Path, tmp_path: Path) -> None:
    moved = write_network(tmp_path / "elsewhere")
    manifest = json.loads((inverse / "inverse.json").read_text())
    lost = tmp_path / "lost"
    lost.mkdir()
    (lost / "inverse.safetensors").write_bytes((inverse / "inverse.safetensors").read_bytes())
    (lost / "inverse.json").write_text(json.dumps({**manifest, "network_path": "gone.toml"}))
    with pytest.raises(UsageError, match="--network"):
        apply_inverse(lost, [str(photos)], tmp_path / "out", cut="relu")
    assert apply_inverse(lost, [str(photos)], tmp_path / "out", cut="relu", network=moved).counts.inverted == 10


def test_another_network_is_refused(inverse: Path, photos: Path, tmp_path: Path) -> None:
    other = write_network(tmp_path / "other", seed=1)
    with pytest.raises(ArtefactError, match="not small"):
        apply_inverse(inverse, [str(photos)], tmp_path / "out", cut="relu", network=other)


def test_a_generator_backwards_gives_latents(tmp_path: Path) -> None:
    """GEN.toml in, latents of its own pictures out, and pictures made of them."""
    generator = write_generator(tmp_path / "gen")
    (tmp_path / "made").mkdir()
    for number, picture in enumerate(pictures(8)):
        (tmp_path / "made" / f"{number}.png").write_bytes(encode_png(picture))
    invert_features(generator, tmp_path / "inverse", options=replace(QUICK, steps=120))
    result = apply_inverse(tmp_path / "inverse", [str(tmp_path / "made")], tmp_path / "out")
    rows = artefacts.read_table(tmp_path / "out" / "inversions.parquet", "inversions").to_pylist()

    assert result.counts.inverted == 8
    assert all(len(row["latent"]) == 4 for row in rows)
    with tarfile.open(tmp_path / "out" / "reconstructions-000000.tar") as tar:
        assert len(tar.getnames()) == 8
    contrast = float(np.var(np.stack(list(pictures(8))) / 255.0, axis=0).mean())
    assert np.mean([row["pixel_mse"] for row in rows]) < 0.5 * contrast


def test_latents_are_drawn_not_photographed(tmp_path: Path, photos: Path) -> None:
    generator = write_generator(tmp_path / "gen")
    with pytest.raises(UsageError, match="its own latents"):
        invert_features(generator, tmp_path / "inverse", options=replace(QUICK, real=(str(photos),)))
