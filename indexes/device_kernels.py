"""Products of bytes on a GPU that never reach its memory, in Triton: import it only where triton is there.

`run_peaks` is a matrix product whose tiles are reduced to the maxima of their runs before they leave the registers:
a hundred-and-twenty-eighth of what a product would write.  A program keeps its queries and lets the codes pass by, so
that each code is read once for `BLOCK` queries.  `run_products` looks at single runs again.

Codes have a multiple of 32 columns, while Triton's tiles are powers of two: the columns are taken in up to four chunks
(160 = 128 + 32), and nothing is multiplied that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

RUN = 128
"""Rows that share a maximum."""

_RUNS = 32
"""Runs that pass by a program; a block of codes has as many."""

_CHUNK_MAX = 256
_CHUNKS = 4
_STEP = 32

COLUMNS_MAX = _CHUNKS * _CHUNK_MAX


@dataclass(frozen=True, slots=True)
class Shape:
    """How `run_peaks` is cut: queries of a program, its warps, and tiles of codes under way."""

    block: int = 128
    warps: int = 8
    stages: int = 3


SHAPES = (Shape(), Shape(128, 4, 3), Shape(128, 8, 2), Shape(256, 8, 3), Shape(64, 4, 4), Shape(64, 4, 2))


def run_peaks(queries: torch.Tensor, codes: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Return the maxima of the products of queries with runs of rows.

    Args:
        queries: int8 (n, columns), n > 0.
        codes: int8 (blocks, 4096, columns), under 2 GiB.
        shape: changes time alone.

    Returns:
        int32 (blocks, 32, n).
    """
    n, columns = queries.shape
    blocks, rows, _ = codes.shape
    peaks = torch.empty((blocks, rows // RUN, n), dtype=torch.int32, device=codes.device)
    grid = (triton.cdiv(n, shape.block), blocks * rows // (RUN * _RUNS))
    with torch.cuda.device_of(codes):  # type: ignore[no-untyped-call]
        _run_peaks[grid](
            queries, codes, peaks, n, columns, *chunks(columns), RUN, _RUNS, shape.block,
            num_warps=shape.warps, num_stages=shape.stages,
        )  # fmt: skip
    return peaks


def run_products(queries: torch.Tensor, codes: torch.Tensor, line: torch.Tensor, run: torch.Tensor) -> torch.Tensor:
    """Return the products of single queries with single runs.

    Args:
        queries: int8 (n, columns).
        codes: int8 (blocks, 4096, columns).
        line: int64 (m,), queries.
        run: int64 (m,), runs of 128 rows, counted through all blocks.

    Returns:
        int32 (m, 128).
    """
    columns = queries.shape[1]
    products = torch.empty((line.shape[0], RUN), dtype=torch.int32, device=codes.device)
    if line.shape[0]:
        with torch.cuda.device_of(codes):  # type: ignore[no-untyped-call]
            _run_products[(line.shape[0],)](queries, codes, line, run, products, columns, _STEP, RUN)
    return products


def chunks(columns: int) -> list[int]:
    """Return four powers of two that cover the columns, 0 for none; the last may reach beyond them."""
    widths: list[int] = []
    left = columns
    while left > 0:
        power = 1 << (left.bit_length() - 1)
        if len(widths) == _CHUNKS - 1 and power < left:
            power *= 2
        widths.append(min(power, _CHUNK_MAX))
        left -= widths[-1]
    return widths + [0] * (_CHUNKS - len(widths))


@triton.jit
def _rows_of(
    start: tl.tensor, row: tl.tensor, first: tl.constexpr, width: tl.constexpr, columns: tl.constexpr
) -> tl.tensor:  # pragma: no cover - compiled, not run
    column = first + tl.arange(0, width)
    places = start + row[:, None] * columns + column[None, :]
    if first + width > columns:
        return tl.load(places, mask=column[None, :] < columns, other=0)
    return tl.load(places)


@triton.jit
def _run_peaks(
    queries: tl.tensor,
    codes: tl.tensor,
    peaks: tl.tensor,
    n: tl.tensor,
    columns: tl.constexpr,
    first: tl.constexpr,
    second: tl.constexpr,
    third: tl.constexpr,
    fourth: tl.constexpr,
    run_rows: tl.constexpr,
    runs: tl.constexpr,
    block: tl.constexpr,
) -> None:  # pragma: no cover - compiled, not run
    line = tl.program_id(0) * block + tl.arange(0, block)
    known = tl.minimum(line, n - 1)
    query = _rows_of(queries, known, 0, first, columns)
    if second > 0:
        query2 = _rows_of(queries, known, first, second, columns)
    if third > 0:
        query3 = _rows_of(queries, known, first + second, third, columns)
    if fourth > 0:
        query4 = _rows_of(queries, known, first + second + third, fourth, columns)
    start = tl.program_id(1) * runs
    for run in range(start, start + runs):
        row = run * run_rows + tl.arange(0, run_rows)
        products = tl.dot(query, tl.trans(_rows_of(codes, row, 0, first, columns)), out_dtype=tl.int32)
        if second > 0:
            code2 = _rows_of(codes, row, first, second, columns)
            products = tl.dot(query2, tl.trans(code2), products, out_dtype=tl.int32)
        if third > 0:
            code3 = _rows_of(codes, row, first + second, third, columns)
            products = tl.dot(query3, tl.trans(code3), products, out_dtype=tl.int32)
        if fourth > 0:
            code4 = _rows_of(codes, row, first + second + third, fourth, columns)
            products = tl.dot(query4, tl.trans(code4), products, out_dtype=tl.int32)
        tl.store(peaks + run * n + line, tl.max(products, axis=1), mask=line < n)


@triton.jit
def _run_products(
    queries: tl.tensor, codes: tl.tensor, line: tl.tensor, run: tl.tensor, products: tl.tensor,
    columns: tl.constexpr, step: tl.constexpr, run_rows: tl.constexpr,
) -> None:  # pragma: no cover - compiled, not run  # fmt: skip
    pair = tl.program_id(0)
    query = queries + tl.load(line + pair) * columns
    row = tl.load(run + pair) * run_rows + tl.arange(0, run_rows)
    total = tl.zeros([run_rows], tl.int32)
    for start in range(0, columns, step):
        column = start + tl.arange(0, step)
        left = tl.load(query + column).to(tl.int32)
        right = tl.load(codes + row[:, None] * columns + column[None, :]).to(tl.int32)
        total += tl.sum(right * left[None, :], axis=1)
    tl.store(products + pair * run_rows + tl.arange(0, run_rows), total)
