"""A tensor of a TorchScript archive lies within its data, or the archive is not opened: torch itself does not look."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scanner.errors import ModelError
from scanner.networks.script_tensors import check_tensors
from scanner.networks.tiny import tiny_vgg
from scanner.networks.torchscript import load_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FLOATS = b"ctorch\nFloatStorage\n"


def small(number: int) -> bytes:
    return b"K" + bytes([number])


def text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def several(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def tensor(
    items: bytes = small(6), offset: bytes = small(0), size: bytes | None = None, stride: bytes | None = None,
    maker: bytes = REBUILD, of: bytes = FLOATS,
) -> bytes:  # fmt: skip
    """Return a pickle of one 2 x 3 tensor in data/0, or of what pretends to be one."""
    storage = several(text("storage"), of, text("0"), text("cpu"), items) + b"Q"
    size = several(small(2), small(3)) if size is None else size
    stride = several(small(3), small(1)) if stride is None else stride
    return b"\x80\x02" + maker + several(storage, offset, size, stride, b"\x89", b"N") + b"R."


def look(pickle: bytes, data: bytes = bytes(24)) -> None:
    check_tensors({"net/data.pkl": pickle, "net/data/0": data, "net/version": b"3"})


def test_tensors_within_their_data_pass() -> None:
    look(tensor())
    look(tensor(offset=small(5), size=several(small(1)), stride=several(small(7))))
    look(tensor(size=several(small(0), small(99)), stride=several(small(99), small(1))))
    look(tensor(size=b")", stride=b")", offset=small(5)))


@pytest.mark.parametrize(
    ("pickle", "says"),
    [
        (tensor(items=small(7)), "24 bytes in the file where 7 numbers are claimed"),
        (tensor(items=b"J\xff\xff\xff\xff"), "where -1 numbers are claimed"),
        (tensor(items=b"\x88"), "where True numbers are claimed"),
        (tensor(offset=small(1)), "ends behind its data"),
        (tensor(stride=several(small(4), small(1))), "ends behind its data"),
        (tensor(size=several(small(2), small(4))), "ends behind its data"),
        (tensor(offset=b"J\xff\xff\xff\xff"), "something else than a storage and sizes"),
        (tensor(size=several(small(2))), "shorter|longer"),
        (tensor(of=b"ctorch\nQInt8Storage\n"), "do not fit together"),
        (tensor(maker=small(0)), "calls what has no name"),
        (tensor(maker=b"ctorch._utils\n_rebuild_qtensor\n"), "not known to be harmless"),
        (tensor(maker=b"ctorch._tensor\n_rebuild_from_type_v2\n"), "not known to be harmless"),
        (tensor()[:-1] + b"0.", "an instruction POP"),
        (b"\x80\x02h\x05.", "do not fit together"),
        (tensor()[:-1], "exhausted before seeing STOP"),
    ],
)  # fmt: skip
def test_what_reaches_beyond_the_data_is_refused(pickle: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        look(pickle)


def test_data_of_two_folders_is_refused() -> None:
    """Readers may differ in which of the two they take."""
    with pytest.raises(ValueError, match="several folders"):
        check_tensors({"a/data.pkl": tensor(), "a/data/0": b"", "b/data/0": bytes(24)})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.ts"
    torch.jit.save(torch.jit.trace(tiny_vgg().eval(), torch.zeros(1, 3, 8, 8)), str(path))
    return path


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    with zipfile.ZipFile(path) as old:
        entries = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in entries.items():
            new.writestr(name, content)
    return path


def test_a_network_answers_as_before_it_was_saved(saved: Path) -> None:
    picture = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
    torch.manual_seed(0)

    assert torch.equal(load_torchscript(saved)(picture), torch.jit.load(str(saved)).eval()(picture))


def test_weights_that_were_cut_are_refused(saved: Path) -> None:
    """torch loads them, and reads what lies behind them in memory."""
    rewritten(saved, lambda name, content: content[:-4] if name.endswith("/data/0") else content)

    with pytest.raises(ModelError, match="no complete TorchScript file: a tensor on cpu has"):
        load_torchscript(saved)


def test_a_view_beyond_the_weights_is_refused(saved: Path) -> None:
    def stretched(name: str, content: bytes) -> bytes:
        if not name.endswith("/data.pkl"):
            return content
        places = [at for code, argument, at in pickletools.genops(content) if code.name == "BININT1" and argument == 3]
        return content[: places[0] + 1] + b"\xff" + content[places[0] + 2 :]

    rewritten(saved, stretched)
    with pytest.raises(ModelError, match="ends behind its data"):
        load_torchscript(saved)
