"""What work costs: seconds, memory and disk, worked out from counts and from a machine's rates.

Arithmetic only: no clock, no file, no network is opened here.  Rates come from `scanner doctor --bench` (this machine) or
from a data sheet (a machine that one does not have); `benchmarks/bench_cost.py` compares what is said here with what runs
take.  A formula says where it comes from; sizes in bytes that were measured say on what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from scanner.rates import Machine, Networks

CANVAS_MIN_PX, CANVAS_MAX_PX = 320, 640
"""Longer side at which a picture is first looked at; as `scanner.faces.detect.LookPlan` has it."""
QUERIES_PER_PASS = 4096
"""Queries of one pass over the references; as `scanner.jobs.scanning.join.BLOCK_ROWS`."""
CODE_SHARE = 0.625
"""Components that a compressed row keeps, a byte each: 160 of 256 on face embeddings; the spectrum of other data differs."""
SUSTAINED = 0.85
"""What long work reaches of a rate that is the best of many short calls; fitted to builds, joins and embeddings."""

_BASE_BYTES = 190 << 20
"""A process with numpy, pyarrow and the search loaded; measured by `benchmarks/bench_cost.py`."""
_NETWORKS_BYTES = 80 << 20
"""onnxruntime with a small detector and a small recogniser, a call for each of two cores; large ones take more."""
_SEEN_BYTES = 120
"""An item's id in the set that finds duplicates: 49 bytes of object, 16 of slot, and the set's free slots."""
_COMPONENT_BYTES = 3.4
"""A float32 component of a unit vector in an embeddings file, laid by significance and compressed; of 128 or 256."""
_FACE_ROW_BYTES = 100
"""Box, quality, ids and uri of a face in an embeddings file, compressed."""
_REFERENCE_ROW_BYTES = 100  # the same in an index's `rows.parquet`
_CROP_PNG_BYTES = 19_000  # a 112x112 crop of an LFW photo
_ID_BYTES = 8
_TILE_BYTES = (1000 * 4096 + 3 * 4096 * 256) * 4
"""Products of one tile and the tiles waiting, for each core; see `indexes.exact.tile_shape`."""
_TORCH_BYTES = 190 << 20
"""The library that multiplies bytes; measured by `benchmarks/bench_cost.py`."""
_TOUCHED_BYTES = 600_000
"""Of the vectors' file for a query, where codes are searched: pages, with their neighbours that the system maps along, of the
rows that codes do not rule out (measured with 1 985 faces against 10 million references)."""
_DECODED_BYTES = 3 * 4  # a decoded pixel and its copies
_TRAIN_ROWS = 16_384


@dataclass(frozen=True, slots=True)
class Cost:
    """What a piece of work takes.

    Attributes:
        seconds: on an idle machine.
        memory_bytes: at most, of the process.
        disk_bytes: of what stays.
        work_bytes: of what lies on the disk besides while the work runs.
        mapped_bytes: files that are looked at through memory: the system counts their pages as the process's while there
            is room, and takes them back when there is none.
    """

    seconds: float
    memory_bytes: int = 0
    disk_bytes: int = 0
    work_bytes: int = 0
    mapped_bytes: int = 0

    def then(self, other: Cost) -> Cost:
        """Return the cost of both, one after the other in one process."""
        return Cost(
            self.seconds + other.seconds,
            max(self.memory_bytes, other.memory_bytes),
            self.disk_bytes + other.disk_bytes,
            self.work_bytes + other.work_bytes,
            max(self.mapped_bytes, other.mapped_bytes),
        )


def image_ms(machine: Machine, networks: Networks, *, megapixels: float, side_px: float) -> float:
    """Return the milliseconds that one picture with one face takes one core, from its bytes to its vector.

    Decoding is linear in pixels.  A convolutional detector is linear in the pixels of its canvas, whose longer side is the
    picture's within 320 and 640; one look is assumed, which is what a picture with a visible face takes.
    """
    detect_ms = 0.0
    if networks.detect_320_ms is not None:
        canvas_px = min(max(side_px, CANVAS_MIN_PX), CANVAS_MAX_PX)
        share = 1e6 * megapixels / max(side_px, 1.0) ** 2  # of a square; canvases have the picture's own shape
        detect_ms = networks.detect_320_ms * (canvas_px / CANVAS_MIN_PX) ** 2 * min(1.0, share)
    decode_ms = 1e3 * megapixels / machine.decode_mpixel_s
    return (machine.item_ms + decode_ms + detect_ms + networks.align_ms + networks.embed_ms) / SUSTAINED


def embedding_memory_bytes(images: int, *, cores: int, megapixels: float) -> int:
    """Return the peak memory of embedding.

    The pictures in the queue (`pipeline.embed_source`: 4 a core and 16 more), two shards of 256 crops, and 16 bytes with
    their set's overhead for every item ever seen.
    """
    waiting = (4 * cores + 16) * megapixels * 1e6 * _DECODED_BYTES
    crops = 2 * 256 * 112 * 112 * 3
    return int(_BASE_BYTES + _NETWORKS_BYTES + waiting + crops + images * _SEEN_BYTES)


def embeddings_bytes(faces: int, dim: int, *, crops: bool = False) -> int:
    """Return the size of an embeddings file, from some thousand faces on; smaller ones have up to half more a face."""
    return round(faces * (_COMPONENT_BYTES * dim + _FACE_ROW_BYTES + (_CROP_PNG_BYTES if crops else 0)))


def embedding(
    machine: Machine,
    networks: Networks,
    images: int,
    *,
    dim: int,
    megapixels: float,
    side_px: float,
    crops: bool = False,
) -> Cost:
    """Return the cost of embedding pictures with one face each.

    Seconds: every core takes whole pictures (one thread a call), so `image_ms` times images over cores; then the rows are
    written once more by one core.  Shards lie beside the result until it is whole, so the disk holds everything twice.
    """
    size = embeddings_bytes(images, dim, crops=crops)
    each_ms = image_ms(machine, networks, megapixels=megapixels, side_px=side_px)
    seconds = images * each_ms * 1e-3 / machine.cores + writing_s(machine, images)
    return Cost(seconds, embedding_memory_bytes(images, cores=machine.cores, megapixels=megapixels), size, size)


def writing_s(machine: Machine, rows: int) -> float:
    """Return the seconds of one core for reading finished shards and writing their rows as one table."""
    return rows * machine.row_us * 1e-6 / SUSTAINED


def build(
    machine: Machine, rows: int, dim: int, *, value_bytes: int = 4, code_bytes: int | None = None, crops: bool = False
) -> Cost:
    """Return the cost of making an index of ready vectors, float32 (4 bytes) or float16 (2).

    One core reads, checks and writes rows (`row_us`, measured with short vectors), and copies the vectors' bytes (to check
    that they are of unit length, and into the file: 4 passes).  Their file is written, forced to the disk, and hashed from memory.  Codes need
    their fit, two products of d x c for each row (there and back, for the bounds), two more passes, and their own file.
    """
    size = rows * dim * value_bytes
    passes = 4 * rows * dim * 4 / machine.memory_gb_s * 1e-9 / SUSTAINED
    seconds = writing_s(machine, rows) + passes + _file_s(machine, size)
    if code_bytes is not None:
        turned = 4.0 * rows * dim * code_bytes / machine.product_gflop_s * 1e-9 * machine.cores / SUSTAINED  # one core
        seconds += machine.codec_fit_s + turned + passes / 2 + _file_s(machine, rows * code_bytes)
    return Cost(
        seconds,
        build_memory_bytes(dim, coded=code_bytes is not None),
        index_bytes(rows, dim, value_bytes=value_bytes, code_bytes=code_bytes, crops=crops),
        0,
        size if code_bytes is not None else 0,
    )


def build_memory_bytes(dim: int, *, coded: bool) -> int:
    """Return the peak memory of making an index.

    A row group's names and vectors; with codes the sample that they are fitted on, in float64.
    """
    return _BASE_BYTES + _TRAIN_ROWS * (4 * dim + 500) + (_TRAIN_ROWS * dim * 8 if coded else 0)


def index_bytes(
    rows: int, dim: int, *, value_bytes: int = 4, code_bytes: int | None = None, crops: bool = False
) -> int:
    """Return the size of an index folder: vectors and codes as they are, names and crops as measured."""
    row = dim * value_bytes + (code_bytes or 0) + _REFERENCE_ROW_BYTES + (_CROP_PNG_BYTES if crops else 0)
    return rows * row


def _file_s(machine: Machine, size_bytes: float) -> float:
    return size_bytes * 1e-6 * (1 / machine.disk_write_mb_s + 1 / machine.hash_mb_s / SUSTAINED)


def exact_join(
    machine: Machine,
    queries: int,
    rows: int,
    dim: int,
    *,
    value_bytes: int = 4,
    queries_per_pass: int = QUERIES_PER_PASS,
) -> Cost:
    """Return the cost of comparing every query with every reference by float32 products: 2 Q N d flop.

    Every product is read once for the maxima (4 Q N bytes, unless fused), every query has its candidates (`query_us`).
    Arithmetic and reading from the disk overlap, so the slower one counts; references that fit into memory are read from the
    disk once, else once in each pass of `queries_per_pass`.
    """
    product_s = 2.0 * queries * rows * dim / machine.product_gflop_s * 1e-9
    size = rows * dim * value_bytes
    seconds = _join_s(machine, queries, rows, product_s, size, queries_per_pass, machine.query_us)
    return Cost(seconds, join_memory_bytes(rows, cores=machine.cores), mapped_bytes=size)


def join_memory_bytes(rows: int, *, cores: int, coded: bool = False) -> int:
    """Return the peak memory of a search: products of a tile and tiles in the queue for each core, 8 bytes of id a row."""
    return _BASE_BYTES + (_TORCH_BYTES if coded else 0) + cores * _TILE_BYTES + rows * _ID_BYTES


def compressed_join(
    machine: Machine,
    queries: int,
    rows: int,
    dim: int,
    *,
    code_bytes: int,
    value_bytes: int = 4,
    queries_per_pass: int = QUERIES_PER_PASS,
) -> Cost:
    """Return the cost of the compressed search: 2 Q N c operations on int8 codes of c bytes, else as `exact_join`.

    The few pairs that are scored exactly afterwards are part of `coded_query_us`; many matches a query take longer.

    Raises:
        ValueError: the machine has no rate of int8 products.
    """
    if machine.int8_gop_s is None:
        raise ValueError("the machine has no rate of int8 products; give int8_gop_s, or take exact_join.")
    product_s = 2.0 * queries * rows * code_bytes / machine.int8_gop_s * 1e-9
    size = rows * code_bytes
    seconds = _join_s(machine, queries, rows, product_s, size, queries_per_pass, machine.coded_query_us)
    touched = min(rows * dim * value_bytes, queries * _TOUCHED_BYTES)
    return Cost(seconds, join_memory_bytes(rows, cores=machine.cores, coded=True), mapped_bytes=size + touched)


def _join_s(
    machine: Machine, queries: int, rows: int, product_s: float, size_bytes: int, queries_per_pass: int, query_us: float
) -> float:
    """Return the seconds of a join whose products take `product_s` and whose references are `size_bytes` on the disk."""
    maxima_s = 0.0
    if machine.products_gb_s is not None:
        maxima_s = 4.0 * queries * rows / machine.products_gb_s * 1e-9
    passes = ceil(queries / queries_per_pass)
    from_disk = passes if size_bytes > machine.ram_bytes else min(passes, 1)
    read_s = from_disk * size_bytes / machine.disk_read_mb_s * 1e-6
    return max((product_s + maxima_s) / SUSTAINED, read_s) + queries * query_us * 1e-6 / SUSTAINED


def spread_join(
    machine: Machine,
    machines: int,
    queries: int,
    rows: int,
    dim: int,
    *,
    network_gb_s: float,
    hits: int = 0,
    queries_per_pass: int = QUERIES_PER_PASS,
) -> Cost:
    """Return the cost of an exact join whose references lie evenly on several machines, the cost of one of them.

    The queries go to every machine and the hits (20 bytes each) come back over one network link of `network_gb_s`.
    """
    share = exact_join(machine, queries, ceil(rows / machines), dim, queries_per_pass=queries_per_pass)
    network_s = (machines * queries * dim * 4.0 + hits * 20.0) / network_gb_s * 1e-9
    return replace(share, seconds=share.seconds + network_s)


def code_bytes_of(dim: int) -> int:
    """Return about how many bytes a compressed row of `dim` components has, before its data are known."""
    return ceil(dim * CODE_SHARE)
