"""The cost model against numbers worked out by hand, and what must be so whatever the rates are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import costs
from scanner.costs import SUSTAINED, Cost
from scanner.rates import Machine, Networks

ROUND = Machine(
    cores=4,
    ram_bytes=10**9,
    product_gflop_s=100.0,
    int8_gop_s=400.0,
    products_gb_s=40.0,
    memory_gb_s=10.0,
    disk_write_mb_s=500.0,
    disk_read_mb_s=1000.0,
    hash_mb_s=1000.0,
    decode_mpixel_s=100.0,
    item_ms=0.5,
    query_us=50.0,
    coded_query_us=80.0,
    row_us=2.0,
    codec_fit_s=3.0,
)
NETWORKS = Networks(embed_ms=6.0, detect_320_ms=5.0, align_ms=0.5)

counts = st.integers(min_value=1, max_value=10**7)
rates = st.floats(min_value=0.1, max_value=1e6)


def test_an_exact_join_is_products_maxima_and_queries():
    """2 * 1000 * 10^6 * 256 flop at 10^11/s, 4 * 10^9 bytes at 4 * 10^10/s, 1000 * 50 us; reading 1.024 GB overlaps."""
    cost = costs.exact_join(ROUND, 1000, 10**6, 256)

    assert cost.seconds * SUSTAINED == pytest.approx(5.12 + 0.1 + 0.05)
    assert cost.mapped_bytes == 1_024_000_000


def test_references_beyond_the_memory_are_read_in_every_pass():
    """10 240 bytes a query row of work, so that reading counts: 3 passes of 1.024 GB at 1 GB/s against one."""
    fast = replace(ROUND, product_gflop_s=1e9, products_gb_s=None, query_us=0.0)

    streamed = costs.exact_join(fast, 10_000, 10**6, 256)
    kept = costs.exact_join(replace(fast, ram_bytes=10**10), 10_000, 10**6, 256)
    whole = costs.exact_join(fast, 10_000, 10**6, 256, queries_per_pass=10_000)

    assert streamed.seconds == pytest.approx(3 * 1.024)
    assert kept.seconds == whole.seconds == pytest.approx(1.024)


def test_a_compressed_join_counts_int8_operations():
    """2 * 1000 * 10^6 * 160 operations at 4 * 10^11/s, the same maxima, 1000 * 80 us; 600 kB of vectors' pages a query."""
    cost = costs.compressed_join(ROUND, 1000, 10**6, 256, code_bytes=160)

    assert cost.seconds * SUSTAINED == pytest.approx(0.8 + 0.1 + 0.08)
    assert cost.mapped_bytes == 160_000_000 + 600_000_000
    assert costs.compressed_join(ROUND, 10**6, 10**6, 256, code_bytes=160).mapped_bytes == 160_000_000 + 1_024_000_000
    assert cost.memory_bytes > costs.exact_join(ROUND, 1000, 10**6, 256).memory_bytes
    assert costs.code_bytes_of(256) == 160


def test_a_machine_without_int8_products_has_no_compressed_join():
    with pytest.raises(ValueError, match="no rate of int8 products"):
        costs.compressed_join(replace(ROUND, int8_gop_s=None), 1, 1, 1, code_bytes=1)


def test_a_build_is_rows_passes_and_files():
    """10^6 rows of 2 us, 4 passes of 1.024 GB at 10 GB/s, its file written at 0.5 and hashed at 1 GB/s."""
    plain = costs.build(ROUND, 10**6, 256)
    coded = costs.build(ROUND, 10**6, 256, code_bytes=160)

    assert plain.seconds == pytest.approx((2.0 + 0.4096 + 1.024) / SUSTAINED + 2.048)
    turned = 4 * 10**6 * 256 * 160 / 100e9 * 4
    assert coded.seconds - plain.seconds == pytest.approx(3.0 + (turned + 0.2048 + 0.16) / SUSTAINED + 0.32)
    assert coded.disk_bytes - plain.disk_bytes == 160_000_000


def test_a_picture_is_decoded_looked_at_aligned_and_embedded():
    """640 x 480: 3.072 ms of decoding, a canvas of 640 x 480 is three times 320 x 320."""
    each_ms = costs.image_ms(ROUND, NETWORKS, megapixels=0.3072, side_px=640)

    assert each_ms * SUSTAINED == pytest.approx(0.5 + 3.072 + 15.0 + 0.5 + 6.0)


@pytest.mark.parametrize(("side_px", "looks"), [(100, 1.0), (320, 1.0), (480, 2.25), (640, 4.0), (3000, 4.0)])
def test_a_square_picture_is_looked_at_within_the_detectors_sizes(side_px: int, looks: float):
    machine = replace(ROUND, decode_mpixel_s=1e12, item_ms=0.0)
    networks = replace(NETWORKS, embed_ms=0.0, align_ms=0.0)

    each_ms = costs.image_ms(machine, networks, megapixels=side_px**2 * 1e-6, side_px=side_px)

    assert each_ms * SUSTAINED == pytest.approx(5.0 * looks)


def test_embedding_shares_pictures_among_cores_and_writes_twice():
    """1000 pictures of 14.5 ms on 4 cores, then 1000 rows of 2 us."""
    given_faces = replace(NETWORKS, detect_320_ms=None, embed_ms=10.0)

    cost = costs.embedding(ROUND, given_faces, 1000, dim=256, megapixels=0.35, side_px=600)

    assert cost.seconds * SUSTAINED == pytest.approx(1000 * (0.5 + 3.5 + 0.5 + 10.0) * 1e-3 / 4 + 0.002)
    assert cost.disk_bytes == cost.work_bytes == 1000 * 256 * 3.4 + 1000 * 100


def test_several_machines_share_the_references_and_send_the_queries():
    """Half the references each; 2 x 1000 x 1024 bytes and 10^6 hits of 20 bytes at 1 GB/s."""
    one = costs.exact_join(ROUND, 1000, 500_000, 256)

    spread = costs.spread_join(ROUND, 2, 1000, 10**6, 256, network_gb_s=1.0, hits=10**6)

    assert spread.seconds == pytest.approx(one.seconds + 2.048e-3 + 0.02)


def test_one_after_the_other_adds_time_and_disk_and_keeps_the_larger_memory():
    both = Cost(1.0, 100, 10, 1, 7).then(Cost(2.0, 50, 20, 2, 9))

    assert both == Cost(3.0, 100, 30, 3, 9)


@given(queries=counts, rows=counts, dim=st.integers(1, 2048), more=st.integers(1, 1000))
def test_more_work_never_costs_less(queries: int, rows: int, dim: int, more: int):
    join = costs.exact_join(ROUND, queries, rows, dim)
    build = costs.build(ROUND, rows, dim, code_bytes=dim)

    assert costs.exact_join(ROUND, queries + more, rows, dim).seconds >= join.seconds
    assert costs.exact_join(ROUND, queries, rows + more, dim).seconds >= join.seconds
    assert costs.exact_join(ROUND, queries, rows, dim + more).seconds >= join.seconds
    assert costs.exact_join(ROUND, queries, rows + more, dim).memory_bytes > join.memory_bytes
    assert costs.build(ROUND, rows + more, dim, code_bytes=dim).seconds > build.seconds
    assert costs.build(ROUND, rows + more, dim, code_bytes=dim).disk_bytes > build.disk_bytes


@given(rate=rates, faster=st.floats(min_value=1.0, max_value=100.0), name=st.sampled_from(
    ["product_gflop_s", "int8_gop_s", "products_gb_s", "memory_gb_s", "disk_write_mb_s", "disk_read_mb_s", "hash_mb_s"]
))  # fmt: skip
def test_a_faster_machine_never_takes_longer(rate: float, faster: float, name: str):
    slow, fast = replace(ROUND, **{name: rate}), replace(ROUND, **{name: rate * faster})

    for machine_cost in (
        lambda machine: costs.exact_join(machine, 5000, 10**6, 256),
        lambda machine: costs.compressed_join(machine, 5000, 10**6, 256, code_bytes=160),
        lambda machine: costs.build(machine, 10**6, 256, code_bytes=160),
    ):
        assert machine_cost(fast).seconds <= machine_cost(slow).seconds * (1 + 1e-12)


def test_the_constants_are_those_of_the_code():
    from scanner.faces.detect import LookPlan
    from scanner.jobs.scanning.join import BLOCK_ROWS

    plan = LookPlan()
    assert (plan.canvas_min_px, plan.canvas_max_px) == (costs.CANVAS_MIN_PX, costs.CANVAS_MAX_PX)
    assert costs.QUERIES_PER_PASS == BLOCK_ROWS
