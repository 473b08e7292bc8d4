"""torch.export archives read without torch.export.load: same answers, layers and names, and nothing in them runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scanner.errors import ModelError
from scanner.networks.batch_norm import batch_norms
from scanner.networks.cut import cut, cut_points
from scanner.networks.from_export import module_from_export
from scanner.networks.network import make_network
from scanner.networks.tiny import tiny_decoder, tiny_repvgg, tiny_resnet, tiny_squeezenet, tiny_vgg

FACTORIES = [tiny_resnet, tiny_vgg, tiny_repvgg, tiny_squeezenet, tiny_decoder]


class Odd(nn.Module):
    """Batch sizes read early and used late, pieces, a constant, a PReLU, a size taken from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(4, 6, 3), nn.PReLU(6), nn.Linear(24, 5)
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 2.0]).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.shape[0]
        left, right = torch.split(x * self.mask, [1, 2], 1)
        x = self.act(self.conv(torch.cat([left, right, left.clamp(min=0.1)], 1)))
        x = nn.functional.interpolate(x, size=(2, 2), mode="bilinear", align_corners=False)
        return self.head(x.view(rows, -1)) + torch.ones(5)


def example_of(factory: Callable[[], nn.Module], n: int) -> Tensor:
    shape = (4,) if factory is tiny_decoder else (3, 8, 8)
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(2))


def export(factory: Callable[[], nn.Module], path: Path) -> Path:
    module = factory().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (example_of(factory, 2),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("factory", [*FACTORIES, Odd])
def test_the_graph_answers_as_the_module_does_for_any_batch(factory: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = factory().eval()

    read = module_from_export(
        export(lambda: module, tmp_path / "net.pt2") if factory is Odd else export(factory, tmp_path / "net.pt2")
    )

    for n in (1, 2, 5):
        inputs = example_of(factory, n)
        torch.testing.assert_close(read(inputs), module(inputs), rtol=1e-6, atol=1e-6)


def test_it_is_cut_where_the_module_is_cut(tmp_path: Path) -> None:
    read = make_network("read", module_from_export(export(tiny_resnet, tmp_path / "net.pt2")), input_shape=(3, 8, 8))
    traced = make_network("traced", tiny_resnet(), input_shape=(3, 8, 8))

    assert cut_points(read) == cut_points(traced)
    assert [block.layers for block in cut(read)] == [block.layers for block in cut(traced)]
    assert [name for name, _ in batch_norms(read)] == [name for name, _ in batch_norms(traced)]


def test_a_batch_size_read_at_the_input_hides_no_cut_point(tmp_path: Path) -> None:
    network = make_network("odd", module_from_export(export(Odd, tmp_path / "net.pt2")), input_shape=(3, 8, 8))

    blocks = cut(network, layers_max=1)

    assert [block.layers for block in blocks] == [1, 2]
    value = inputs = example_of(Odd, 3)
    for block in blocks:
        value = block.module(value)
    assert torch.equal(value, network(inputs))


def test_what_does_not_depend_on_the_input_is_a_buffer(tmp_path: Path) -> None:
    read = module_from_export(export(Odd, tmp_path / "net.pt2"))

    made_of_nothing = [node for node in read.graph.nodes if node.op == "call_function" and not node.all_input_nodes]
    assert made_of_nothing == []
    assert any(torch.equal(buffer, torch.ones(5)) for buffer in read.buffers())


# --- archives that would do harm --------------------------------------------------------------------------------


class Harm:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Copy an archive; `change` gives each entry its new content, or None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def harmful(tmp_path: Path) -> bytes:
    return pickle.dumps(Harm(tmp_path / "harm"))


def zipped_pickle(tmp_path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Harm(tmp_path / "harm"), buffer)
    return buffer.getvalue()


def test_the_harmful_pickle_would_work(tmp_path: Path) -> None:
    pickle.loads(harmful(tmp_path)).close()

    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize("make", [harmful, zipped_pickle])
def test_sample_inputs_are_never_opened(make: Callable[[Path], bytes], tmp_path: Path) -> None:
    source = export(tiny_vgg, tmp_path / "net.pt2")
    harm = make(tmp_path)
    bad = rewritten(source, tmp_path / "bad.pt2", lambda name, old: harm if "sample_inputs" in name else old)

    read = module_from_export(bad)

    assert torch.equal(read(example_of(tiny_vgg, 2)), tiny_vgg()(example_of(tiny_vgg, 2)))
    assert not (tmp_path / "harm").exists()


def test_a_pickled_weight_is_refused(tmp_path: Path) -> None:
    source = export(tiny_vgg, tmp_path / "net.pt2")
    harm = zipped_pickle(tmp_path)

    def change(name: str, old: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            document = json.loads(old)
            first = next(iter(document["config"].values()))
            first["use_pickle"] = True
            return json.dumps(document).encode()
        return harm if name.endswith("weight_0") else old

    with pytest.raises(ModelError, match="stored as a Python pickle"):
        module_from_export(rewritten(source, tmp_path / "bad.pt2", change))
    assert not (tmp_path / "harm").exists()


def with_step(target: str, arguments: list[dict[str, Any]]) -> Callable[[str, bytes], bytes]:
    """Return a change that makes the graph's first step a call of something else."""

    def change(name: str, old: bytes) -> bytes:
        if not name.startswith("models/"):
            return old
        document = json.loads(old)
        step = document["graph_module"]["graph"]["nodes"][0]
        step["target"], step["inputs"] = target, arguments
        return json.dumps(document).encode()

    return change


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load",
        "os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.higher_order.cond",
        "torch.ops.load_library",
        "_operator.call",
        "builtins.exec",
    ],
)
def test_a_step_that_is_no_tensor_operation_is_refused(target: str, tmp_path: Path) -> None:
    source = export(tiny_vgg, tmp_path / "net.pt2")
    argument = {"name": "filename", "arg": {"as_string": str(tmp_path / "harm")}, "kind": 1}

    with pytest.raises(ModelError, match="no plain tensor operation"):
        module_from_export(rewritten(source, tmp_path / "bad.pt2", with_step(target, [argument])))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("name", "evil"),
    [
        ('"relu"', "x); HARM; ("),
        ('"0.weight"', 'x"), HARM, getattr(self, "0.weight'),
        ('"9.bias"', "9[HARM].bias"),
    ],
)
def test_names_in_the_archive_do_not_become_code(
    name: str, evil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = export(tiny_vgg, tmp_path / "net.pt2")
    monkeypatch.chdir(tmp_path)
    bad_name = json.dumps(evil.replace("HARM", "open('harm'+chr(0x31), 'w')")).encode()

    def change(entry: str, old: bytes) -> bytes:
        return old.replace(name.encode(), bad_name) if entry.endswith(".json") else old

    network = make_network(
        "net", module_from_export(rewritten(source, tmp_path / "bad.pt2", change)), input_shape=(3, 8, 8)
    )

    assert torch.equal(network(example_of(tiny_vgg, 2)), tiny_vgg()(example_of(tiny_vgg, 2)))
    assert not list(tmp_path.glob("harm*"))


def test_a_name_of_an_argument_does_not_become_code(tmp_path: Path) -> None:
    """torch.fx writes `NAME = VALUE` into the code that it makes of a graph."""
    source = export(tiny_vgg, tmp_path / "net.pt2")
    evil = f"x = __import__('pathlib').Path({str(tmp_path / 'harm')!r}).touch(), y"

    def change(name: str, old: bytes) -> bytes:
        if not name.startswith("models/"):
            return old
        document = json.loads(old)
        steps = document["graph_module"]["graph"]["nodes"]
        step = next(step for step in steps if step["target"] == "torch.ops.aten.relu.default")
        step["inputs"].append({"name": evil, "arg": {"as_int": 1}, "kind": 2})
        return json.dumps(document).encode()

    with pytest.raises(ModelError, match=r"relu.default is given an argument that this operation does not have"):
        module_from_export(rewritten(source, tmp_path / "bad.pt2", change))(example_of(tiny_vgg, 2))
    assert not (tmp_path / "harm").exists()


def test_a_size_formula_is_never_evaluated(tmp_path: Path) -> None:
    source = export(Odd, tmp_path / "net.pt2")
    harm = f"__import__('os').mknod({str(tmp_path / 'harm')!r})"

    def formulas(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: harm if key == "expr_str" else formulas(part) for key, part in value.items()}
        return [formulas(part) for part in value] if isinstance(value, list) else value

    def change(name: str, old: bytes) -> bytes:
        return json.dumps(formulas(json.loads(old))).encode() if name.startswith("models/") else old

    bad = rewritten(source, tmp_path / "bad.pt2", change)
    with zipfile.ZipFile(bad) as archive:
        assert any(harm.encode() in archive.read(name) for name in archive.namelist())

    assert module_from_export(bad)(example_of(Odd, 3)).shape == (3, 5)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("part", ["models/", "data/weights/", "data/constants/model"])
def test_a_part_that_is_missing_is_said(part: str, tmp_path: Path) -> None:
    source = export(tiny_vgg, tmp_path / "net.pt2")

    with pytest.raises(ModelError, match=r"bad\.pt2"):
        module_from_export(
            rewritten(source, tmp_path / "bad.pt2", lambda name, old: None if name.startswith(part) else old)
        )


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    path = export(tiny_vgg, tmp_path / "net.pt2")
    path.write_bytes(path.read_bytes()[:-500])

    with pytest.raises(ModelError, match=r"no complete torch\.export archive|holds 0 models"):
        module_from_export(path)


def test_a_network_exported_while_training_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(tiny_vgg().train(), (example_of(tiny_vgg, 2),))
    torch.export.save(program, tmp_path / "net.pt2")

    with pytest.raises(ModelError, match="exported in training mode"):
        module_from_export(tmp_path / "net.pt2")


@pytest.mark.real
@pytest.mark.parametrize(("name", "size"), [("gan36", 256), ("vae-celeba-decoder", 10)])
def test_the_real_generators_answer_as_torch_loads_them(real: Path, name: str, size: int) -> None:
    path = real / "models" / f"{name}.pt2"
    latents = torch.randn(5, size, generator=torch.Generator().manual_seed(1))

    with torch.no_grad():
        expected = torch.export.load(path).module()(latents)

    assert torch.equal(module_from_export(path)(latents), expected)
