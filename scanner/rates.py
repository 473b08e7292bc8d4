"""What a machine can do: rates that `scanner.costs` works with, measured or taken from a data sheet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine can do; every rate is of all cores together unless its line says otherwise.

    Attributes:
        cores: that a process may use.
        ram_bytes: memory of the machine; files that fit into it are read from the disk once.
        product_gflop_s: float32 matrix product in tiles of 1000 x 4096 x 256, 10^9 flop/s.
        int8_gop_s: the same with int8 factors and int32 sums, 10^9 operations/s; None where torch cannot do it.
        products_gb_s: reading finished products for each query's largest; None where that is fused into the product.
        memory_gb_s: copying memory, bytes read and bytes written counted, on one core.
        disk_write_mb_s: writing one large file and forcing it to the disk, 10^6 bytes/s.
        disk_read_mb_s: reading it again, not from memory where the system lets us ask for that.
        hash_mb_s: SHA-256 on one core.
        decode_mpixel_s: JPEG to RGB on one core, 10^6 pixels/s.
        item_ms: what a picture costs besides decoding and networks, milliseconds of one core: reading, hashing, passing on.
        query_us: what a query costs whatever the references are, microseconds: its candidates and their exact scores.
        coded_query_us: the same where codes are searched, which leave more candidates; with its own codes.
        row_us: what a reference costs whatever its vector is, microseconds: names, box, quality, Parquet; one core.
        codec_fit_s: fitting the compressed form on its sample, seconds.
    """

    cores: int
    ram_bytes: int
    product_gflop_s: float
    int8_gop_s: float | None
    products_gb_s: float | None
    memory_gb_s: float
    disk_write_mb_s: float
    disk_read_mb_s: float
    hash_mb_s: float
    decode_mpixel_s: float
    item_ms: float
    query_us: float
    coded_query_us: float
    row_us: float
    codec_fit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """What a detector and a recogniser take on one core.

    Attributes:
        embed_ms: one crop, in a batch of 16, milliseconds.
        detect_320_ms: one look at a canvas of 320 x 320, milliseconds; None where no face is looked for.
        align_ms: one crop: alignment, quality, perceptual hash, milliseconds.
    """

    embed_ms: float
    detect_320_ms: float | None
    align_ms: float
