"""Measure this machine, in 20 seconds or less: the rates of `scanner.rates.Machine`, with the code that jobs run.

Every rate is that of the best of many short calls, by the processor's time of the thread where nothing waits for a disk:
what else the machine does then counts little, and a profile says what it does when idle.  Nothing is left behind.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexes import open_index
from indexes.compressed import CompressedEngine
from indexes.exact import ExactEngine
from indexes.references import References
from indexes.tiled import one_blas_thread
from indexes.vectors import VectorBatch
from scanner import costs
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.measuring.profile import MachineRates
from scanner.jobs.options import FaceOptions, SourceOptions, cores, open_road
from scanner.pipeline import embed_source
from scanner.progress import Progress
from scanner.rates import Machine, Networks

DIM = 256
TILE_QUERIES, TILE_ROWS = 1000, 4096
BUDGET_S, CALLS_MIN = 0.6, 3
_FILE_BYTES = 64 << 20
_BLOCK_BYTES = 8 << 20
_JOIN_ROWS = 16_384
_BUILD_ROWS = (8192, 40_960)
_CODED_ROWS = 16_384
_SHORT_DIM = 8
_CODECS: tuple[Literal["none", "always"], ...] = ("none", "always")
_PICTURE_PX = (640, 480)
_ITEMS, _ITEM_PX = 128, 128
DRAWN = FaceOptions(embedder="drawn", faces="aligned")


def measure_machine(folder: Path | None = None, *, drawn: Networks, progress: Progress) -> MachineRates:
    """Measure all rates.

    Args:
        drawn: the drawn world's recogniser, as `bench_networks` measured it.
        folder: where the temporary file is written and read; None takes the system's temporary folder.
        progress: told of every rate.
    """
    progress.stage("measuring", total=10, unit="rates")

    def told(value: Any) -> Any:
        progress.advance(1)
        return value

    with tempfile.TemporaryDirectory(dir=folder, prefix="scanner-bench-") as scratch:
        place = Path(scratch)
        product, maxima = told(_products())
        int8 = told(_int8_products())
        memory, hashed = told(_copies())
        write, read = told(_disk(place / "file"))
        decode = told(_decoding())
        known = Machine(
            cores=cores(), ram_bytes=_ram_bytes(), product_gflop_s=product, int8_gop_s=int8, products_gb_s=maxima,
            memory_gb_s=memory, disk_write_mb_s=write, disk_read_mb_s=read, hash_mb_s=hashed, decode_mpixel_s=decode,
            item_ms=0.0, query_us=0.0, coded_query_us=0.0, row_us=0.0, codec_fit_s=0.0,
        )  # fmt: skip
        item_ms = told(_item_ms(place, known, drawn))
        query_us = told(_query_us(known))
        row_us = told(_row_us(place))
        fit_s = told(_codec_fit_s(place))
        coded_us = told(_coded_query_us(place, known))
    return MachineRates(
        cores=known.cores, ram_bytes=known.ram_bytes, product_gflop_s=_short(product),
        int8_gop_s=None if int8 is None else _short(int8), products_gb_s=_short(maxima), memory_gb_s=_short(memory),
        disk_write_mb_s=_short(write), disk_read_mb_s=_short(read), hash_mb_s=_short(hashed),
        decode_mpixel_s=_short(decode), item_ms=_short(item_ms), query_us=_short(query_us), coded_query_us=_short(coded_us),
        row_us=_short(row_us), codec_fit_s=_short(fit_s),
    )  # fmt: skip


def seconds_of(
    work: Callable[[], object], *, budget_s: float = BUDGET_S, clock: Callable[[], float] = time.thread_time
) -> float:
    """Return the seconds of one call, the best of as many as the budget allows, at least three."""

    def once() -> float:
        before = clock()
        work()
        return clock() - before

    return _best(once, budget_s)


def _best(once: Callable[[], float], budget_s: float) -> float:
    best, calls, started = float("inf"), 0, time.perf_counter()
    while calls < CALLS_MIN or time.perf_counter() - started < budget_s:
        best, calls = min(best, once()), calls + 1
    return best


def _on_all_cores(work: Callable[[int], object]) -> float:
    """Return the seconds in which every core does `work(its number)` once, all at the same time: the slowest core's."""
    n = cores()
    meet = threading.Barrier(n)

    def one(number: int) -> float:
        meet.wait()
        return seconds_of(lambda: work(number))

    with one_blas_thread(), ThreadPoolExecutor(n) as pool:
        return max(pool.map(one, range(n)))


def _products() -> tuple[float, float]:
    """Return 10^9 flop/s of float32 tiles, and 10^9 bytes/s of reading them for their largest."""
    queries, rows = _unit(TILE_QUERIES, DIM, 1), _unit(TILE_ROWS, DIM, 2).T
    outs = [np.zeros((TILE_QUERIES, TILE_ROWS), np.float32) for _ in range(cores())]
    product_s = _on_all_cores(lambda n: np.matmul(queries, rows, out=outs[n]))
    maxima_s = _on_all_cores(lambda n: outs[n].max(axis=1))
    flop = 2.0 * TILE_QUERIES * TILE_ROWS * DIM * len(outs)
    return flop / product_s * 1e-9, sum(out.nbytes for out in outs) / maxima_s * 1e-9


def _int8_products() -> float | None:
    """Return 10^9 operations/s of int8 tiles, or None where torch cannot multiply them here."""
    import torch

    components = costs.code_bytes_of(DIM)
    generator = torch.Generator().manual_seed(3)
    queries, rows = (
        torch.randint(-127, 128, (n, components), dtype=torch.int8, generator=generator)
        for n in (TILE_QUERIES, TILE_ROWS)
    )
    outs = [torch.empty((TILE_QUERIES, TILE_ROWS), dtype=torch.int32) for _ in range(cores())]

    def multiply(number: int) -> None:
        torch.set_num_threads(
            1
        )  # said in every thread: else each would start a team of its own, whose time is not seen
        torch._int_mm(queries, rows.T, out=outs[number])  # noqa: SLF001 - its only name

    threads = torch.get_num_threads()
    try:
        product_s = _on_all_cores(multiply)
    except (RuntimeError, AttributeError):
        return None
    finally:
        torch.set_num_threads(threads)
    return 2.0 * TILE_QUERIES * TILE_ROWS * components * len(outs) / product_s * 1e-9


def _copies() -> tuple[float, float]:
    """Return 10^9 bytes/s of one core's copying, and 10^6 bytes/s of its hashing."""
    source = np.ones(96 << 20, np.uint8)
    target = np.empty_like(source)
    copy_s = seconds_of(lambda: np.copyto(target, source))
    data = source[: 16 << 20].tobytes()
    hash_s = seconds_of(lambda: hashlib.sha256(data).digest())
    return 2 * source.nbytes / copy_s * 1e-9, len(data) / hash_s * 1e-6


def _disk(path: Path) -> tuple[float, float]:
    """Return 10^6 bytes/s of writing one file, forced to the disk, and of reading it back: the best of three."""
    took = [_disk_once(path) for _ in range(CALLS_MIN)]
    write_s, read_s = (min(seconds) for seconds in zip(*took, strict=True))
    return _FILE_BYTES / write_s * 1e-6, _FILE_BYTES / read_s * 1e-6


def _disk_once(path: Path) -> tuple[float, float]:
    block = np.random.default_rng(0).bytes(_BLOCK_BYTES)
    started = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for _ in range(_FILE_BYTES // _BLOCK_BYTES):
            file.write(block)
        os.fsync(file.fileno())
    write_s = time.perf_counter() - started
    with path.open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # else it would be read from memory
        started = time.perf_counter()
        while file.read(_BLOCK_BYTES):
            pass
        read_s = time.perf_counter() - started
    path.unlink()
    return write_s, read_s


def _decoding() -> float:
    """Return 10^6 pixels/s of decoding a JPEG on one core."""
    from PIL import Image

    from scanner.images import decode_rgb

    width, height = _PICTURE_PX
    coarse = np.random.default_rng(4).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    held = io.BytesIO()
    picture.save(held, "JPEG", quality=90)
    data = held.getvalue()
    return width * height / seconds_of(lambda: decode_rgb(data)) * 1e-6


def _item_ms(folder: Path, known: Machine, drawn: Networks) -> float:
    """Return what a picture takes on the road beyond its networks: small pictures, less what is known of them."""
    from PIL import Image

    pictures = folder / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(9).integers(0, 256, (_ITEMS, _ITEM_PX, _ITEM_PX, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(pictures / f"{number:03d}.jpg", quality=90)
    road, source = open_road(DRAWN).road, SourceOptions().open([str(pictures)])
    took_s = seconds_of(lambda: list(embed_source(source, road)), clock=time.process_time) / _ITEMS
    modelled_ms = costs.image_ms(known, drawn, megapixels=_ITEM_PX**2 * 1e-6, side_px=_ITEM_PX) * costs.SUSTAINED
    return max(0.0, took_s * 1e3 - modelled_ms)


def _query_us(known: Machine) -> float:
    """Return what a query takes beyond products: a small join by the engine itself, less what its products take."""
    queries, references = _unit(TILE_QUERIES, DIM, 5), _unit(_JOIN_ROWS, DIM, 6)
    engine = ExactEngine(References.from_memory(np.arange(len(references)), VectorBatch(references)))
    took_s = seconds_of(lambda: engine.search(queries, threshold=0.9, k=1), clock=time.process_time) / known.cores
    modelled_s = costs.exact_join(known, len(queries), len(references), DIM).seconds * costs.SUSTAINED
    return max(0.0, took_s - modelled_s) / len(queries) * 1e6


def _coded_query_us(folder: Path, known: Machine) -> float:
    """Return what a query takes beyond products where codes are searched; 0 where bytes cannot be multiplied here."""
    if known.int8_gop_s is None:
        return 0.0
    _build(folder, _unit(_CODED_ROWS, DIM, 8), "always")
    index, queries = open_index(folder / "bench.idx"), _unit(TILE_QUERIES, DIM, 5)
    assert index.codec is not None
    engine, code_bytes = CompressedEngine(index.references(), index.codec), index.codec.code_bytes
    took_s = seconds_of(lambda: engine.search(queries, threshold=0.9, k=1), clock=time.process_time) / known.cores
    modelled = costs.compressed_join(known, len(queries), index.rows, DIM, code_bytes=code_bytes)
    return max(0.0, took_s - modelled.seconds * costs.SUSTAINED) / len(queries) * 1e6


def _row_us(folder: Path) -> float:
    """Return what a reference takes beyond its vector: two builds of short vectors, by the job itself."""
    few, many = _BUILD_ROWS
    few_s, many_s = (
        seconds_of(partial(_build, folder, _unit(rows, _SHORT_DIM, 7), "none"), clock=time.process_time)
        for rows in _BUILD_ROWS
    )
    return max(0.0, many_s - few_s) / (many - few) * 1e6


def _codec_fit_s(folder: Path) -> float:
    """Return what fitting the compressed form takes: a small build with it and one without."""
    vectors = _unit(_CODED_ROWS, DIM, 8)
    took = []
    for codec in _CODECS:
        started = time.perf_counter()
        _build(folder, vectors, codec)
        took.append(time.perf_counter() - started)
    return max(0.0, took[1] - took[0])


def _build(folder: Path, vectors: NDArray[np.float32], codec: Literal["none", "always"]) -> None:
    np.save(folder / "vectors.npy", vectors)
    build(
        folder / "bench.idx", str(folder / "vectors.npy"), force=True,
        options=BuildOptions(codec=codec, embedded_by="bench"),
    )  # fmt: skip


def _unit(rows: int, dim: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _short(value: float) -> float:
    """Return four digits: more would pretend that a clock is better than it is."""
    return float(f"{value:.4g}")
