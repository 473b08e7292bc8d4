"""TorchScript runs only when it calls nothing but tensor operations."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from scanner.errors import ModelError
from scanner.networks.modules import load_module
from scanner.networks.safe_ops import aten_operation, is_harmless
from scanner.networks.tiny import tiny_decoder, tiny_resnet, tiny_vgg

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
PATH = "harm"


class Saves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "harm")
        return x


class Maps(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.dim() > 9 else torch.from_file("harm", True, 4)


class Helped(nn.Module):
    """Loops, a branch, a helper method: plain TorchScript that is fine."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def twice(self, x: Tensor) -> Tensor:
        return x * 2

    def forward(self, x: Tensor) -> Tensor:
        for i in range(2):
            x = self.conv(x) if i % 2 == 0 else self.twice(x)
        if x.dim() != 4:
            raise ValueError("four axes, got {}".format(x.dim()))  # noqa: UP032 - what people write
        return x.clamp(min=0.0).flatten(1)


class Wakes(nn.Module):
    """Does its harm while it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        torch.save(state[0], "harm")
        self.weight, self.training = state

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scripted(module: nn.Module, path: Path) -> Path:
    torch.jit.save(torch.jit.script(module), str(path))
    return path


@pytest.mark.parametrize("make", [Helped, tiny_vgg, tiny_resnet])
def test_scripted_networks_answer_as_they_did(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = make().eval()
    images = torch.rand(2, 3, 8, 8)

    loaded = load_module(scripted(module, tmp_path / "net.pt"))

    torch.testing.assert_close(loaded(images), module(images))


def test_a_traced_network_gives_gradients(tmp_path: Path) -> None:
    latents = torch.zeros(2, 4, requires_grad=True)
    torch.jit.save(torch.jit.trace(tiny_decoder(), torch.zeros(2, 4)), str(tmp_path / "net.ts.pt"))

    load_module(tmp_path / "net.ts.pt")(latents).sum().backward()

    assert float(latents.grad.abs().sum()) > 0


@pytest.mark.parametrize(("make", "called"), [(Saves, "torch.save"), (Maps, "torch.from_file"), (Wakes, "torch.save")])
def test_code_that_touches_files_is_never_run(make: type[nn.Module], called: str, tmp_path: Path) -> None:
    path = scripted(make(), tmp_path / "net.pt")
    (tmp_path / "harm").unlink(missing_ok=True)

    with pytest.raises(ModelError, match=rf"calls {called}: not known to work on tensors alone"):
        load_module(path)

    assert not (tmp_path / "harm").exists()


def test_code_that_wakes_up_would_work(tmp_path: Path) -> None:
    torch.jit.load(str(scripted(Wakes(), tmp_path / "net.pt")))

    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "call",
    [
        "x.save('harm')",
        "ops.aten.save(x, 'harm')",
        "(torch.save)(x, 'harm')",
        "ops.image.read(x)",
        "f = torch.save\n    f(x, 'harm')",
        "f = x.save\n    f('harm')",
        "f : Any = torch.save\n    f(x, 'harm')",
    ],
)
def test_other_spellings_are_seen(call: str, tmp_path: Path) -> None:
    source = scripted(Helped(), tmp_path / "net.pt")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "bad.pt", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith(".py") and b"class Helped" in text:
                text = text.replace(
                    b"def twice",
                    f"def thrice(self, x: Tensor) -> Tensor:\n    {call}\n    return x\n  def twice".encode(),
                )
            new.writestr(name, text)

    with pytest.raises(ModelError, match="not known to work on tensors alone"):
        load_module(tmp_path / "bad.pt")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("harmful_first", [True, False])
def test_an_entry_that_is_there_twice_is_looked_at_and_run_as_one(harmful_first: bool, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(scripted(Helped(), tmp_path / "net.pt")) as old,
        zipfile.ZipFile(tmp_path / "twice.pt", "w") as new,
    ):
        for name in old.namelist():
            text = old.read(name)
            texts = [text]
            if name.endswith(".py") and b"class Helped" in text:
                harmful = text.replace(
                    b"    return torch.mul(x, 2)", b"    torch.save(x, 'harm')\n    return torch.mul(x, 2)"
                )
                assert harmful != text
                texts = [harmful, text] if harmful_first else [text, harmful]
            for each in texts:
                new.writestr(name, each)

    if harmful_first:  # Python's reader, and so the copy that is run, takes the last
        load_module(tmp_path / "twice.pt")(torch.rand(2, 3, 8, 8))
    else:
        with pytest.raises(ModelError, match=r"calls torch\.save"):
            load_module(tmp_path / "twice.pt")

    assert not (tmp_path / "harm").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = scripted(Helped(), tmp_path / "net.pt")
    shutil.copy(path, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes(path.read_bytes()[:-300])

    with pytest.raises(ModelError, match="damaged"):
        load_module(tmp_path / "cut.pt")


def test_which_operations_are_harmless() -> None:
    assert all(map(is_harmless, ["conv2d", "einsum", "gelu", "relu_", "upsample_nearest2d", "div", "pad"]))
    assert not any(map(is_harmless, ["save", "from_file", "warn", "load", "no_such_operation", "__import__"]))
    assert aten_operation("torch.ops.aten.relu.default") is torch.ops.aten.relu.default
    assert aten_operation("torch.ops.aten.relu.nothing") is None
    assert aten_operation("torch.ops.aten.__class__.default") is None


@pytest.mark.real
@pytest.mark.parametrize(("name", "size"), [("gan36", 256), ("vae-celeba-decoder", 10)])
def test_the_real_generators_load(real: Path, name: str, size: int) -> None:
    latents = torch.randn(3, size, generator=torch.Generator().manual_seed(1))
    models = real / "models"

    torch.testing.assert_close(
        load_module(models / f"{name}.ts.pt")(latents), load_module(models / f"{name}.pt2")(latents)
    )
