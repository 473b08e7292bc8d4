"""A profile of this machine whose rates are round numbers."""

from __future__ import annotations

from scanner.jobs.measuring.profile import MachineRates, NetworkRates, Profile, cpu_model
from scanner.jobs.options import cores


def profile_of(fingerprint: str = "a" * 16) -> Profile:
    """Return the profile; `fingerprint` is its one embedder's, for aligned crops."""
    machine = MachineRates(
        cores=cores(), ram_bytes=10**10, product_gflop_s=100.0, int8_gop_s=None, products_gb_s=40.0, memory_gb_s=10.0,
        disk_write_mb_s=500.0, disk_read_mb_s=1000.0, hash_mb_s=1000.0, decode_mpixel_s=100.0, item_ms=1.0, query_us=50.0, coded_query_us=80.0,
        row_us=2.0, codec_fit_s=3.0,
    )  # fmt: skip
    network = NetworkRates(
        embedder="drawn", fingerprint=fingerprint, detector=None, embed_ms=2.0, detect_320_ms=None, align_ms=0.5
    )
    return Profile(cpu=cpu_model(), machine=machine, networks=[network])
