"""Products of bytes, by torch: the only module here that imports it, and only when it is asked to multiply.

Processors of the last years multiply bytes four times as fast as floats (VNNI, AMX, dot-product instructions of Arm);
older ones do not, and some of their routines are known to overflow on the way.  So both is tried before it is used.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.codec import Int8Array
from indexes.errors import IndexesError

_RUN = 128
_TRIAL = (512, 2048, 160)
_ROUNDS = 5
_NONE = np.empty(0, np.int64)


def multiply_bytes(
    left: Int8Array, right: Int8Array, dead: npt.NDArray[np.int64], scratch: threading.local
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return left · rightᵀ exactly, and the maxima of runs of its columns.

    Args:
        left: int8 (n, c), writable.
        right: int8 (t, c).
        dead: rows of `right` whose products are to be the lowest int32.
        scratch: of the calling thread; holds the products until its next call.

    Returns:
        int32 (n, t) and int32 (n, runs).
    """
    import torch

    if not hasattr(scratch, "alone"):
        torch.set_num_threads(1)  # said in every thread: else each starts a team of its own
        scratch.alone = True
    n, rows = left.shape[0], right.shape[0]
    if not hasattr(scratch, "sums") or scratch.sums.size < n * rows:
        scratch.sums = np.empty(n * rows, np.int32)
    sums: npt.NDArray[np.int32] = scratch.sums[: n * rows].reshape(n, rows)
    theirs, out = torch.from_numpy(_writable(right, scratch)), torch.from_numpy(sums)
    torch._int_mm(torch.from_numpy(left), theirs.T, out=out)  # noqa: SLF001 - the one door to these instructions
    sums[:, dead] = np.iinfo(np.int32).min
    runs = rows // _RUN if rows % _RUN == 0 else 1
    # Not by numpy, which takes a half more for it.
    return sums, out.view(n, runs, -1).amax(dim=2).numpy()


def _writable(codes: Int8Array, scratch: threading.local) -> Int8Array:
    """Return codes in memory that torch takes without a warning: a memory map is copied, a block at a time."""
    if codes.flags.writeable:
        return codes
    if not hasattr(scratch, "codes") or scratch.codes.shape[1] != codes.shape[1] or len(scratch.codes) < len(codes):
        scratch.codes = np.empty_like(codes)
    copy: Int8Array = scratch.codes[: len(codes)]
    np.copyto(copy, codes)
    return copy


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch's products on the thread that calls them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def bytes_gain() -> float:
    """Return how many times as fast as a float32 product this machine multiplies bytes; 0 where it does it wrongly.

    Measured once, some 20 ms on one core.
    """
    try:
        check_products()
    except IndexesError:
        return 0.0
    n, rows, columns = _TRIAL
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-127, 128, (count, columns), np.int8) for count in (n, rows))
    floats, others = left.astype(np.float32), right.astype(np.float32)
    out, scratch = np.empty((n, rows), np.float32), threading.local()
    from indexes.tiled import one_blas_thread

    with one_blas_thread(), one_torch_thread():
        slow = _fastest(lambda: np.matmul(floats, others.T, out=out))
        fast = _fastest(lambda: multiply_bytes(left, right, _NONE, scratch))
    return slow / fast


def check_products() -> None:
    """Raise IndexesError unless the largest possible products are summed without overflow."""
    columns = 1024
    signs = np.where(np.arange(64)[:, None] % 2, 1, -1) * np.ones(columns, np.int64)
    extremes = (127 * signs).astype(np.int8)
    expected = extremes.astype(np.int64) @ extremes.T.astype(np.int64)
    with one_torch_thread():
        found, _ = multiply_bytes(extremes, extremes, _NONE, threading.local())
    if not np.array_equal(found, expected):
        raise IndexesError(
            "this machine's product of bytes overflows, so that the compressed engine would lose pairs. "
            "Choose the exact engine."
        )


def _fastest(work: Any) -> float:
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
