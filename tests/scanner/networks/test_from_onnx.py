"""ONNX in torch: the same numbers as onnxruntime, with gradients, and a sentence for what has no translation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from scanner.errors import ModelError
from scanner.networks.cut import cut
from scanner.networks.from_onnx import module_from_onnx, read_input_shape
from scanner.networks.network import make_network
from scanner.networks.onnx_arrays import max_of, min_of

ROOT = Path(__file__).resolve().parents[3]
WriteOnnx = Callable[..., Path]
RNG = np.random.default_rng(7)


def drawn(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def weight(name: str, array: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def ints(name: str, *numbers: int) -> TensorProto:
    return weight(name, np.array(numbers, np.int64))


def node(kind: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(kind, ["x", *inputs], ["y"], **attributes)


def agree(path: Path, pictures: NDArray[np.float32]) -> torch.Tensor:
    """Check that torch and onnxruntime agree on a batch, and on its first image alone; return torch's answer."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    module = module_from_onnx(path, input_shape=pictures.shape[1:])
    for batch in (pictures, pictures[:1]):
        (expected,) = session.run(None, {"x": batch})
        answer = module(torch.from_numpy(batch))
        assert answer.shape == expected.shape
        np.testing.assert_allclose(answer.numpy(), expected, rtol=1e-4, atol=1e-5)
    return answer


STEPS: list[tuple[str, Any, Sequence[TensorProto]]] = [
    ("conv", node("Conv", "w", "b", pads=[1, 1, 1, 1], strides=[2, 2]), [weight("w", drawn(4, 3, 3, 3)), weight("b", drawn(4))]),
    ("conv grouped", node("Conv", "w", group=3, dilations=[2, 2]), [weight("w", drawn(6, 1, 2, 2))]),
    ("conv one-sided", node("Conv", "w", pads=[0, 1, 1, 0]), [weight("w", drawn(4, 3, 2, 2))]),
    ("conv same upper", node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]), [weight("w", drawn(4, 3, 3, 3))]),
    ("conv same lower", node("Conv", "w", auto_pad="SAME_LOWER"), [weight("w", drawn(4, 3, 2, 2))]),
    ("transpose conv", node("ConvTranspose", "w", "b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
     [weight("w", drawn(3, 4, 3, 3)), weight("b", drawn(4))]),
    ("max pool", node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1), []),
    ("max pool padded", node("MaxPool", kernel_shape=[2, 2], pads=[1, 0, 1, 1], strides=[1, 1]), []),
    ("average pool", node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1]), []),
    ("average pool counted", node("AveragePool", kernel_shape=[2, 2], pads=[1, 0, 0, 1], strides=[1, 1], count_include_pad=1), []),
    ("global average", node("GlobalAveragePool"), []),
    ("global max", node("GlobalMaxPool"), []),
    ("batch norm", node("BatchNormalization", "s", "b", "m", "v", epsilon=1e-3),
     [weight("s", drawn(3)), weight("b", drawn(3)), weight("m", drawn(3)), weight("v", np.abs(drawn(3)))]),
    ("instance norm", node("InstanceNormalization", "s", "b"), [weight("s", drawn(3)), weight("b", drawn(3))]),
    ("prelu by channel", node("PRelu", "s"), [weight("s", drawn(3, 1, 1))]),
    ("prelu by place", node("PRelu", "s"), [weight("s", drawn(3, 4, 4))]),
    ("prelu one slope", node("PRelu", "s"), [weight("s", drawn(1))]),
    ("clip", node("Clip", "l", "h"), [weight("l", np.float32(-0.3)), weight("h", np.float32(0.4))]),
    ("max", node("Max", "l"), [weight("l", drawn(1, 3, 1, 1))]),
    ("min", node("Min", "l"), [weight("l", np.float32(0.2))]),
    ("max of three", node("Max", "l", "m"), [weight("l", np.float32([0.1])), weight("m", drawn(3, 1, 1))]),
    ("max of more axes", node("Max", "l"), [weight("l", np.float32([[[[[0.1]]]]]))]),
    ("elu", node("Elu", alpha=0.7), []),
    ("leaky", node("LeakyRelu", alpha=0.2), []),
    ("hard sigmoid", node("HardSigmoid", alpha=0.3, beta=0.4), []),
    ("softplus", node("Softplus"), []),
    ("softmax", node("Softmax", axis=1), []),
    ("divide", node("Div", "d"), [weight("d", np.float32(3.0))]),
    ("power", node("Pow", "d"), [weight("d", np.float32(2.0))]),
    ("sub from shape", node("Sub", "d"), [weight("d", drawn(4))]),
    ("reduce mean", node("ReduceMean", axes=[2, 3], keepdims=0), []),
    ("reduce max", node("ReduceMax", axes=[-1]), []),
    ("reduce l2", node("ReduceL2", axes=[1]), []),
    ("flatten", node("Flatten"), []),
    ("transpose", node("Transpose", perm=[0, 2, 3, 1]), []),
    ("reshape", node("Reshape", "s"), [ints("s", 0, -1, 2)]),
    ("reshape named batch", node("Reshape", "s"), [ints("s", -1, 48)]),
    ("unsqueeze", node("Unsqueeze", "a"), [ints("a", 1, -1)]),
    ("slice", node("Slice", "s", "e", "a", "t"), [ints("s", 1, -1), ints("e", 9, -9), ints("a", 2, 3), ints("t", 2, -1)]),
    ("gather", node("Gather", "i", axis=1), [ints("i", 2, -3, 1)]),
    ("gather one", node("Gather", "i", axis=2), [weight("i", np.int64(1))]),
    ("pad", node("Pad", "p", "v"), [ints("p", 0, 0, 1, 0, 0, 1, 2, 1), weight("v", np.float32(0.5))]),
    ("pad channels", node("Pad", "p"), [ints("p", 0, 2, 0, 0, 0, 1, 0, 0)]),
    ("pad reflect", node("Pad", "p", mode="reflect"), [ints("p", 0, 0, 1, 1, 0, 0, 1, 1)]),
    ("expand", node("Expand", "s"), [ints("s", 1, 1, 1, 1)]),
    ("cast", node("Cast", to=TensorProto.FLOAT), []),
    ("erf", node("Erf"), []),
    ("identity", node("Identity"), []),
    ("matmul", node("MatMul", "w"), [weight("w", drawn(4, 5))]),
    *[
        (f"resize {mode} {rule} {rounding} {factors}",
         node("Resize", "", "f", mode=mode, coordinate_transformation_mode=rule, nearest_mode=rounding),
         [weight("f", np.array([1, 1, *factors], np.float32))])
        for mode in ("nearest", "linear")
        for rule in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for rounding in (("floor", "round_prefer_floor", "round_prefer_ceil", "ceil") if mode == "nearest" else ("floor",))
        for factors in ((2.0, 2.0), (1.5, 0.75))
    ],
]  # fmt: skip


@pytest.mark.parametrize(("step", "weights"), [(s, w) for _, s, w in STEPS], ids=[name for name, _, _ in STEPS])
def test_a_step_gives_what_onnxruntime_gives(write_onnx: WriteOnnx, step: Any, weights: Sequence[TensorProto]) -> None:
    agree(write_onnx([step], weights=weights), drawn(3, 3, 4, 4))


def test_a_linear_network_of_latents(write_onnx: WriteOnnx) -> None:
    weights = [weight("w", drawn(4, 6)), weight("b", drawn(6)), weight("w2", drawn(6, 12)), ints("s", -1, 3, 2, 2)]
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["h", "w2"], ["f"]),
        helper.make_node("Reshape", ["f", "s"], ["y"]),
    ]

    answer = agree(write_onnx(nodes, shape=("n", 4), weights=weights), drawn(3, 4))

    assert answer.shape[1:] == (3, 2, 2)


def test_sizes_that_are_worked_out_in_the_graph_are_worked_out_once(write_onnx: WriteOnnx) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axis"], ["n1"]),
        helper.make_node("Concat", ["n1", "rest"], ["sizes"], axis=0),
        helper.make_node("Reshape", ["x", "sizes"], ["y"]),
    ]
    weights = [weight("zero", np.int64(0)), ints("axis", 0), ints("rest", -1, 8)]
    path = write_onnx(nodes, weights=weights)

    agree(path, drawn(3, 3, 4, 4))

    steps = [n.target for n in module_from_onnx(path).graph.nodes if n.op.startswith("call")]
    assert steps == [torch.reshape]


def test_split_and_join(write_onnx: WriteOnnx) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Sigmoid", ["a"], ["c"]),
        helper.make_node("Concat", ["c", "b", "b"], ["y"], axis=1),
    ]
    agree(write_onnx(nodes, weights=[ints("sizes", 2, 1)]), drawn(2, 3, 4, 4))


def small(write_onnx: WriteOnnx) -> Path:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["/stem/conv/Conv_output_0"], name="/stem/conv/Conv"),
        helper.make_node(
            "BatchNormalization",
            ["/stem/conv/Conv_output_0", "s", "b", "m", "v"],
            ["n"],
            name="/stem/bn/BatchNormalization",
        ),
        helper.make_node("Max", ["n", "low"], ["l"], name="/stem/Max"),
        helper.make_node("Min", ["l", "high"], ["c"], name="/stem/Min"),
        helper.make_node("PRelu", ["c", "p"], ["r"], name="/act/PRelu"),
        helper.make_node("Flatten", ["r"], ["f"], name="/Flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["y"], name="/head/Gemm"),
    ]
    weights = [
        weight("w", drawn(5, 3, 3, 3)), weight("s", drawn(5)), weight("b", drawn(5)), weight("m", drawn(5)),
        weight("v", np.abs(drawn(5))), weight("low", np.float32(-0.5)), weight("high", np.float32(6.0)),
        weight("p", drawn(5, 1, 1)), weight("w2", drawn(20, 7)),
    ]  # fmt: skip
    return write_onnx(nodes, weights=weights)


def test_layers_are_torch_layers_with_the_exporters_names(write_onnx: WriteOnnx) -> None:
    path = small(write_onnx)
    agree(path, drawn(3, 3, 4, 4))

    network = make_network("small", module_from_onnx(path), input_shape=(3, 4, 4))

    assert {type(layer) for _, layer in network.module.named_modules()} >= {
        nn.Conv2d,
        nn.BatchNorm2d,
        nn.PReLU,
        nn.Linear,
    }
    assert [(block.name, block.layers) for block in cut(network, layers_max=1)] == [("Flatten", 1), ("head", 2)]


def test_gradients_are_those_of_finite_differences(write_onnx: WriteOnnx) -> None:
    module = module_from_onnx(small(write_onnx)).double()
    pictures = torch.from_numpy(drawn(2, 3, 4, 4)).double().requires_grad_()

    assert torch.autograd.gradcheck(module, (pictures,), eps=1e-6, atol=1e-6)


def test_clips_written_as_max_and_min_are_one_step_with_the_same_bits_and_gradients(write_onnx: WriteOnnx) -> None:
    bounds = [weight("low", np.float32(-0.4)), weight("high", np.float32([0.5]))]
    nodes = [helper.make_node("Max", ["x", "low"], ["l"]), helper.make_node("Min", ["l", "high"], ["y"])]
    module = module_from_onnx(write_onnx(nodes, weights=bounds))
    one, two = (
        torch.from_numpy(values).requires_grad_()
        for values in [np.linspace(-1, 1, 96).astype(np.float32).reshape(2, 3, 4, 4)] * 2
    )
    with torch.no_grad():
        one.flatten()[:2], two.flatten()[:2] = torch.tensor([-0.4, 0.5]), torch.tensor([-0.4, 0.5])  # on the bounds

    clipped, slow = module(one), min_of(max_of(two, torch.tensor(-0.4)), torch.tensor(0.5))
    clipped.square().sum().backward()
    slow.square().sum().backward()

    assert [step.target for step in module.graph.nodes if step.op == "call_function"] == [torch.clamp, torch.clamp]
    assert torch.equal(clipped, slow)
    assert one.grad is not None
    assert two.grad is not None
    assert torch.equal(one.grad, two.grad)


def test_layers_of_one_name_or_inside_each_other_do_not_meet(write_onnx: WriteOnnx) -> None:
    kernels = [weight(f"w{i}", drawn(3, 3, 1, 1)) for i in range(4)]
    names = ["a", "a:", "a/b", "a/b:"]
    outs = ["x", "h0", "h1", "h2", "y"]
    nodes = [helper.make_node("Conv", [outs[i], f"w{i}"], [outs[i + 1]], name=name) for i, name in enumerate(names)]
    path = write_onnx(nodes, weights=kernels)

    agree(path, drawn(2, 3, 4, 4))

    assert sum(isinstance(layer, nn.Conv2d) for layer in module_from_onnx(path).modules()) == 4


def test_an_inner_tensor_can_be_the_output(write_onnx: WriteOnnx) -> None:
    module = module_from_onnx(small(write_onnx), output="r")

    assert module(torch.zeros(2, 3, 4, 4)).shape == (2, 5, 2, 2)
    assert not any(isinstance(layer, nn.Linear) for layer in module.modules())


def test_every_operation_without_a_translation_is_named(write_onnx: WriteOnnx) -> None:
    nodes = [
        helper.make_node("NonMaxSuppression", ["x", "x"], ["a"]),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("LSTM", ["b", "a"], ["c"]),
        helper.make_node("Magic", ["c"], ["y"], domain="com.example"),
    ]
    with pytest.raises(ModelError, match=r"LSTM, Magic, NonMaxSuppression\. Known are Abs, .*torch\.export"):
        module_from_onnx(write_onnx(nodes))


@pytest.mark.parametrize(
    ("nodes", "weights", "says"),
    [
        ([node("Transpose", perm=[1, 0, 2, 3])], [], "moves the batch's axis"),
        ([node("ReduceMean", axes=[0, 2])], [], "across the batch"),
        ([node("Reshape", "s")], [ints("s", 3, -1)], "batch"),
        ([node("Conv", "x")], [], "weight depends on the input"),
        ([node("Conv", "w")], [weight("w", drawn(4, 5, 3, 3))], "does not fit its inputs"),
        ([node("Resize", "", "f", mode="cubic")], [weight("f", np.array([1, 1, 2, 2], np.float32))], "'cubic'"),
        ([node("Add", "nowhere")], [], "comes from nowhere"),
        ([helper.make_node("ConstantOfShape", ["s"], ["y"])], [ints("s", 10**6, 10**6)], "would fill"),
    ],
)
def test_what_cannot_be_translated_is_said_with_the_node(
    write_onnx: WriteOnnx, nodes: Sequence[Any], weights: Sequence[TensorProto], says: str
) -> None:
    with pytest.raises(ModelError, match=rf"net\.onnx: {nodes[0].op_type} 'y' .*{says}"):
        module_from_onnx(write_onnx(nodes, weights=weights))


def test_weights_in_other_files_are_refused(write_onnx: WriteOnnx) -> None:
    outside = weight("w", drawn(4))
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")

    with pytest.raises(ModelError, match="keeps its weights in other files"):
        module_from_onnx(write_onnx([node("Add", "w")], weights=[outside]))


def test_files_that_are_no_network_are_refused(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="is no ONNX"):
        module_from_onnx(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match="cannot be read"):
        module_from_onnx(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="2 outputs"):
        module_from_onnx(write_onnx([node("Relu"), helper.make_node("Abs", ["x"], ["z"])], outputs=("y", "z")))
    with pytest.raises(ModelError, match="no tensor 'q'"):
        module_from_onnx(write_onnx([node("Relu")]), output="q")
    with pytest.raises(ModelError, match="does not depend on the input"):
        module_from_onnx(write_onnx([helper.make_node("Relu", ["w"], ["y"])], weights=[weight("w", drawn(3))]))


def test_the_input_size_is_read_or_asked_for(write_onnx: WriteOnnx) -> None:
    assert read_input_shape(write_onnx([node("Relu")])) == (3, 4, 4)
    with pytest.raises(ModelError, match="leaves the size of its input 'x' open"):
        module_from_onnx(write_onnx([node("Relu")], shape=("n", 3, "h", "w")))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar-resnet20", (3, 32, 32)),
        ("face-reid-0095", (3, 112, 112)),
        ("gan36", (256,)),
        ("mobileface-v2", (3, 112, 112)),
        ("mobilefacenet", (3, 112, 112)),
        ("squeezenet-imagenet", (3, 227, 227)),
        ("vae-celeba-decoder", (10,)),
    ],
)
def test_the_real_networks_answer_as_in_onnxruntime(real: Path, name: str, shape: tuple[int, ...]) -> None:
    check_real(real / "models" / f"{name}.onnx", shape)


def test_the_drawn_recogniser_answers_as_in_onnxruntime() -> None:
    check_real(ROOT / "scanner" / "world" / "models" / "drawn-face-128.onnx", (3, 112, 112))


def check_real(path: Path, shape: tuple[int, ...]) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch = np.random.default_rng(1).uniform(-1, 1, (3, *shape)).astype(np.float32)
    (expected,) = session.run(None, {session.get_inputs()[0].name: batch})

    network = make_network(path.stem, module_from_onnx(path), input_shape=shape)

    answer = network(torch.from_numpy(batch))
    error = float((answer - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())
    assert error < 1e-4
    value = torch.from_numpy(batch)
    for block in cut(network):
        value = block.module(value)
    assert torch.equal(value, answer)
