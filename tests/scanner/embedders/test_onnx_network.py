"""ONNX networks as embedders: pixels go in as the sidecar says, the right tensor comes out, bad files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from scanner.embedders.onnx_network import OnnxEmbedder
from scanner.embedders.sidecar import Sidecar
from scanner.errors import ModelError
from scanner.sessions import choose_device, read_model

CPU = choose_device("cpu")
FLATTEN = [helper.make_node("Flatten", ["x"], ["y"])]
CROPS = np.random.default_rng(2).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def embedder(path: Path, *, batch: int = 16, **sidecar: Any) -> OnnxEmbedder:
    return OnnxEmbedder("onnx:net.onnx", read_model(path), Sidecar(**sidecar), CPU, batch=batch)


def refused(path: Path, **sidecar: Any) -> str:
    with pytest.raises(ModelError) as caught:
        embedder(path, **sidecar)
    return str(caught.value)


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    wide = rows.reshape(len(rows), -1).astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def planes(crops: NDArray[np.uint8], mean: Any, scale: Any, *, order: str = "RGB") -> NDArray[np.float32]:
    """The network's input, written out pixel by pixel."""
    blob = np.zeros((len(crops), 3, *crops.shape[1:3]), np.float32)
    for channel in range(3):
        taken = crops[..., channel if order == "RGB" else 2 - channel].astype(np.float32)
        blob[:, channel] = (taken - np.float32(mean[channel])) * np.float32(scale[channel])
    return blob


def test_without_a_description_arcfaces_conventions_hold(write_onnx):
    rows = embedder(write_onnx(FLATTEN)).embed(CROPS)

    assert np.allclose(rows, unit(planes(CROPS, [127.5] * 3, [1 / 127.5] * 3)), atol=1e-7)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_mean_and_scale_belong_to_the_channels_in_the_networks_order(write_onnx, order):
    mean, scale = (104.0, 117.0, 123.0), (0.5, 1.0, 2.0)

    rows = embedder(write_onnx(FLATTEN), channel_order=order, mean=mean, scale=scale).embed(CROPS)

    assert np.allclose(rows, unit(planes(CROPS, mean, scale, order=order)), atol=1e-7)


def test_channel_orders_give_different_vectors(write_onnx):
    path = write_onnx(FLATTEN)

    rgb, bgr = embedder(path).embed(CROPS), embedder(path, channel_order="BGR").embed(CROPS)

    assert np.abs(rgb - bgr).max() > 0.1
    assert np.array_equal(bgr, embedder(path).embed(CROPS[..., ::-1]))


def test_an_inner_tensor_can_be_read(write_onnx):
    path = write_onnx([helper.make_node("Abs", ["x"], ["inner"]), helper.make_node("Relu", ["inner"], ["y"])])

    found = embedder(path, output="inner")

    assert found.dim == 48
    assert np.allclose(found.embed(CROPS), unit(np.abs(planes(CROPS, [127.5] * 3, [1 / 127.5] * 3))), atol=1e-7)
    assert found.describe()["output"] == "inner"


@pytest.mark.parametrize(("pooling", "dim"), [("mean", 3), ("max", 3), (None, 48)])
def test_spatial_axes_are_pooled_or_flattened(write_onnx, pooling, dim):
    path = write_onnx([helper.make_node("Abs", ["x"], ["y"])])
    raw = np.abs(planes(CROPS, [127.5] * 3, [1 / 127.5] * 3))
    twin = {"mean": raw.mean((2, 3)), "max": raw.max((2, 3)), None: raw}[pooling]

    found = embedder(path, pooling=pooling)

    assert found.dim == dim
    assert np.allclose(found.embed(CROPS), unit(twin), atol=1e-6)


def test_a_graph_with_a_fixed_batch_is_fed_in_that_batch(write_onnx):
    free = embedder(write_onnx(FLATTEN)).embed(CROPS)

    for fixed in (1, 2, 8):
        found = embedder(write_onnx(FLATTEN, shape=(fixed, 3, 4, 4), name=f"{fixed}.onnx"))
        assert np.array_equal(found.embed(CROPS), free)


def test_the_batch_changes_no_vector_and_no_fingerprint(write_onnx):
    path = write_onnx(FLATTEN)
    one, three = embedder(path, batch=1), embedder(path, batch=3)

    assert np.array_equal(one.embed(CROPS), three.embed(CROPS))
    assert one.fingerprint == three.fingerprint


def test_an_open_input_size_is_taken_from_the_description(write_onnx):
    path = write_onnx(FLATTEN, shape=("n", 3, "h", "w"))

    found = embedder(path, input_size=(6, 2))

    assert found.crop_size_px == (6, 2)
    assert found.embed(np.zeros((1, 2, 6, 3), np.uint8)).shape == (1, 36)
    assert refused(path) == (
        f'{path} leaves its input size open. Say it in net.json beside it: {{"input_size": [112, 112]}}.'
    )


def test_a_row_that_is_not_finite_is_nan_throughout_and_leaves_the_others_alone(write_onnx):
    """Divides by the blue channel's sum: a crop without blue gives infinities."""
    nodes = [
        helper.make_node("Slice", ["x", "two", "three", "one"], ["blue"]),
        helper.make_node("ReduceSum", ["blue"], ["sum"], keepdims=1),
        helper.make_node("Div", ["x", "sum"], ["parts"]),
        helper.make_node("Flatten", ["parts"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.array([v], np.int64), n) for n, v in (("one", 1), ("two", 2), ("three", 3))]
    # ReduceSum over all axes but the batch.
    nodes[1] = helper.make_node("ReduceSum", ["blue", "axes"], ["sum"], keepdims=1)
    weights.append(numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"))
    path = write_onnx(nodes, weights=weights)
    crops = CROPS.copy()
    crops[2, ..., 2] = 0

    rows = embedder(path, mean=(0, 0, 0), scale=1.0).embed(crops)

    assert np.isnan(rows[2]).all()
    assert np.isfinite(rows[[0, 1, 3, 4]]).all()
    assert np.allclose(np.linalg.norm(rows[[0, 1, 3, 4]], axis=1), 1)


def test_a_row_of_zeros_is_nan(write_onnx):
    path = write_onnx([helper.make_node("Relu", ["x"], ["y"])])

    rows = embedder(path).embed(np.stack([np.zeros((4, 4, 3)), np.full((4, 4, 3), 200)]).astype(np.uint8))

    assert np.isnan(rows[0]).all()
    assert np.allclose(rows[1], 1 / np.sqrt(48))


def test_fingerprints_differ_when_the_preprocessing_differs(write_onnx):
    nodes = [helper.make_node("Abs", ["x"], ["inner"]), helper.make_node("Relu", ["inner"], ["y"])]
    path = write_onnx(nodes, shape=("n", 3, "h", "w"))
    base: dict[str, Any] = {"input_size": (4, 4)}
    variants: list[dict[str, Any]] = [
        {}, {"input_size": (4, 6)}, {"channel_order": "BGR"}, {"mean": (127.5, 127.5, 127)}, {"scale": 0.0078125},
        {"scale": (1 / 127.5, 1 / 127.5, 0.01)}, {"output": "inner"}, {"pooling": "mean"}, {"pooling": "max"},
    ]  # fmt: skip

    names = [embedder(path, **base | v).fingerprint for v in variants]

    assert len(set(names)) == len(variants)


def test_fingerprints_are_equal_when_nothing_changes_a_vector(write_onnx):
    path = write_onnx(FLATTEN)
    model = read_model(path)
    same: list[dict[str, Any]] = [
        {}, {"licence": "MIT"}, {"sha256": model.sha256}, {"dim": 48}, {"input_size": (4, 4)}, {"output": "y"},
        {"scale": (1 / 127.5,) * 3}, {"scale": 0.00784313725490196},
    ]  # fmt: skip

    assert len({embedder(path, **s).fingerprint for s in same}) == 1


def test_fingerprints_differ_when_the_weights_differ(write_onnx):
    one, other = (
        write_onnx(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            weights=[numpy_helper.from_array(np.array([v], np.float32), "w")],
            name=f"{v}.onnx",
        )
        for v in (0.5, 0.25)
    )

    assert embedder(one).fingerprint != embedder(other).fingerprint


def test_a_file_that_is_not_the_described_one_is_refused(write_onnx):
    path = write_onnx(FLATTEN)
    found = read_model(path).sha256

    assert refused(path, sha256="0" * 64) == (
        f"{path} is not the file that its JSON describes: sha256 {found[:12]}…, the JSON says 000000000000…. "
        "Fetch the file again, or correct the JSON if the change is meant."
    )


def test_a_dim_that_is_not_the_described_one_is_refused(write_onnx):
    path = write_onnx(FLATTEN)

    assert refused(path, dim=512) == (
        f'{path} gives 48 numbers a face, its JSON says dim 512. Correct "dim", or choose another "output" or "pooling".'
    )


def test_several_outputs_must_be_told_apart(write_onnx):
    path = write_onnx([*FLATTEN, helper.make_node("Abs", ["x"], ["z"])], outputs=("y", "z"))

    assert refused(path) == f'{path} has outputs y, z. Name one in its JSON: "output": "y".'
    assert embedder(path, output="z", pooling="mean").dim == 3


def test_an_unknown_tensor_is_answered_with_the_last_ones(write_onnx):
    nodes = [helper.make_node("Abs", [f"t{n}" if n else "x"], [f"t{n + 1}" if n < 6 else "y"]) for n in range(7)]
    path = write_onnx(nodes)

    assert refused(path, output="fc1") == f"{path} has no tensor 'fc1'; the last ones are t3, t4, t5, t6, y."


@pytest.mark.parametrize(
    ("shape", "found"),
    [((1, 256), "[1, 256]"), (("n", 1, 28, 28), "[0, 1, 28, 28]"), (("n", 28, 28, 3), "[0, 28, 28, 3]")],
)
def test_what_takes_no_picture_is_refused(write_onnx, shape, found):
    path = write_onnx([helper.make_node("Relu", ["x"], ["y"])], shape=shape)

    assert refused(path) == f"{path} takes no picture: one input (n, 3, height, width) is expected, found {found}."


def test_a_size_that_the_network_does_not_take_is_refused(write_onnx):
    weights = [numpy_helper.from_array(np.ones((48, 2), np.float32), "w")]
    path = write_onnx([*FLATTEN[:0], helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
                      weights=weights, shape=("n", 3, "h", "w_"))  # fmt: skip

    said = refused(path, input_size=(5, 4))

    assert said.startswith(f"{path} does not take pictures of 5x4: ")
    assert said.endswith('. Say its size in the JSON beside it: "input_size": [width, height].')
    assert embedder(path, input_size=(4, 4)).dim == 2


def test_a_network_that_mixes_the_crops_of_a_batch_is_refused(write_onnx):
    """A reshape to (1, -1) would give one row for sixteen faces."""
    shape = numpy_helper.from_array(np.array([1, -1], np.int64), "shape")
    path = write_onnx([helper.make_node("Reshape", ["x", "shape"], ["y"])], weights=[shape])

    said = refused(path)

    assert said.startswith(
        f"{path} does not take pictures of 4x4: tensor y of shape (1, 768) has no row for each of 16."
    )


def test_crops_of_another_size_are_a_bug_of_the_caller(write_onnx):
    with pytest.raises(ValueError, match="could not broadcast"):
        embedder(write_onnx(FLATTEN)).embed(np.zeros((2, 5, 4, 3), np.uint8))
