"""A module becomes one frozen graph, with what is done to pixels inside."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scanner.errors import ModelError
from scanner.networks.network import Network, Preprocessing, make_network
from scanner.networks.tiny import tiny_decoder, tiny_repvgg, tiny_resnet, tiny_squeezenet, tiny_vgg

SHAPE = (3, 8, 8)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(5))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Numbers(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((1, 2, 3))


class Whole(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum((0, 2, 3))


@pytest.mark.parametrize("factory", [tiny_resnet, tiny_vgg, tiny_repvgg, tiny_squeezenet])
def test_the_graph_answers_as_the_module_does(factory: Callable[[], nn.Module]) -> None:
    network = make_network("net", factory(), input_shape=SHAPE)

    assert torch.equal(network(images()), factory()(images()))
    assert network.output_shape == (10,)


def test_a_latent_network_makes_images() -> None:
    network = make_network("decoder", tiny_decoder(), input_shape=(4,))

    assert network(torch.zeros(2, 4)).shape == (2, 3, 8, 8)
    assert network.output_shape == (3, 8, 8)


def test_preprocessing_is_the_first_step_and_is_what_the_description_says() -> None:
    rule = Preprocessing(mean=(104.0, 117.0, 123.0), scale=(1.0, 0.5, 2.0), channel_order="BGR")
    network = make_network("net", nn.Identity(), input_shape=SHAPE, preprocessing=rule)

    pixels = images().numpy() * 255.0
    expected = (pixels[:, ::-1] - np.array(rule.mean).reshape(3, 1, 1)) * np.array(rule.scale).reshape(3, 1, 1)

    first = next(node for node in network.module.graph.nodes if node.op != "placeholder")
    assert first.target == "preprocess"
    np.testing.assert_allclose(network(images()).numpy(), expected, rtol=1e-5, atol=1e-4)


def test_a_network_with_a_part_called_preprocess_keeps_it() -> None:
    module = nn.Sequential(OrderedDict(preprocess=nn.Conv2d(3, 2, 1), head=nn.Conv2d(2, 2, 1)))

    network = make_network("net", module, input_shape=SHAPE, preprocessing=Preprocessing())

    torch.testing.assert_close(network(images()), module(images()))


def test_weights_get_no_gradients_and_inputs_do() -> None:
    network = make_network("net", tiny_vgg(), input_shape=SHAPE, preprocessing=Preprocessing())
    inputs = images().requires_grad_()

    network(inputs).sum().backward()

    assert inputs.grad is not None
    assert float(inputs.grad.abs().sum()) > 0
    assert not any(weight.requires_grad for weight in network.module.parameters())
    assert not any(module.training for module in network.module.modules())


def test_the_module_that_was_given_is_left_as_it_was() -> None:
    module = tiny_vgg().train()

    make_network("net", module, input_shape=SHAPE)

    assert module.training
    assert all(weight.requires_grad for weight in module.parameters())
    assert any(getattr(layer, "inplace", False) for layer in module.modules())


def test_a_copy_elsewhere_leaves_the_original() -> None:
    network = make_network("net", tiny_resnet(), input_shape=SHAPE)

    copy = network.to("cpu")

    assert isinstance(copy, Network)
    assert copy.module is not network.module
    assert copy.fingerprint == network.fingerprint
    assert torch.equal(copy(images()), network(images()))


def test_the_fingerprint_is_of_weights_and_steps() -> None:
    def fingerprint(seed: int, rule: Preprocessing | None = None) -> str:
        return make_network("net", tiny_resnet(seed), input_shape=SHAPE, preprocessing=rule).fingerprint

    assert fingerprint(1) == fingerprint(1)
    assert len({fingerprint(1), fingerprint(2), fingerprint(1, Preprocessing())}) == 3


def test_the_fingerprint_is_of_settings_that_are_no_weights() -> None:
    found = set()
    for settings in ({"stride": 1}, {"stride": 2}, {"padding": 1}, {"dilation": 2}):
        layer = nn.Conv2d(3, 4, 3, **settings)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        found.add(make_network("net", layer, input_shape=SHAPE).fingerprint)

    assert len(found) == 4


def test_the_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from scanner.networks.network import make_network; from scanner.networks.tiny import tiny_repvgg; "
        "print(make_network('net', tiny_repvgg(), input_shape=(3, 8, 8)).fingerprint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == make_network("net", tiny_repvgg(), input_shape=SHAPE).fingerprint


class Adding(nn.Module):
    """fx does not see that `+=` overwrites: the last line reads another x there."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        y += 1.0
        return y + 2.0 * x


class Choosy(nn.Module):
    """Refuses all sizes but 16 x 16; a tracer, which passes no tensor, never gets to see that."""

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor):
            assert x.shape[2:] == (16, 16), "16 x 16 pixels are needed"
        return x


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (Choosy(), r"does not run on an input of the shape \(2, 3, 8, 8\): 16 x 16 pixels are needed"),
        (Adding(), "answers otherwise than its own code"),
        (Branching(), "cannot be traced"),
        (Two(), "2 inputs"),
        (Numbers(), "a number for each input"),
        (Whole(), "2 rows"),
        (nn.Conv2d(4, 4, 3), "does not run on an input of the shape"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(module: nn.Module, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        make_network("net", module, input_shape=SHAPE)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"cannot be taken apart into a graph.*torch\.export"):
        make_network("net", torch.jit.script(nn.Linear(2, 2)), input_shape=(2,))


def test_the_number_of_classes_is_checked() -> None:
    with pytest.raises(ModelError, match="1000 classes"):
        make_network("net", tiny_resnet(), input_shape=SHAPE, classes=1000)


def test_preprocessing_of_latents_is_refused() -> None:
    with pytest.raises(ModelError, match="for images"):
        make_network("net", tiny_decoder(), input_shape=(4,), preprocessing=Preprocessing())
