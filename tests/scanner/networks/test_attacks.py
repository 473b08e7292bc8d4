"""Networks made by somebody who means harm: each is refused with a sentence, before memory or a file is touched."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from scanner.errors import ArtefactError, ModelError
from scanner.networks.from_export import module_from_export
from scanner.networks.from_onnx import module_from_onnx
from scanner.networks.limits import STEP_BYTES_MAX, steps_limited
from scanner.networks.modules import load_module
from scanner.networks.network import make_network
from scanner.networks.tensors import read_tensors
from scanner.networks.tiny import tiny_resnet, tiny_vgg
from scanner.networks.torchscript import load_torchscript

WriteOnnx = Callable[..., Path]
DEEP = 100_000
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def ints(name: str, *numbers: int) -> TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


# --- the limit on steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        lambda x: torch.zeros(1 << 20, 1 << 20) + x,
        lambda x: x.repeat(1, 1 << 40),
        lambda x: x.reshape(-1, 1) @ torch.ones(1, 1 << 32),
        lambda x: nn.functional.pad(x, (1 << 38, 1 << 38)),
        lambda x: x[:, :1].expand(2, 1 << 40).relu(),
        lambda _: torch.randn(1 << 40),
        lambda x: torch.arange(1 << 40) + x.sum(),
    ],
)
def test_a_step_that_makes_too_much_is_stopped_before_it(step: Callable[[torch.Tensor], torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=rf"would make \d+ bytes; {STEP_BYTES_MAX} are the most"), steps_limited():
        step(torch.ones(2, 3))


def test_what_a_step_makes_by_the_numbers_in_it_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often a row is repeated stands in the data, so the size is known when it is done."""
    monkeypatch.setattr("scanner.networks.limits.STEP_BYTES_MAX", 1 << 20)
    few, many = torch.full((4,), 8), torch.full((4,), 1 << 18)

    with steps_limited():
        assert torch.repeat_interleave(few).shape == (32,)
        with pytest.raises(ValueError, match=rf"would make \d+ bytes; {1 << 20} are the most"):
            torch.repeat_interleave(many)


def test_within_the_limit_nothing_changes() -> None:
    module = tiny_resnet().eval()
    inputs = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    with torch.no_grad(), steps_limited():
        answers = module(inputs)

    with torch.no_grad():
        assert torch.equal(answers, module(inputs))


def test_a_network_that_asks_for_a_terabyte_says_so() -> None:
    class Vast(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat(1, 1 << 20, 1 << 10, 1).mean((2, 3))

    with pytest.raises(ModelError, match=r"vast does not run .* its step aten.repeat.default would make"):
        make_network("vast", Vast(), input_shape=(3, 8, 8))
    with pytest.raises(ModelError, match=r"vast takes an input of the shape \(3, 2097152, 2097152\)"):
        make_network("vast", tiny_vgg(), input_shape=(3, 1 << 21, 1 << 21))


# --- ONNX --------------------------------------------------------------------------------------------------------------------------


def test_weights_of_impossible_sizes_are_damaged(write_onnx: WriteOnnx) -> None:
    for dims in ([1 << 40, 1 << 40], [-1, -4], [3]):
        vast = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=b"abcd")
        with pytest.raises(ModelError, match="w is damaged"):
            module_from_onnx(write_onnx([helper.make_node("Add", ["x", "w"], ["y"])], weights=[vast]))
    unknown = TensorProto(name="w", data_type=99, dims=[1], raw_data=b"abcd")
    with pytest.raises(ModelError, match="w is damaged"):
        module_from_onnx(write_onnx([helper.make_node("Add", ["x", "w"], ["y"])], weights=[unknown]))


def test_constants_that_grow_are_stopped(write_onnx: WriteOnnx) -> None:
    nodes = [helper.make_node("Expand", ["one", "shape"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]
    weights = [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "one"), ints("shape", 1, 1, 1 << 20, 1 << 20)]

    with pytest.raises(ModelError, match="would make 4398046511104 bytes"):
        module_from_onnx(write_onnx(nodes, weights=weights))
    with pytest.raises(ModelError, match="takes an input of the shape"):
        module_from_onnx(write_onnx([helper.make_node("Relu", ["x"], ["y"])], shape=("n", 3, 1 << 31, 1 << 31)))


@pytest.mark.parametrize(
    "name",
    ["/class/Relu", "/forward/Relu", "/training/a/Relu", "/__class__/Relu", "/x=__import__('os')/Relu", "/²/Relu"],
)
def test_names_of_nodes_that_python_knows_do_no_harm(write_onnx: WriteOnnx, name: str) -> None:
    path = write_onnx([helper.make_node("Relu", ["x"], ["y"], name=name)])

    try:
        module = module_from_onnx(path)
    except ModelError:
        return
    assert torch.equal(module(-torch.ones(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))


def test_names_that_are_no_text_are_a_sentence(write_onnx: WriteOnnx) -> None:
    path = write_onnx(
        [helper.make_node("Relu", ["x"], ["y"], name="n"), helper.make_node("QQQQ", ["y"], ["z"])], outputs=["z"]
    )
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"QQ\xff\xff"))

    with pytest.raises(ModelError):
        module_from_onnx(path)


# --- archives ----------------------------------------------------------------------------------------------------------------------


def exported(path: Path) -> Path:
    program = torch.export.export(
        tiny_vgg().eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},)
    )
    torch.export.save(program, path)
    return path


def changed(path: Path, change: Callable[[str, bytes], bytes], *, packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))
    return path


def test_an_archive_that_unpacks_to_much_more_than_itself_is_refused(tmp_path: Path) -> None:
    """torch stores without compression; a deflated gigabyte of zeros has one megabyte."""
    for name, make in (
        ("n.pt2", exported),
        ("n.ts", lambda p: (torch.jit.script(tiny_vgg().eval()).save(str(p)), p)[1]),
    ):
        path = make(tmp_path / name)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("n/extra", bytes(100 << 20))

        with pytest.raises(ModelError, match=r"unpacks to \d+"):
            load_module(path)


@pytest.mark.parametrize(
    "broken", [b"[" * DEEP, b'{"a":' * DEEP, b"1" * 10_000, b"\xff\xfe", b"null", b"[]", b'{"graph_module": 1}']
)
def test_a_graph_that_is_no_graph_is_a_sentence(tmp_path: Path, broken: bytes) -> None:
    path = changed(exported(tmp_path / "n.pt2"), lambda name, old: broken if "/models/" in name else old)

    with pytest.raises(ModelError, match=r"n\.pt2"):
        module_from_export(path)


def test_constants_of_a_graph_do_not_grow(tmp_path: Path) -> None:
    """What does not depend on the input is computed when the file is opened."""

    def grow(name: str, old: bytes) -> bytes:
        if "/models/" not in name:
            return old
        document = json.loads(old)
        nodes = document["graph_module"]["graph"]["nodes"]
        vast: dict[str, Any] = {
            "target": "torch.ops.aten.ones.default", "inputs": [{"name": "size", "arg": {"as_ints": [1 << 20, 1 << 20]}, "kind": 1}],
            "outputs": [{"as_tensor": {"name": "vast"}}], "metadata": {},
        }  # fmt: skip
        nodes.insert(0, vast)
        return json.dumps(document).encode()

    with pytest.raises(ModelError, match="would make 4398046511104 bytes"):
        module_from_export(changed(exported(tmp_path / "n.pt2"), grow))


def test_a_pickle_that_claims_more_bytes_than_it_has_is_not_given_to_torch(tmp_path: Path) -> None:
    """torch makes room for a text before it looks whether it is there: 656 MiB for a file of 40 kB."""
    path = tmp_path / "n.ts"
    torch.jit.script(tiny_vgg().eval()).save(str(path))
    vast = b"\x80\x02X" + struct.pack("<I", 0x7FFFFFFF) + b"abc"
    changed(path, lambda name, old: vast if name.endswith("/data.pkl") else old)

    with pytest.raises(ModelError, match="expected 2147483647 bytes in a unicodestring4, but only 3 remain"):
        load_torchscript(path)


@pytest.mark.parametrize("cut", [30, 31, 46, 60])
def test_an_archive_with_damaged_names_is_a_sentence(tmp_path: Path, cut: int) -> None:
    path = exported(tmp_path / "n.pt2")
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\1\2")
    data[at + cut - 30 + 8 : at + cut - 30 + 10] = b"\xff\xff"  # flags among them: names are UTF-8 now
    data[at + 46 : at + 48] = b"\xff\xff"
    path.write_bytes(data)

    with pytest.raises(ModelError):
        load_module(path)


# --- safetensors -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,Infinity]}}',
        b'{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"w":null}',
        b"null",
        b"\xff",
    ],
)
def test_a_header_that_makes_no_sense_is_a_sentence(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))

    with pytest.raises(ArtefactError, match=r"w\.safetensors is no complete safetensors file"):
        read_tensors(path)


def test_a_header_of_eight_exabytes_is_not_made_room_for(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", (1 << 63) - 1) + b"{}")

    with pytest.raises(ArtefactError, match="its header would have 9223372036854775807 bytes of 10"):
        read_tensors(path)
