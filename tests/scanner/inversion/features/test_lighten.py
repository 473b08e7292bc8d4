"""A lighter network computes the same bits and the same gradients."""

from __future__ import annotations

import torch
from torch import fx, nn

from scanner.inversion.features.lighten import lighten
from scanner.networks.cut import Block
from scanner.networks.onnx_arrays import max_of, min_of


def clipped_block() -> Block:
    """Return a convolution clipped the way converted ONNX files do, then a maximum of two tensors, which must stay."""
    root = nn.Module()
    root.conv, root.other = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    root.register_buffer("low", torch.tensor(0.0))
    root.register_buffer("high", torch.tensor([0.4]))
    graph = fx.Graph()
    x = graph.call_module("conv", (graph.placeholder("x"),))
    x = graph.call_function(max_of, (x, graph.get_attr("low")))
    x = graph.call_function(min_of, (x, graph.get_attr("high")))
    graph.output(graph.call_function(max_of, (x, graph.call_module("other", (x,)))))
    return Block("end", fx.GraphModule(root, graph), (3, 6, 6), (4, 6, 6), 2)


def test_same_bits_same_gradients_fewer_steps() -> None:
    torch.manual_seed(0)
    block = clipped_block()
    before = block.module.code
    light = lighten(block)
    one, two = (torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    heavy, cheap = block.module(one), light.module(two)
    heavy.square().sum().backward()
    cheap.square().sum().backward()

    assert torch.equal(heavy, cheap)
    assert one.grad is not None
    assert two.grad is not None
    torch.testing.assert_close(one.grad, two.grad)
    targets = [node.target for node in light.module.graph.nodes if node.op == "call_function"]
    assert targets.count(torch.clamp) == 2
    assert targets.count(max_of) == 1
    assert block.module.code == before
