"""In-place steps become plain ones: nobody's tensor changes, and the answer stays the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from scanner.networks.network import make_network


class Overwriting(nn.Module):
    """Overwrites its input in the way that `how` says, and reads the overwritten tensor again afterwards."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.how == "layer":
            y = self.relu(x)
        elif self.how == "function":
            y = functional.relu(x, inplace=True)
        elif self.how == "method":
            y = x.relu_()
        elif self.how == "aten":
            y = torch.ops.aten.relu_.default(x)
        return y + 2.0 * x


@pytest.mark.parametrize("how", ["layer", "function", "method", "aten"])
def test_the_input_stays_and_later_readers_see_the_result(how: str) -> None:
    network = make_network("net", Overwriting(how), input_shape=(3, 2, 2))
    given = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    before = given.clone()

    answer = network(given)

    assert torch.equal(given, before)
    assert torch.equal(answer, Overwriting(how)(before.clone()))
