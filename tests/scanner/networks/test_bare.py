"""A GPU machine may have torch and numpy alone: the rooms that run there import nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCKED = """
import importlib.abc, importlib.util, sys
ALLOWED = set(sys.stdlib_module_names) | {{"torch", "numpy", "scanner", "typing_extensions", "torchgen", "functorch"}}
OF_INDEXES = {{"indexes", *(f"indexes.{{name}}" for name in ("atomic", "errors", "keys", "sealed", "sealed_stream")), *{more!r}}}
OF_TORCH = {{"sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock", "setuptools", "triton", "optree", "yaml"}}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if name not in OF_INDEXES and top not in ALLOWED | OF_TORCH and not top.startswith(("nvidia", "_")):
            raise ModuleNotFoundError(f"No module named {{name!r}} on a bare machine", name=name)
        return None
sys.meta_path.insert(0, Refuse())
really_find = importlib.util.find_spec
def find_spec(name, package=None):  # who only asks whether there is such a library is told no, as on a bare machine
    try:
        return really_find(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
sys.path.insert(0, {root!r})
"""
"""Refuses every import but those of the standard library, torch, numpy, what torch itself brings along, and our writer."""


def run_bare(code: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run code where, of `indexes`, no more than the writer and `more` may be imported."""
    program = BLOCKED.format(root=str(ROOT), more=more) + code
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


def modules_of(room: str) -> list[str]:
    """Return the room's modules, but for those whose whole point is another library."""
    exceptions = {"scanner.networks.from_onnx", "scanner.networks.description", "scanner.generators.description"}
    folder = ROOT / "scanner" / room
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(folder.rglob("*.py"))]
    return [name.removesuffix(".__init__") for name in names if name not in exceptions]


@pytest.mark.parametrize("room", ["networks", "generators", "inversion"])
def test_the_rooms_import_with_torch_and_numpy_alone(room: str) -> None:
    names = modules_of(room)
    code = "".join(f"import {name}\n" for name in names) + "print('imported')"

    done = run_bare(code)

    assert len(names) > 1
    assert done.stdout.strip() == "imported", done.stderr[-2000:]


def test_a_network_is_made_cut_saved_and_loaded_there(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
import torch
from scanner.networks.cut import cut
from scanner.networks.modules import load_module
from scanner.networks.network import make_network
from scanner.networks.tensors import write_tensors
from scanner.networks.tiny import tiny_resnet
path = Path({str(tmp_path)!r}) / "net.safetensors"
write_tensors(path, tiny_resnet(3).state_dict())
network = make_network("net", load_module(path, factory="scanner.networks.tiny:tiny_resnet"), input_shape=(3, 8, 8))
value = images = torch.rand(2, 3, 8, 8)
for block in cut(network):
    value = block.module(value)
print(torch.equal(value, network(images)))
"""
    done = run_bare(code)

    assert done.stdout.strip() == "True", done.stderr[-2000:]


def test_the_cuda_engine_searches_references_in_memory_there() -> None:
    code = """
import numpy as np
from indexes.codec import fit_codec
from indexes.device import DeviceEngine
from indexes.naive import NaiveEngine
from indexes.references import Part, References
vectors = np.random.default_rng(0).standard_normal((5000, 24)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
codec = fit_codec(vectors, seed=0)
references = References([Part(vectors, np.arange(5000), None, codec.encode(vectors))])
asked = {"threshold": 0.7, "k": 2}
print(DeviceEngine(references, codec, devices=["cpu"]).search(vectors[:9], **asked) == NaiveEngine(references).search(vectors[:9], **asked))
"""
    names = "device device_look device_products device_slabs device_kernels engine candidates codec hits references rescore tiled vectors"
    more = [f"indexes.{name}" for name in (*names.split(), "byte_products", "compressed", "exact", "naive")]

    done = run_bare(code, *more)

    assert done.stdout.strip() == "True", done.stderr[-2000:]


@pytest.mark.parametrize("name", ["pyarrow", "pydantic", "onnx", "safetensors", "click", "PIL", "indexes.vectors"])
def test_the_refusal_works(name: str) -> None:
    assert "on a bare machine" in run_bare(f"import {name}").stderr
