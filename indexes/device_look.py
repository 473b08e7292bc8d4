"""What a slab of references holds for some queries, found on the device: peaks first, then only what they point to.

The rule is that of `Candidates.select`, in torch and in whole slabs; the pairs that come out carry the same bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from indexes.candidates import Picked, picked
from indexes.codec import score_error
from indexes.device_products import QUERIES_MULTIPLE, RUN, RUNS, Products
from indexes.device_slabs import Slab
from indexes.vectors import Float32Array

RUNS_OF_QUERY = 4
"""Runs that are looked at again at once, for each query."""

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Queries on a device, padded to a multiple of 32; see `codec.Queries`.

    Args:
        values: int8 (q, columns) or float32 (q, d).
        scale: float64 (q,).
        rest: float64 (q,).
    """

    values: Any
    scale: Any
    rest: Any

    def __getitem__(self, some: slice) -> "Asked":
        """Return some of them."""
        return Asked(self.values[some], self.scale[some], self.rest[some])


@dataclass(frozen=True, slots=True)
class Rule:
    """What makes a pair a candidate.

    Args:
        k: best references of each query, at most as many as there are.
        threshold: None for none.
        alive: bool by row of the references; None where all are.
        runs_at_once: limit on the runs that are looked at again in one go.
    """

    k: int
    threshold: float | None
    alive: npt.NDArray[np.bool_] | None
    runs_at_once: int


def send(values: npt.NDArray[Any], scale: npt.NDArray[Any], rest: npt.NDArray[Any], device: Any) -> Asked:
    """Return queries on a device."""
    import torch

    padding = -len(values) % QUERIES_MULTIPLE
    return Asked(
        torch.from_numpy(np.concatenate([values, np.zeros((padding, values.shape[1]), values.dtype)])).to(device),
        torch.from_numpy(np.concatenate([scale, np.ones(padding)])).to(device),
        torch.from_numpy(np.concatenate([rest, np.zeros(padding)])).to(device),
    )


def look(way: Products, asked: Asked, slab: Slab, bars: Float32Array, rule: Rule) -> Iterator[Picked]:
    """Yield the candidates of a slab piece by piece; query rows count from 0 in `asked`.

    Args:
        way: products of the slab's kind.
        asked: queries.
        slab: references.
        bars: float32 (n,) of the queries without their padding, as of `Candidates.bars`.
        rule: what is asked.
    """
    import torch

    slab_scale, length, residual = slab.bounds.T[:, :, None]
    scale, error = slab_scale * asked.scale, score_error(asked.rest, length, residual)
    peaks = way.peaks(asked.values, slab.values)
    if slab.void is not None:
        peaks.masked_fill_(slab.void[:, :, None], _INT_MIN if slab.of_bytes else -torch.inf)
    tops = peaks.amax(dim=1)
    risen = torch.full_like(asked.rest, torch.inf, dtype=torch.float32)  # nothing matters to the padding
    risen[: len(bars)] = torch.from_numpy(bars).to(risen.device)
    if rule.k:
        risen = torch.maximum(risen, _bars_of(peaks, tops, scale, error, rule))
    least = _least(risen, scale, error, of_bytes=slab.of_bytes)
    flagged = torch.nonzero(tops >= least)
    for some in torch.split(flagged, rule.runs_at_once // RUNS_OF_QUERY):
        block, line = some.unbind(1)
        place, run = torch.nonzero(peaks[block, :, line] >= least[block, line, None], as_tuple=True)
        for start in range(0, place.shape[0], rule.runs_at_once):
            piece = slice(start, start + rule.runs_at_once)
            mine, my_line, my_run = block[place[piece]], line[place[piece]], run[piece]
            products = way.runs(asked.values, slab.values, my_line, mine * RUNS + my_run)
            found, column = torch.nonzero(products >= least[mine, my_line, None], as_tuple=True)
            mine, my_line, column = mine[found], my_line[found], my_run[found] * RUN + column
            middle = products[found, column % RUN] * scale[mine, my_line]
            columns = (mine, my_line, column, middle, error[mine, my_line])
            yield _living(slab, rule, *(each.cpu().numpy() for each in columns))


def _living(slab: Slab, rule: Rule, block: Any, line: Any, column: Any, middle: Any, off: Any) -> Picked:
    """Return pairs on the host, without the copies that stand for missing rows."""
    row = slab.row_start[block] + column
    there = column < slab.rows[block]
    if rule.alive is not None:
        there &= rule.alive[np.where(there, row, 0)]
    return picked(line[there], row[there], middle[there], off[there])


def _bars_of(peaks: Any, tops: Any, scale: Any, error: Any, rule: Rule) -> Any:
    """Return what each query's k best of this slab score at least: float32 (q,); the bar that follows from it.

    The maxima of different runs belong to different rows, so the k-th highest of them is a lower bound.
    """
    import torch

    if rule.k <= tops.shape[0]:
        lower = tops * scale - error
    elif rule.k <= peaks.shape[0] * peaks.shape[1]:
        lower = (peaks * scale[:, None] - error[:, None]).flatten(0, 1)
    else:
        return torch.full_like(error[0], -torch.inf, dtype=torch.float32)
    kth = _down(lower.amax(dim=0) if rule.k == 1 else lower.topk(rule.k, dim=0).values[-1])
    bar = kth if rule.threshold is None else kth.clamp(max=float(np.float32(rule.threshold)))
    return bar.clamp(max=1.0).masked_fill(bar <= -1.0, -torch.inf)  # as `rescore.least_product`


def _least(bars: Any, scale: Any, error: Any, *, of_bytes: bool) -> Any:
    """Return the products from which pairs may reach their bars, (blocks, q) int32 or float32."""
    import torch

    least = (bars.double() - error) / scale
    # The lowest number of all stands for runs that are void.
    return least.floor().clamp(_INT_MIN + 1, _INT_MAX).to(torch.int32) if of_bytes else _down(least)


def _down(values: Any) -> Any:
    """Round to float32, never up."""
    import torch

    rounded = values.float()
    return torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
