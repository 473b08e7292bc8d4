"""The cuda engine: every query against every reference as bytes, on one or more GPUs, complete by proof.

The road of the compressed engine on another machine.  A product of bytes is reduced to the maxima of runs of 128 rows
before it leaves the device's registers (`device_kernels`); the bounds of the codes say from which product on a pair
matters; runs that reach it get a second look; the pairs that are left go to the host, which scores them exactly.  So
the hits are the same bits as everywhere.

    engine = DeviceEngine(references, codec)
    hits = engine.search(queries, threshold=0.43)
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from indexes.byte_products import one_torch_thread
from indexes.candidates import Candidates
from indexes.codec import BLOCK_ROWS, Codec
from indexes.device_look import RUNS_OF_QUERY, Rule, look, send
from indexes.device_products import FLOATS, PIECE, QUERIES_MULTIPLE, RUN, RUNS, bytes_on
from indexes.device_slabs import FLOAT_BYTES, Slab, Slabs
from indexes.engine import HITS_MAX, check_question
from indexes.errors import IndexesError, MemoryTooSmall
from indexes.hits import Hits
from indexes.references import References
from indexes.tiled import search_tiles
from indexes.vectors import Float32Array, VectorBatch

LOOKERS = 2
"""Threads and streams of a device: one's work on the host hides behind the other's products."""

ROOMS = LOOKERS + 1
"""Slabs under way on a device: one is filled while the others are looked at."""

_QUERIES_MAX = 4096
_BLOCKS_MAX = 256
_BYTES_FOR_QUERY = 1 << 18
_SHARE_OF_FREE = 0.8
_CPU_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Plan:
    """How a device's memory is used: queries at once, bytes of a slab under way, bytes of slabs that stay."""

    queries: int
    slab_bytes: int
    kept_bytes: int


class DeviceEngine:
    """Search on GPUs through codes.

    Args:
        references: rows that all carry codes, memory-mapped or not.
        codec: that made the codes.
        devices: of torch, as "cuda:1"; None for all GPUs. Slabs of references are dealt to them in turn. "cpu" does the
            same work without a GPU, slower than the other engines: for tests.
        device_bytes: allowance on each device; None for four fifths of what is free. References that do not fit are
            streamed through it.
        host_bytes: allowance for the page-locked memory that references pass on their way.
        keep: whether references stay on the devices as far as they fit; otherwise each search streams all of them.

    Raises:
        IndexesError: there are no codes, no such device, or it multiplies bytes wrongly.
        MemoryTooSmall: an allowance holds not one block.
    """

    name = "cuda"

    def __init__(
        self,
        references: References,
        codec: Codec,
        *,
        devices: Sequence[str] | None = None,
        device_bytes: int | None = None,
        host_bytes: int = 1 << 30,
        keep: bool = True,
    ) -> None:
        import torch

        if not references.has_codes:
            raise IndexesError(
                "the references carry no codes. Build the index with codec='always', or use the exact engine."
            )
        every = [f"cuda:{number}" for number in range(cuda_count())]
        names = every if devices is None else ["cuda:0" if name == "cuda" else name for name in devices]
        absent = [name for name in names if name.startswith("cuda") and name not in every]
        if absent or not names:
            raise IndexesError(
                f"the cuda engine was asked for, but torch sees no {' or '.join(absent) or 'CUDA device'} here. "
                "Install a torch that was built for CUDA, and the driver, or choose another engine."
            )
        self._references = references
        self._codec = codec
        self._devices = [torch.device(name) for name in names]
        self._ways = {torch.device(name): bytes_on(name, codec.code_bytes) for name in names}
        if device_bytes is None:
            device_bytes = min(_free_bytes(device) for device in self._devices)
        plan = plan_memory(
            codec.code_bytes,
            references.dim,
            blocks=sum(-(-len(part.ids) // BLOCK_ROWS) for part in references.parts),
            device_bytes=device_bytes,
            host_bytes=host_bytes // len(names),
        )
        self._queries_at_once = plan.queries
        self._streams: dict[Any, SimpleQueue[Any]] = {device: SimpleQueue() for device in self._devices}
        for device, streams in self._streams.items():
            for _ in range(LOOKERS):
                # torch keeps memory for each stream that ever asked for some, so there are not more than these.
                streams.put(torch.cuda.Stream(device) if device.type == "cuda" else None)  # type: ignore[no-untyped-call]
        self._slabs = Slabs(
            references, self._devices, slab_bytes=plan.slab_bytes, kept_bytes=plan.kept_bytes * keep, rooms=ROOMS
        )

    @property
    def rows(self) -> int:
        """Number of references that can be found."""
        return self._references.rows

    @property
    def dim(self) -> int:
        """Number of components of a vector."""
        return self._references.dim

    @property
    def way(self) -> str:
        """How bytes are multiplied on each device: triton or torch."""
        return ", ".join(sorted({way.name for way in self._ways.values()}))

    def search(
        self,
        queries: VectorBatch | Float32Array,
        *,
        threshold: float | None = None,
        k: int = 0,
        hits_max: int = HITS_MAX,
    ) -> Hits:
        """Search as `Engine.search` promises."""
        question = check_question(queries, dim=self.dim, threshold=threshold, k=k, hits_max=hits_max)
        n = question.queries.shape[0]
        if not n:
            return Hits.empty()
        sent = self._send(question.queries)
        rule = Rule(min(k, self.rows), threshold, self._references.alive, RUNS_OF_QUERY * self._queries_at_once)

        def look_at(candidates: Candidates, _: slice, slab: Slab, __: threading.local) -> None:
            device, of_bytes = slab.values.device, slab.of_bytes
            way = self._ways[device] if of_bytes else FLOATS
            try:
                with self._stream(device):
                    if slab.ready is not None:
                        slab.ready.wait()
                    for start in range(0, n, self._queries_at_once):
                        some = slice(start, start + self._queries_at_once)
                        for found in look(way, sent[device, of_bytes][some], slab, candidates.bars[some], rule):
                            candidates.add(found._replace(query_row=found.query_row + np.int32(start)))
            finally:
                self._slabs.done(slab)

        with _ieee_products(), _room_to_work():
            return search_tiles(
                question,
                self._references,
                self._slabs.all(),
                look_at,
                block_queries=n,
                threads=LOOKERS * len(self._devices),
                context=one_torch_thread(),
            )

    @contextmanager
    def _stream(self, device: Any) -> Iterator[None]:
        """Work on a stream of a device that nobody else works on; waits for one."""
        import torch

        stream = self._streams[device].get()
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._streams[device].put(stream)

    def _send(self, queries: Float32Array) -> dict[tuple[Any, bool], Any]:
        """Return the queries on each device, as bytes (True) and as floats (False)."""
        import torch

        coded, n = self._codec.encode_queries(queries), queries.shape[0]
        sent = {}
        for device in self._devices:
            sent[device, True] = send(coded.codes, coded.scale, coded.rest, device)
            sent[device, False] = send(queries, np.ones(n), np.zeros(n), device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)  # other streams will read them
        return sent


def plan_memory(columns: int, dim: int, *, blocks: int, device_bytes: int, host_bytes: int) -> Plan:
    """Return how to use the memory of a device, and of the host beside it.

    Args:
        columns: bytes of a code.
        dim: components of a vector.
        blocks: of the references.
        device_bytes: allowance on the device.
        host_bytes: allowance for page-locked memory.

    Raises:
        MemoryTooSmall: not one block fits.
    """
    queries = max(min(_QUERIES_MAX, device_bytes // _BYTES_FOR_QUERY) // QUERIES_MULTIPLE, 1) * QUERIES_MULTIPLE
    # A block's products and the second look, where torch does it, which keeps what the kernels do not.
    look_bytes = LOOKERS * (queries * (BLOCK_ROWS * 4 + RUNS_OF_QUERY * RUN * 16) + PIECE * RUN * columns * 8)
    code_block, float_block = BLOCK_ROWS * columns, BLOCK_ROWS * dim * FLOAT_BYTES
    peaks_bytes = LOOKERS * queries * (RUNS * 4 + 48)
    room = (device_bytes - look_bytes) // 2
    blocks = min(
        _BLOCKS_MAX, max(1, blocks), room // (ROOMS * code_block + peaks_bytes), host_bytes // (ROOMS * code_block)
    )
    slab_bytes = max(blocks * code_block, float_block)
    kept_bytes = device_bytes - look_bytes - ROOMS * slab_bytes - blocks * peaks_bytes
    if blocks < 1 or kept_bytes < 0 or ROOMS * slab_bytes > host_bytes:
        device_need = look_bytes + 2 * (host_need(dim) + peaks_bytes)
        raise MemoryTooSmall(
            f"the cuda engine needs about {device_need >> 20} MiB of each device and {host_need(dim) >> 20} MiB beside it "
            f"for a block of references under way, allowed are {device_bytes >> 20} MiB and {host_bytes >> 20} MiB. "
            "Allow more, or choose another engine."
        )
    return Plan(queries, slab_bytes, kept_bytes)


def host_need(dim: int) -> int:
    """Return the least of page-locked memory that one device needs, in bytes."""
    return ROOMS * BLOCK_ROWS * dim * FLOAT_BYTES


def cuda_count() -> int:
    """Return the number of CUDA devices that torch sees."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _free_bytes(device: Any) -> int:
    import torch

    return int(_SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else _CPU_BYTES


@contextmanager
def _room_to_work() -> Iterator[None]:
    """Say what to do where a device has no memory left: something else is using it."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryTooSmall(
            f"a device ran out of memory in the middle of a search: {str(error).partition('. ')[0]}. "
            "Stop what else uses it, pass a smaller device_bytes, or choose another engine."
        ) from error


@contextmanager
def _ieee_products() -> Iterator[None]:
    """Keep torch from rounding the factors of float32 products, which their bound does not allow for."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
