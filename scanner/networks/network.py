"""A torch network as one graph, with its preprocessing inside, frozen.

Whatever a network came from (a Python class and its weights, an ONNX file, a torch.export archive), here it is an
`fx.GraphModule` from images01 (float32 (n, 3, h, w), RGB, 0..1) or latents (float32 (n, z)) to one tensor.  Weights
get no gradients; inputs do.

    network = make_network("resnet20", resnet20(), input_shape=(3, 32, 32), preprocessing=Preprocessing())
    logits = network.module(images01)
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from scanner.errors import ModelError
from scanner.networks.limits import check_input_shape, steps_limited
from scanner.networks.pure import make_pure

PREPROCESS = "preprocess"
"""Name of the graph's first node, where images are what goes in."""
FINGERPRINT_DIGITS = 16
_PROBES = 2
_IMAGE_AXES = 3


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How images01 become what a network eats: `(p - mean[c]) * scale[c]` with p in 0..255, c in `channel_order`."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)
    channel_order: str = "RGB"


class Preprocess(nn.Module):
    """`Preprocessing` as a layer: float32 (n, 3, h, w) images01 to the same shape."""

    mean: Tensor
    scale: Tensor

    def __init__(self, rule: Preprocessing) -> None:
        super().__init__()
        self.swap = rule.channel_order == "BGR"
        self.register_buffer("mean", torch.tensor(rule.mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(rule.scale, dtype=torch.float32).view(3, 1, 1))

    def forward(self, images01: Tensor) -> Tensor:
        """Return the network's input."""
        pixels = images01.flip(1) if self.swap else images01
        return (pixels * 255.0 - self.mean) * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A torch network as one graph, in eval mode, weights frozen.

    Attributes:
        name: what messages and reports call it.
        module: (n, *input_shape) float32 to (n, *output_shape) float32; its first node is the preprocessing, if any.
        input_shape: (3, h, w) for images01, or (z,) for latents.
        output_shape: without the batch's axis.
        fingerprint: sha256 of weights and description, 16 hex digits.
        classes: size of the logits if it is a classifier, else None.
    """

    name: str
    module: fx.GraphModule = field(repr=False)
    input_shape: tuple[int, ...]
    fingerprint: str
    classes: int | None = None
    output_shape: tuple[int, ...] = ()

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the network's output: float32 (n, *output_shape)."""
        result: Tensor = self.module(inputs)
        return result

    def to(self, device: torch.device | str) -> Network:
        """Return a copy on `device`; this one stays where it is."""
        return dataclasses.replace(self, module=copy.deepcopy(self.module).to(device))

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next((t.device for t in (*self.module.parameters(), *self.module.buffers())), torch.device("cpu"))


def make_network(
    name: str,
    module: nn.Module,
    *,
    input_shape: tuple[int, ...],
    preprocessing: Preprocessing | None = None,
    fingerprint: str | None = None,
    classes: int | None = None,
) -> Network:
    """Make a Network of a module.

    Args:
        name: for messages.
        module: any module that fx can trace, or a graph already; it is copied.
        input_shape: (3, h, w) or (z,).
        preprocessing: for images; None leaves out the step (a network that eats images01 or latents).
        fingerprint: of the file it came from; None hashes the weights and the graph.
        classes: if it is a classifier.

    Raises:
        ModelError: it cannot be traced, fails on its own input shape, answers with anything but one float tensor with a
            row for each input, or not with `classes` numbers.
    """
    if preprocessing is not None and len(input_shape) != _IMAGE_AXES:
        raise ModelError(f"{name}: preprocessing is for images, but the input has the shape {input_shape}.")
    check_input_shape(input_shape, name)
    graph = trace(copy.deepcopy(module), name)
    _compare(graph, module, input_shape, name)
    if preprocessing is not None:
        _put_first(graph, Preprocess(preprocessing))
    graph.eval().requires_grad_(requires_grad=False)
    output_shape = _try_once(graph, input_shape, name)
    if classes is not None and output_shape != (classes,):
        raise ModelError(
            f"{name} is said to tell {classes} classes apart, but its output has the shape {output_shape}. "
            "Correct `classes` in its description, or leave it out if it is no classifier."
        )
    return Network(name, graph, tuple(input_shape), fingerprint or hash_module(graph), classes, output_shape)


def trace(module: nn.Module, name: str) -> fx.GraphModule:
    """Return the module as a graph with one input and one output.

    Raises:
        ModelError: TorchScript (a closed box), or code whose path depends on the data.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"{name} is TorchScript, which runs but cannot be taken apart into a graph. "
            "Export it with torch.export (.pt2) or to ONNX, or give its weights as .safetensors with a factory."
        )
    try:
        graph = module if isinstance(module, fx.GraphModule) else fx.symbolic_trace(module.eval())
    except Exception as error:  # whatever a foreign forward() raises on a proxy
        raise ModelError(
            f"{name} cannot be traced to a graph: {error}. Its forward() must not branch on tensor values; "
            "or export it with torch.export (.pt2) or to ONNX."
        ) from error
    inputs = [node for node in graph.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        raise ModelError(f"{name} has {len(inputs)} inputs; exactly one (images or latents) is supported.")
    make_pure(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _compare(graph: fx.GraphModule, module: nn.Module, input_shape: tuple[int, ...], name: str) -> None:
    """Refuse a graph that answers otherwise than the code that it was traced from, which torch.fx does not notice."""
    if isinstance(module, fx.GraphModule):
        return
    probe = torch.rand(_PROBES, *input_shape, generator=torch.Generator().manual_seed(1))
    expected, got = (_run(net, probe.clone(), name) for net in (copy.deepcopy(module).eval(), graph.eval()))
    if isinstance(expected, Tensor) and not _alike(expected, got):
        raise ModelError(
            f"{name}, traced to a graph, answers otherwise than its own code. Its forward() probably overwrites a tensor "
            "that it reads again (x += ...), or draws random numbers. Write it without, or export it to ONNX."
        )


def _alike(expected: Tensor, got: Any) -> bool:
    same = isinstance(got, Tensor) and got.shape == expected.shape
    return same and torch.allclose(expected, got, rtol=1e-4, atol=1e-5, equal_nan=True)


def _put_first(graph: fx.GraphModule, preprocess: nn.Module) -> None:
    path = PREPROCESS
    while hasattr(graph, path):  # the network has a part of that name
        path = f"{path}_images"
    graph.add_submodule(path, preprocess)
    start = next(node for node in graph.graph.nodes if node.op == "placeholder")
    with graph.graph.inserting_after(start):
        node = graph.graph.call_module(path, (start,))
    start.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    graph.recompile()


def _try_once(graph: fx.GraphModule, input_shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Return the output's shape without the batch's axis, after one run on grey images or zero latents."""
    probe = torch.full((_PROBES, *input_shape), 0.5 if len(input_shape) == _IMAGE_AXES else 0.0)
    output = _run(graph, probe, name)
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.shape[:1] != (_PROBES,):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"{name} must answer {_PROBES} inputs with one float tensor of {_PROBES} rows; it gave {got}. "
            "Export the network alone, with a dynamic batch axis and a single output."
        )
    if output.ndim == 1:
        raise ModelError(f"{name} answers with a number for each input; features, logits or images are needed.")
    return tuple(output.shape[1:])


def _run(module: nn.Module, probe: Tensor, name: str) -> Any:
    """Return what a module answers; raises ModelError for what it raises, which tracing may have dropped from a graph."""
    try:
        with torch.no_grad(), steps_limited():
            return module(probe)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError) as error:
        raise ModelError(
            f"{name} does not run on an input of the shape {tuple(probe.shape)}: {error}. "
            "Check the size under [input] in its description."
        ) from error


def hash_module(graph: fx.GraphModule) -> str:
    """Return 16 hex digits of sha256 over a graph's steps, its layers' settings, weights and buffers."""
    digest = hashlib.sha256()
    for node in graph.graph.nodes:
        step = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        settings = str(graph.get_submodule(str(node.target))) if node.op == "call_module" else ""
        digest.update(f"{node.name} {node.op} {step} {node.args} {node.kwargs} {settings}\n".encode())
    for key, tensor in sorted(graph.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:FINGERPRINT_DIGITS]


def hash_description(sha256: str, description: dict[str, Any]) -> str:
    """Return 16 hex digits of sha256 over a weights file's hash and what says how to feed it."""
    text = json.dumps([sha256, description], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]
