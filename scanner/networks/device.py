"""Where networks run: the CPU, or CUDA if it is there; asked for and absent is an error, never a silent fall-back."""

from __future__ import annotations

import torch

from scanner.errors import ModelError, UsageError

DEVICES = ("auto", "cpu", "cuda")


def torch_device(want: str) -> tuple[torch.device, str]:
    """Return the device for `want` ("auto", "cpu" or "cuda") and why it is that one.

    Raises:
        UsageError: another word.
        ModelError: "cuda" where torch finds no CUDA device.
    """
    if want not in DEVICES:
        raise UsageError(f"--device {want!r} is not one of {', '.join(DEVICES)}.")
    if want == "cpu":
        return torch.device("cpu"), "cpu: asked for"
    if torch.cuda.is_available():
        return torch.device("cuda"), f"{want}: {torch.cuda.get_device_name(0)}"
    lacks = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
    if want == "cuda":
        raise ModelError(
            f"--device cuda was asked for, but this torch ({torch.__version__}) {lacks}. "
            "Run on a machine with an NVIDIA GPU and a torch build for it, or pass --device cpu."
        )
    return torch.device("cpu"), f"auto: this torch {lacks}"
