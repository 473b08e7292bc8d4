"""The device that was asked for, or a sentence."""

from __future__ import annotations

import pytest
import torch

from scanner.errors import ModelError, UsageError
from scanner.networks.device import torch_device


def test_the_cpu_is_always_there() -> None:
    assert torch_device("cpu") == (torch.device("cpu"), "cpu: asked for")


def test_cuda_asked_for_and_absent_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ModelError, match="pass --device cpu") as caught:
        torch_device("cuda")

    assert caught.value.exit_code == 2


def test_auto_says_why_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    device, why = torch_device("auto")

    assert device == torch.device("cpu")
    assert why.startswith("auto: this torch ")


def test_auto_takes_cuda_where_it_is_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Card 1")

    assert torch_device("auto") == (torch.device("cuda"), "auto: Card 1")


def test_another_word_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="auto, cpu, cuda"):
        torch_device("gpu")
