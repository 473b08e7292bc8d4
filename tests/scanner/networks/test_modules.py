"""Weights files: what is opened, what is refused, and that nothing in a refused file runs."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scanner.errors import ModelError
from scanner.networks.modules import build, kind_of, load_module
from scanner.networks.tensors import write_tensors
from scanner.networks.tiny import tiny_vgg

FACTORY = "scanner.networks.tiny:tiny_vgg"


class Harm:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def bare(harm: Harm, path: Path) -> None:
    path.write_bytes(pickle.dumps(harm))


def old_protocol(harm: Harm, path: Path) -> None:
    path.write_bytes(pickle.dumps(harm, protocol=0))


def saved(harm: Harm, path: Path) -> None:
    torch.save({"state_dict": {}, "extra": harm}, path)


def saved_legacy(harm: Harm, path: Path) -> None:
    torch.save({"extra": harm}, path, _use_new_zipfile_serialization=False)


def in_tar(harm: Harm, path: Path) -> None:
    inner = path.with_name("pickle")
    bare(harm, inner)
    with tarfile.open(path, "w") as tar:
        tar.add(inner, "pickle")


def beside_code(harm: Harm, path: Path) -> None:
    """A torch.save file that pretends to be TorchScript."""
    saved(harm, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{path.stem}/code/__torch__.py", "class Net(Module):\n  __parameters__ = []\n")
        archive.writestr(f"{path.stem}/constants.pkl", pickle.dumps(harm, protocol=2))


@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.pt2", "net.onnx", "net.safetensors", "net.pkl"])
@pytest.mark.parametrize("write", [bare, old_protocol, saved, saved_legacy, in_tar, beside_code])
def test_pickles_are_refused_and_never_opened(write: Callable[[Harm, Path], None], name: str, tmp_path: Path) -> None:
    write(Harm(tmp_path / "harm"), tmp_path / name)

    with pytest.raises(ModelError):
        load_module(tmp_path / name, factory=FACTORY if name.endswith("safetensors") and write is not bare else None)

    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("write", [bare, saved, saved_legacy, in_tar])
def test_the_refusal_says_how_to_convert(write: Callable[[Harm, Path], None], tmp_path: Path) -> None:
    write(Harm(tmp_path / "harm"), tmp_path / "net.pth")

    with pytest.raises(ModelError, match=r"Python pickle.*safetensors\.torch\.save_file"):
        load_module(tmp_path / "net.pth")


def weights(tmp_path: Path, module: nn.Module, **changes: torch.Tensor | None) -> Path:
    state = {**module.state_dict(), **changes}
    write_tensors(tmp_path / "net.safetensors", {key: value for key, value in state.items() if value is not None})
    return tmp_path / "net.safetensors"


def test_a_factory_gets_its_weights(tmp_path: Path) -> None:
    trained = tiny_vgg(seed=9)
    inputs = torch.rand(2, 3, 8, 8)

    loaded = load_module(weights(tmp_path, trained), factory=FACTORY)

    assert torch.equal(loaded(inputs), trained(inputs))
    assert not torch.equal(loaded(inputs), tiny_vgg()(inputs))
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_everything_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    path = weights(tmp_path, tiny_vgg(), **{"0.bias": None, "9.weight": torch.zeros(2, 2), "extra": torch.zeros(3)})

    with pytest.raises(ModelError) as caught:
        load_module(path, factory=FACTORY)

    message = str(caught.value)
    assert "missing: 0.bias (6,)" in message
    assert "unexpected: extra (3,)" in message
    assert "another shape: 9.weight is (2, 2), expected (16, 32)" in message


def test_counts_of_batches_may_be_missing(tmp_path: Path) -> None:
    path = weights(tmp_path, tiny_vgg(), **{"1.num_batches_tracked": None, "5.num_batches_tracked": None})

    assert isinstance(load_module(path, factory=FACTORY), nn.Module)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("os:system", "not trusted.*--trust os"),
        ("scanner.networks.tiny", "not of the form"),
        ("scanner.networks.tiny:tiny_vgg()", "not of the form"),
        ("scanner.networks.tiny:nothing", "is not there"),
        ("scanner.networks.nowhere:net", "is not there"),
        ("scanner.networks.tiny:LATENT", "does not make a torch module"),
        ("scannerx.evil:net", "not trusted"),
    ],
)
def test_factories_are_ours_or_trusted_and_make_modules(factory: str, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        build(factory)


def test_a_trusted_package_may_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_nets.py").write_text("from torch import nn\ndef net():\n    return nn.Linear(2, 3)\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModelError, match="not trusted"):
        build("their_nets:net")
    assert isinstance(build("their_nets:net", ["their_nets"]), nn.Linear)


def test_numbers_alone_need_a_factory_and_graphs_take_none(tmp_path: Path, write_onnx: Callable[..., Path]) -> None:
    from onnx import helper

    with pytest.raises(ModelError, match="factory = "):
        load_module(weights(tmp_path, tiny_vgg()))
    graph = write_onnx([helper.make_node("Relu", ["x"], ["y"])])
    with pytest.raises(ModelError, match="brings its own graph"):
        load_module(graph, factory=FACTORY)
    assert load_module(graph)(torch.ones(1, 3, 4, 4)).shape == (1, 3, 4, 4)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.bin").write_text("hello")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.png", b"")

    for name, says in [
        ("text.bin", "no network"),
        ("photos.zip", "without a network"),
        ("absent.pt2", "cannot be read"),
    ]:
        with pytest.raises(ModelError, match=says):
            kind_of(tmp_path / name)
