"""How many images at once: found for the device, and halved when memory does not suffice after all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from scanner.errors import ModelError
from scanner.generators.sample import is_out_of_memory
from scanner.inversion.losses import Objective, Target, Terms
from scanner.inversion.plan import Account

SLOTS_MAX: Final = 4096
CPU_SLOTS_MAX: Final = 64
CPU_BYTES: Final = 64 << 20
"""What all slots keep for the backward pass: where it outgrows the caches, larger batches are slower (measured on two
generators of 0.25 and 0.32 M weights: best from 16 to 64 images, a quarter slower at 256)."""
PAYS: Final = 1.1
"""A doubled batch must make this many times the images a second to be worth its memory."""
_TRIALS: Final = 3
_Compute = Callable[[Tensor, Target], tuple[Terms, Tensor]]


def find_slots(objective: Objective, image_shape: tuple[int, int, int], *, device: torch.device) -> int:
    """Return how many images to work on at once: a power of two.

    On CUDA by trying: doubled until it stops paying or memory ends.  On the CPU from the bytes that one image keeps for
    the backward pass alone, so that equal runs are equal to the bit whatever else the machine is doing.

    Raises:
        ModelError: not even one image fits.
    """
    if device.type == "cuda":
        return doubled(lambda n: _images_per_s(objective, image_shape, n, device), most=SLOTS_MAX)
    bytes_each = bytes_kept(objective, image_shape, device)
    room = min(CPU_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    slots = 1
    while slots < CPU_SLOTS_MAX and 2 * slots * bytes_each <= room:
        slots *= 2
    return slots


def doubled(rate: Callable[[int], float], *, most: int) -> int:
    """Double a batch while it pays.

    Args:
        rate: images a second at a batch size; raises what PyTorch raises when memory ends.
        most: the largest size that is tried.

    Returns:
        The last size whose rate was at least `PAYS` times that of half of it, or that fitted; a power of two.

    Raises:
        ModelError: memory ends at one image.
    """
    best, size, before = 0, 1, 0.0
    while size <= most:
        try:
            now = rate(size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            torch.cuda.empty_cache()
            break
        # Two doublings together must pay: the rate of one may stagnate by chance, or by a kernel's tile size.
        if best and now < PAYS * before:
            break
        best, before, size = size, max(now, before), 2 * size
    if not best:
        raise ModelError(_NO_ROOM)
    return best


def bytes_kept(objective: Objective, image_shape: tuple[int, int, int], device: torch.device) -> int:
    """Return the bytes that one more image keeps for the backward pass."""

    def kept(n: int) -> int:
        seen: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        points, target = blank(objective, image_shape, n, device)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            terms = objective.terms(points.requires_grad_(), target)
        assert terms.total.requires_grad
        return sum(seen.values())

    return max(1, (kept(4) - kept(2)) // 2)


def blank(
    objective: Objective, image_shape: tuple[int, int, int], n: int, device: torch.device
) -> tuple[Tensor, Target]:
    """Return `n` points of the law and grey targets, for trials."""
    points, labels = objective.space.starts(0, list(range(n)), [1] * n)
    grey = torch.full((n, *image_shape), 0.5, device=device)
    return points.clone(), {**objective.target(grey), "label": labels}


def _images_per_s(objective: Objective, image_shape: tuple[int, int, int], n: int, device: torch.device) -> float:
    points, target = blank(objective, image_shape, n, device)
    objective.gradient(points, target)
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    for _ in range(_TRIALS):
        objective.gradient(points, target)
    torch.cuda.synchronize(device)
    return n * _TRIALS / (time.perf_counter() - started)


class Evaluator:
    """The loss and its gradient for a batch of any size, in pieces that fit into memory."""

    def __init__(self, objective: Objective, *, piece: int, account: Account) -> None:
        """Begin with pieces of `piece` images."""
        self._objective, self._piece, self._account = objective, piece, account

    def gradient(self, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        """Return terms and gradient, as `Objective.gradient` does.

        Raises:
            ModelError: not even one image fits.
        """
        return self._fitting(self._objective.gradient, points, target)

    def outcome(self, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        """Return terms and images, as `Objective.outcome` does; errors as in `gradient`."""
        return self._fitting(self._objective.outcome, points, target)

    def _fitting(self, compute: _Compute, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        """When memory ends, pieces are halved for good and the batch is done again."""
        while True:
            try:
                return self._in_pieces(compute, points, target)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._piece == 1:
                    raise ModelError(_NO_ROOM) from error
            self._piece = max(1, min(self._piece, len(points)) // 2)
            self._account.out_of_memory += 1
            if points.device.type == "cuda":
                torch.cuda.empty_cache()

    def _in_pieces(self, compute: _Compute, points: Tensor, target: Target) -> tuple[Terms, Tensor]:
        if len(points) <= self._piece:
            return compute(points, target)
        pieces = [slice(at, at + self._piece) for at in range(0, len(points), self._piece)]
        found = [compute(points[piece], {name: t[piece] for name, t in target.items()}) for piece in pieces]
        names = ("total", "pixel", "feature", "identity", "prior")
        joined = Terms(*(torch.cat([getattr(terms, name) for terms, _ in found]) for name in names))
        return joined, torch.cat([array for _, array in found])


_NO_ROOM = (
    "Not even one image fits into the device's memory with what its inversion needs. Free some of it, use --amp, leave out "
    "--features or --identity, or run on another device (--device)."
)
