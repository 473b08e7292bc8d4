"""Shared by all tests: the real models and photos beside the checkout, and small networks made on the spot."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


@pytest.fixture(autouse=True)
def _no_profile_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `scanner doctor --bench` wrote on this machine is none of a test's business."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "no-cache"))


@pytest.fixture(autouse=True)
def _the_same_numbers_every_time() -> None:
    """What a test draws from torch's own generator must not depend on the tests before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real models and photos."""
    path = Path(__file__).resolve().parents[2] / "shared" / "real"
    if not path.is_dir():
        pytest.skip("the real models and photos (../shared/real) are not here")
    return path


@pytest.fixture(scope="session")
def lfw_photos(real: Path) -> list[NDArray[np.uint8]]:
    """Five photos of 250x250 with one face each: uint8 RGB."""
    with tarfile.open(real / "faces" / "lfw-dev-00.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".jpg")][:5]
        files = [tar.extractfile(name) for name in names]
        return [np.asarray(Image.open(io.BytesIO(f.read())).convert("RGB")) for f in files if f is not None]


@pytest.fixture(scope="session")
def _warm_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("warm")
    command = [sys.executable, str(Path(__file__).parent / "warm_scanner.py"), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        yield folder
        server.communicate()


@pytest.fixture(scope="module")
def warm_scanner(_warm_folder: Path) -> Iterator[None]:
    """Put a `scanner` on the path that has its imports behind it: see warm_scanner.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(_warm_folder), str(Path(sys.executable).parent), os.environ["PATH"]]))
        yield


@pytest.fixture
def write_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Write a small network: nodes from `x` (float, NCHW) to the named outputs."""

    def write(
        nodes: Sequence[Any],
        *,
        shape: Sequence[int | str] = ("n", 3, 4, 4),
        outputs: Sequence[str] = ("y",),
        weights: Sequence[Any] = (),
        name: str = "net.onnx",
    ) -> Path:
        from onnx import TensorProto, helper

        pictures = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        ends = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(nodes, "net", [pictures], ends, initializer=weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return write
