"""Blocks end where everything passes, and together they are the network, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from scanner.errors import ModelError, UsageError
from scanner.networks.batch_norm import statistics
from scanner.networks.cut import Block, cut, cut_points
from scanner.networks.network import Network, Preprocessing, make_network
from scanner.networks.resnet_cifar import ResNet, resnet20
from scanner.networks.steps import adds_a_layer, follows_on
from scanner.networks.tiny import tiny_decoder, tiny_repvgg, tiny_resnet, tiny_squeezenet, tiny_vgg


class Gated(nn.Module):
    """A convolution whose channels are weighed by a small network of their own, beside a long shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.inner = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.down, self.up, self.head = nn.Linear(6, 2), nn.Linear(2, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.before(x))
        y = self.inner(x)
        gate = torch.sigmoid(self.up(torch.relu(self.down(y.mean((2, 3)))))).view(-1, 6, 1, 1)
        return self.head(torch.relu(x + y * gate).mean((2, 3)).view(x.size(0), -1))


FACTORIES = [tiny_resnet, tiny_vgg, tiny_repvgg, tiny_squeezenet, lambda: Gated().eval()]


def image_network(factory: Callable[[], nn.Module]) -> Network:
    return make_network("net", factory(), input_shape=(3, 8, 8), preprocessing=Preprocessing((1.0, 2.0, 3.0)))


def inputs_of(network: Network, n: int = 3) -> Tensor:
    return torch.rand(n, *network.input_shape, generator=torch.Generator().manual_seed(3))


def composed(blocks: tuple[Block, ...], value: Tensor) -> Tensor:
    for block in blocks:
        assert value.shape[1:] == block.input_shape
        value = block.module(value)
        assert value.shape[1:] == block.output_shape
    return value


@pytest.fixture(params=[*FACTORIES, tiny_decoder])
def network(request: pytest.FixtureRequest) -> Network:
    if request.param is tiny_decoder:
        return make_network("decoder", tiny_decoder(), input_shape=(4,))
    return image_network(request.param)


@pytest.mark.parametrize("layers_max", [1, 2, 3, 100])
def test_found_blocks_are_the_network_bit_for_bit(network: Network, layers_max: int) -> None:
    blocks = cut(network, layers_max=layers_max)

    assert torch.equal(composed(blocks, inputs_of(network)), network(inputs_of(network)))
    assert blocks[0].input_shape == network.input_shape
    assert blocks[-1].output_shape == network.output_shape


@pytest.mark.parametrize("seed", range(5))
def test_blocks_cut_anywhere_are_the_network_bit_for_bit(network: Network, seed: int) -> None:
    points = cut_points(network)
    at = random.Random(seed).sample(points, k=random.Random(seed).randint(1, len(points)))

    blocks = cut(network, at)

    assert torch.equal(composed(blocks, inputs_of(network)), network(inputs_of(network)))
    assert {block.name for block in blocks} == {*at, points[-1]}


def test_names_are_unique_and_the_same_when_loaded_again(network: Network) -> None:
    points = cut_points(network)

    assert len(set(points)) == len(points)
    assert cut_points(network.to("cpu")) == points


def without(graph: fx.Graph, removed: fx.Node) -> bool:
    """Return whether the output is still reached from the input when one node is taken out: the slow, obvious way."""
    start = next(node for node in graph.nodes if node.op == "placeholder")
    reached, waiting = {start}, [start]
    while waiting:
        for user in waiting.pop().users:
            if user is not removed and user not in reached:
                reached.add(user)
                waiting.append(user)
    return any(node.op == "output" and node in reached for node in graph.nodes)


def before(node: fx.Node) -> set[fx.Node]:
    """Return a node and everything that it depends on."""
    return {node}.union(*(before(source) for source in node.all_input_nodes))


def test_the_places_are_those_that_the_slow_way_finds(network: Network) -> None:
    module = network.module
    expected = {
        node.name
        for node in module.graph.nodes
        if node.op not in {"placeholder", "output"}
        and not without(module.graph, node)
        and any(adds_a_layer(module, source) for source in before(node))
        and not (len(node.users) == 1 and follows_on(module, next(iter(node.users))))
    }

    ends = [
        next(n for n in block.module.graph.nodes if n.op == "output").args[0]
        for block in cut(network, cut_points(network))
    ]

    assert {end.name for end in ends} == expected


def test_a_residual_block_is_called_by_its_module_and_counts_its_layers() -> None:
    network = make_network("resnet20", resnet20(), input_shape=(3, 32, 32))

    blocks = cut(network)

    stages = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert [block.name for block in blocks] == ["relu", *stages[:-1], "mean", "linear"]
    assert [block.layers for block in blocks] == [1, *range(3, 19, 2), 19, 20]
    assert blocks[4].output_shape == (32, 16, 16)
    assert set(stages) < set(cut_points(network))


def test_fire_modules_and_pooling_end_blocks() -> None:
    assert [block.name for block in cut(image_network(tiny_squeezenet))] == ["2", "3", "4", "8"]


def test_a_chain_is_cut_after_as_many_layers_as_allowed() -> None:
    network = image_network(tiny_vgg)

    assert [(block.name, block.layers) for block in cut(network, layers_max=1)] == [
        ("3", 1),
        ("8", 2),
        ("11", 3),
        ("12", 4),
    ]
    assert [(block.name, block.layers) for block in cut(network, layers_max=3)] == [("11", 3), ("12", 4)]
    assert [(block.name, block.layers) for block in cut(network, layers_max=9)] == [("12", 4)]


def test_activation_and_normalisation_stay_with_their_layer() -> None:
    assert cut_points(image_network(tiny_vgg)) == ("2", "3", "6", "8", "11", "12")


def test_preprocessing_belongs_to_the_first_block() -> None:
    first, *others = cut(image_network(tiny_resnet))

    assert any(node.target == "preprocess" for node in first.module.graph.nodes)
    assert not any(node.target == "preprocess" for block in others for node in block.module.graph.nodes)


def test_blocks_share_the_networks_weights() -> None:
    network = image_network(tiny_resnet)
    pointers = {weight.data_ptr() for weight in network.module.parameters()}

    assert all(weight.data_ptr() in pointers for block in cut(network) for weight in block.module.parameters())


def test_a_block_leaves_the_features_that_it_is_given() -> None:
    for network in map(image_network, FACTORIES):
        value = inputs_of(network)
        for block in cut(network, cut_points(network)):
            before = value.clone()
            after = block.module(value)
            assert torch.equal(value, before)
            value = after


def test_batch_norm_layers_of_a_block_can_be_read() -> None:
    network = image_network(tiny_resnet)
    block = cut(network)[1]

    with statistics(block.module) as recorder:
        block.module(torch.rand(2, *block.input_shape))

    assert [seen.name for seen in recorder.layers] == ["layer1.0.bn1", "layer1.0.bn2"]


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list() -> None:
    with pytest.raises(
        UsageError, match=r"cannot be cut at 'layer2\.00'\. Did you mean 'layer2\.0'\?.*layer1\.0, layer2\.0"
    ):
        cut(image_network(tiny_resnet), ["layer2.00"])


def test_no_layers_at_all_is_an_error() -> None:
    with pytest.raises(ModelError, match="nothing to cut"):
        cut(make_network("net", nn.ReLU(), input_shape=(3, 8, 8)))
    with pytest.raises(UsageError, match="at least 1"):
        cut(image_network(tiny_vgg), layers_max=0)


def test_a_layer_that_is_used_twice_has_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x))

    network = make_network("net", Twice(), input_shape=(3, 8, 8))

    assert len(set(cut_points(network))) == 2
    assert torch.equal(composed(cut(network, layers_max=1), inputs_of(network)), network(inputs_of(network)))


def test_a_deep_network_is_cut_fast_and_right() -> None:
    network = make_network("deep", ResNet(9, width=4), input_shape=(3, 8, 8))

    blocks = cut(network)

    assert len(blocks) == 29
    assert blocks[-1].layers == 56
    assert torch.equal(composed(blocks, inputs_of(network)), network(inputs_of(network)))
