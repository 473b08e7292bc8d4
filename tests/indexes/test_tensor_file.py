import json
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file

from indexes.errors import FormatError
from indexes.tensor_file import DATA_START, TensorWriter, open_tensor


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "vectors.safetensors"
    with TensorWriter(path, "vectors", np.dtype(np.float16), 3) as writer:
        writer.write(np.arange(6).reshape(2, 3))
        writer.write(np.arange(6, 9).reshape(1, 3))
    return path


def test_any_safetensors_reader_opens_the_file(path):
    assert load_file(path)["vectors"].tolist() == np.arange(9).reshape(3, 3).tolist()
    assert path.stat().st_size == DATA_START + 9 * 2


def test_the_map_is_what_was_written(path):
    array = open_tensor(path, "vectors")

    assert (array.dtype, array.tolist()) == (np.float16, np.arange(9).reshape(3, 3).tolist())
    assert not array.flags.writeable
    assert array.offset == DATA_START


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 40) + b'{"vectors":{"dtype":"F64","shape":[1,1]}}',
    ],
)
def test_absurd_headers_are_refused(tmp_path, header):
    path = tmp_path / "x"
    path.write_bytes(header)

    with pytest.raises(FormatError, match="no sound safetensors header"):
        open_tensor(path, "vectors")


@pytest.mark.parametrize("shape", [[4, 3], [-3, -3], [3, 0], [1 << 40, 1 << 20]])
def test_shapes_that_do_not_fit_the_file_are_refused(tmp_path, shape):
    entry = {"dtype": "F16", "shape": shape, "data_offsets": [0, 18]}
    text = json.dumps({"vectors": entry}).encode()
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 18)

    with pytest.raises(FormatError, match="should hold"):
        open_tensor(path, "vectors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match="none' is missing"):
        open_tensor(tmp_path / "none", "vectors")
