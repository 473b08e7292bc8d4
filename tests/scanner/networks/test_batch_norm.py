"""BatchNorm layers say what they see and what they remember."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scanner.networks.batch_norm import batch_norms, statistics
from scanner.networks.network import make_network
from scanner.networks.tiny import tiny_resnet, tiny_squeezenet, tiny_vgg


def images() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(5))


def test_the_first_layer_sees_what_numpy_computes() -> None:
    module = tiny_vgg()
    network = make_network("net", module, input_shape=(3, 8, 8))

    with statistics(network) as recorder:
        network(images())

    seen = recorder.layers[0]
    value = module[0](images()).detach().numpy()
    torch.testing.assert_close(seen.mean, torch.from_numpy(value.mean((0, 2, 3))))
    torch.testing.assert_close(seen.var, torch.from_numpy(value.var((0, 2, 3))))
    assert torch.equal(seen.running_mean, module[1].running_mean)
    assert torch.equal(seen.running_var, module[1].running_var)


def test_every_layer_reports_once_a_pass_in_order_and_only_inside_the_block() -> None:
    network = make_network("net", tiny_resnet(), input_shape=(3, 8, 8))
    names = [name for name, _ in batch_norms(network)]

    with statistics(network) as recorder:
        network(images())
        first = [seen.name for seen in recorder.layers]
        recorder.clear()
        network(images())
        second = [seen.name for seen in recorder.layers]
    network(images())

    assert len(names) == 7
    assert sorted(first) == sorted(names)
    assert first == second == [seen.name for seen in recorder.layers]


def test_gradients_reach_the_images() -> None:
    network = make_network("net", tiny_resnet(), input_shape=(3, 8, 8))
    inputs = images().requires_grad_()

    with statistics(network) as recorder:
        network(inputs)
    sum((seen.mean - seen.running_mean).square().sum() for seen in recorder.layers).backward()

    assert float(inputs.grad.abs().sum()) > 0


def test_networks_without_such_layers_report_nothing() -> None:
    network = make_network("net", tiny_squeezenet(), input_shape=(3, 8, 8))

    with statistics(network) as recorder:
        network(images())

    assert recorder.layers == []


def test_a_layer_that_keeps_no_statistics_is_left_out() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert batch_norms(make_network("net", module, input_shape=(3, 8, 8))) == []
