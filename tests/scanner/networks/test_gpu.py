"""Networks on a CUDA device give what they give on the CPU.  Imports torch, numpy and pytest alone: see `make gpu`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from scanner.networks.batch_norm import statistics
from scanner.networks.cut import cut, cut_points
from scanner.networks.device import torch_device
from scanner.networks.network import Network, Preprocessing, make_network
from scanner.networks.resnet_cifar import resnet20
from scanner.networks.tiny import tiny_decoder, tiny_repvgg, tiny_resnet, tiny_squeezenet, tiny_vgg

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
FACTORIES = [tiny_resnet, tiny_vgg, tiny_repvgg, tiny_squeezenet, tiny_decoder, resnet20]


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def made(factory: Callable[[], nn.Module]) -> Network:
    if factory is tiny_decoder:
        return make_network("decoder", factory(), input_shape=(4,))
    torch.manual_seed(0)
    side = 32 if factory is resnet20 else 8
    return make_network("net", factory(), input_shape=(3, side, side), preprocessing=Preprocessing((9.0, 8.0, 7.0)))


def inputs_of(network: Network) -> Tensor:
    return torch.rand(16, *network.input_shape, generator=torch.Generator().manual_seed(4))


def test_the_device_is_found_and_named() -> None:
    device, why = torch_device("auto")

    assert device.type == "cuda"
    assert torch_device("cuda")[0] == device
    assert torch.cuda.get_device_name(0) in why


@pytest.mark.parametrize("factory", FACTORIES)
def test_answers_are_those_of_the_cpu(factory: Callable[[], nn.Module]) -> None:
    here = made(factory)
    there = here.to("cuda")

    assert there.device.type == "cuda"
    assert here.device.type == "cpu"
    torch.testing.assert_close(there(inputs_of(here).cuda()).cpu(), here(inputs_of(here)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factory", FACTORIES)
def test_blocks_on_the_device_are_the_network(factory: Callable[[], nn.Module]) -> None:
    network = made(factory).to("cuda")
    value = inputs_of(network).cuda()
    whole = network(value)

    assert cut_points(network) == cut_points(made(factory))
    for block in cut(network):
        value = block.module(value)
    torch.testing.assert_close(value, whole, rtol=1e-5, atol=1e-5)


def test_gradients_and_statistics_are_those_of_the_cpu() -> None:
    found = []
    for network in (made(resnet20), made(resnet20).to("cuda")):
        images = inputs_of(network).to(network.device).requires_grad_()
        with statistics(network) as recorder:
            network(images)
        sum((seen.mean - seen.running_mean).square().sum() for seen in recorder.layers).backward()
        found.append((images.grad.cpu(), [seen.var.cpu() for seen in recorder.layers]))

    (grad, variances), (grad_there, variances_there) = found
    torch.testing.assert_close(grad_there, grad, rtol=1e-3, atol=float(grad.abs().max()) * 1e-3)
    torch.testing.assert_close(variances_there, variances, rtol=1e-3, atol=1e-4)
