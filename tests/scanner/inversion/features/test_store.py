"""An inverse on disk and back: the same bits; broken, foreign and newer ones are refused with a reason."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from dci_worlds import FAST, SIDE, SoftStream, network_of

from scanner.errors import ArtefactError, UsageError
from scanner.inversion.features.stack import Inverse
from scanner.inversion.features.store import MANIFEST, WEIGHTS, load_inverse, read_manifest, save_inverse
from scanner.inversion.features.train import train_inverse
from scanner.networks.network import Network
from scanner.networks.tiny import tiny_resnet

PLAN = replace(FAST, steps=3, width=0.5)
IMAGES = SoftStream(seed=9).batch(0, 20)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(tiny_resnet())


@pytest.fixture(scope="module")
def inverse(network: Network) -> Inverse:
    return train_inverse(network, SoftStream(), plan=PLAN)


@pytest.fixture
def folder(inverse: Inverse, tmp_path: Path) -> Path:
    save_inverse(inverse, tmp_path / "inverse", plan=asdict(PLAN), account={"data": "none"})
    return tmp_path / "inverse"


def test_loaded_equals_saved(network: Network, inverse: Inverse, folder: Path) -> None:
    """Every bit of every cut's result; what the manifest says is what was saved."""
    again = load_inverse(folder, network)

    assert again.names == inverse.names
    for cut in inverse.names:
        assert torch.equal(again.spread(cut), inverse.spread(cut))
        features = inverse.features(IMAGES, cut)
        assert torch.equal(again.inputs(features, cut), inverse.inputs(features, cut))
    manifest = read_manifest(folder)
    assert manifest["data"] == "none"
    assert [entry["name"] for entry in manifest["cuts"]] == list(inverse.names)
    assert manifest["plan"]["width"] == 0.5


def test_saving_twice_gives_equal_bytes(inverse: Inverse, folder: Path, tmp_path: Path) -> None:
    save_inverse(inverse, tmp_path / "other", plan=asdict(PLAN), account={"data": "none"})

    for name in (MANIFEST, WEIGHTS):
        assert (tmp_path / "other" / name).read_bytes() == (folder / name).read_bytes()


def test_named_cuts_come_back(network: Network, tmp_path: Path) -> None:
    plan = replace(PLAN, at=("layer1.0", "mean"))
    inverse = train_inverse(network, SoftStream(), plan=plan)
    save_inverse(inverse, tmp_path / "inverse", plan=asdict(plan))

    assert load_inverse(tmp_path / "inverse", network).names == ("layer1.0", "mean")


def test_another_network_is_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"undoes tiny .* not stranger"):
        load_inverse(folder, network_of(tiny_resnet(seed=1), name="stranger"))


def test_changed_weights_are_refused(network: Network, folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ArtefactError, match=r"not what inverse\.json says"):
        load_inverse(folder, network)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, "format 2"),
        ({"cuts": [{"name": "layer9"}]}, "layer9"),
        ({"plan": {"at": None}}, "do not fit together"),
    ],
)
def test_foreign_manifests_are_refused(network: Network, folder: Path, change: dict[str, object], told: str) -> None:
    manifest = {**read_manifest(folder), **change}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=told):
        load_inverse(folder, network)


def test_a_folder_without_a_manifest_is_unfinished(network: Network, folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ArtefactError, match="no finished inverse"):
        load_inverse(folder, network)


def test_batch_size_changes_nothing(inverse: Inverse) -> None:
    for cut in inverse.names:
        features = inverse.features(IMAGES, cut)
        one_by_one = torch.cat([inverse.inputs(row[None], cut) for row in features])
        torch.testing.assert_close(one_by_one, inverse.inputs(features, cut), rtol=0, atol=1e-5)


def test_images_lie_in_range_whatever_the_features(inverse: Inverse) -> None:
    wild = 1e3 * torch.randn(5, *inverse.shape("layer2.0"))
    images = inverse.inputs(wild, "layer2.0")

    assert images.shape == (5, 3, SIDE, SIDE)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


def test_an_unknown_cut_names_the_nearest(inverse: Inverse) -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'layer2\.0'"):
        inverse.features(IMAGES, "layer2.1")
    with pytest.raises(UsageError, match=r"got \(20, 3, 8, 8\)"):
        inverse.inputs(IMAGES, "layer2.0")


def test_features_are_the_networks_own(network: Network, inverse: Inverse) -> None:
    """Up to the last cut, the attacked prefix is the whole network, bit for bit."""
    assert torch.equal(inverse.features(IMAGES, inverse.names[-1]), network(IMAGES))


def test_a_copy_on_a_device_is_a_copy(inverse: Inverse) -> None:
    moved = inverse.to("cpu")
    features = inverse.features(IMAGES, "layer1.0")

    assert moved.modules is not inverse.modules
    assert torch.equal(moved.inputs(features, "layer1.0"), inverse.inputs(features, "layer1.0"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(inverse: Inverse) -> None:
    moved = inverse.to("cuda")
    for cut in inverse.names:
        features = inverse.features(IMAGES, cut)
        torch.testing.assert_close(
            moved.inputs(features.cuda(), cut).cpu(), inverse.inputs(features, cut), rtol=0, atol=1e-3
        )
