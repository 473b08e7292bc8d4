"""Products on a device, two ways with one result: by the kernels of `device_kernels`, or by torch alone.

Both give the maxima of runs of 128 rows first, and the products of single runs when they are asked for.  Which way is
taken is tried, not believed: a way that is wrong or does not work on a device is not taken there.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from indexes.codec import BLOCK_ROWS
from indexes.errors import IndexesError

RUN = 128
"""Rows that share a maximum."""

RUNS = BLOCK_ROWS // RUN
"""Runs of a block."""

QUERIES_MULTIPLE = 32
"""Queries come in whole numbers of these: what torch's product of bytes wants on a GPU."""

PIECE = 64
"""Runs that torch multiplies at once."""

_TRIAL = 2 * QUERIES_MULTIPLE
_TUNE_QUERIES, _TUNE_BLOCKS, _TUNE_ROUNDS = 4096, 32, 5
_KERNELS_FROM = (8, 0)


class Products(NamedTuple):
    """A way to multiply.

    Args:
        name: triton or torch; and why it is not triton, where that was tried.
        peaks: (queries (n, w), values (blocks, 4096, w)) -> maxima of runs (blocks, 32, n).
        runs: (queries, values, line int64 (m,), run int64 (m,) counted through all blocks) -> products (m, 128).

    Queries and values are int8 or float32; products int32, exact, or float32.
    """

    name: str
    peaks: Callable[[Any, Any], Any]
    runs: Callable[[Any, Any, Any, Any], Any]


def torch_peaks(queries: Any, values: Any) -> Any:
    """Multiply block by block, and keep the maxima: see `Products.peaks`; n is a multiple of 32."""
    import torch

    of_bytes = values.dtype == torch.int8
    wide = torch.int32 if of_bytes else torch.float32
    peaks = torch.empty((values.shape[0], RUNS, queries.shape[0]), dtype=wide, device=values.device)
    multiply = torch._int_mm if of_bytes else torch.mm  # noqa: SLF001 - the one door to these instructions
    for block, out in zip(values, peaks, strict=True):
        torch.amax(multiply(block, queries.T).view(RUNS, RUN, -1), dim=1, out=out)
    return peaks


def torch_runs(queries: Any, values: Any, line: Any, run: Any) -> Any:
    """Multiply single runs: see `Products.runs`."""
    import torch

    wide = torch.int32 if values.dtype == torch.int8 else torch.float32
    rows = values.view(-1, RUN, values.shape[-1])
    products = torch.empty((line.shape[0], RUN), dtype=wide, device=values.device)
    for some in range(0, line.shape[0], PIECE):
        piece = slice(some, some + PIECE)
        left, right = queries[line[piece]].to(wide), rows[run[piece]].to(wide)
        torch.sum(right * left[:, None], dim=2, dtype=wide, out=products[piece])
    return products


FLOATS = Products("torch", torch_peaks, torch_runs)
BYTES = Products("torch", torch_peaks, torch_runs)


@cache
def bytes_on(device: str, columns: int) -> Products:
    """Return the fastest way to multiply bytes on a device that gives the right numbers there; takes seconds, once.

    Raises:
        IndexesError: none does.
    """
    ways: list[Callable[[], Products]] = [lambda: BYTES]
    if device.startswith("cuda") and _has_kernels(device, columns):
        ways.insert(0, lambda: _by_kernels(device, columns))
    failed = ""
    for way_of in ways:
        try:
            way = way_of()
            _check(way, device, columns)
        except Exception as error:  # noqa: BLE001 - the errors of compilers and drivers are many; the next way is tried
            failed += f" ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]})"
        else:
            return way._replace(name=way.name + failed)
    raise IndexesError(
        f"the device {device} multiplies bytes wrongly or not at all, so that the cuda engine would lose pairs{failed}. "
        "Choose another engine."
    )


def _has_kernels(device: str, columns: int) -> bool:
    import torch

    try:
        from indexes.device_kernels import COLUMNS_MAX
    except ImportError:
        return False
    return torch.cuda.get_device_capability(device) >= _KERNELS_FROM and columns <= COLUMNS_MAX


def _by_kernels(device: str, columns: int) -> Products:
    """Return the kernels in the shape that is fastest on this device."""
    import torch

    from indexes.device_kernels import SHAPES, run_peaks, run_products

    draw = partial(torch.randint, -127, 128, dtype=torch.int8, device=device)
    queries, codes = draw((_TUNE_QUERIES, columns)), draw((_TUNE_BLOCKS, BLOCK_ROWS, columns))
    seconds = {}
    for number, shape in enumerate(SHAPES, 1):
        try:
            seconds[shape] = _fastest(partial(run_peaks, queries, codes, shape), device)
        except Exception:  # what does not fit this device is left out
            if number == len(SHAPES) and not seconds:
                raise
    best = min(seconds, key=seconds.__getitem__)
    return Products("triton", lambda left, right: run_peaks(left, right, best), run_products)


def _fastest(work: Callable[[], Any], device: str) -> float:
    import torch

    times = []
    for _ in range(_TUNE_ROUNDS):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def _check(way: Products, device: str, columns: int) -> None:
    """Raise IndexesError unless the largest products that there can be, and drawn ones, are summed right."""
    import torch

    rng = np.random.default_rng(0)
    queries = rng.integers(-127, 128, (_TRIAL, columns), np.int8)
    codes = rng.integers(-127, 128, (2, BLOCK_ROWS, columns), np.int8)
    queries[:2], codes[:, ::77] = np.array([[127], [-127]]), 127
    expected = (codes.reshape(-1, columns).astype(np.float64) @ queries.T).reshape(2 * RUNS, RUN, _TRIAL)
    line, run = rng.integers(0, _TRIAL, 99), rng.integers(0, 2 * RUNS, 99)
    sent = [torch.from_numpy(array).to(device) for array in (queries, codes, line, run)]
    peaks, products = way.peaks(*sent[:2]).cpu().numpy(), way.runs(*sent).cpu().numpy()
    right = np.array_equal(peaks.reshape(-1, _TRIAL), expected.max(axis=1))
    if not right or not np.array_equal(products, expected[run, :, line]):
        raise IndexesError(f"{way.name} gives wrong sums")
