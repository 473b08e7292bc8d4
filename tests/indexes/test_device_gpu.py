"""The cuda engine on a CUDA device.  Imports torch, numpy and pytest alone: see `make gpu`."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from facelike_vectors import draw_faces, unit

from indexes import References
from indexes.codec import BLOCK_ROWS, fit_codec
from indexes.device import DeviceEngine
from indexes.device_products import BYTES, RUNS, bytes_on
from indexes.exact import ExactEngine
from indexes.references import Part

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DIM = 256


@pytest.fixture(scope="module")
def world():
    """Twenty blocks with erased rows, of which one is searched by its vectors."""
    usual = draw_faces(80_000, 1, seed=5, dim=DIM)
    codec = fit_codec(unit(usual[:8000] * (np.arange(DIM) < 200)), seed=0)
    near = unit(usual * (np.arange(DIM) < 200) + 1e-4)
    near[40_000:40_100] = usual[40_000:40_100]
    alive = np.ones(len(near), bool)
    alive[[3, 700]] = alive[1000:2000] = alive[8192:12288] = False
    references = References([Part(near, np.arange(len(near)), alive, codec.encode(near))])
    rng = np.random.default_rng(6)
    queries = unit(near[rng.integers(0, len(near), 300)] + 0.02 * rng.standard_normal((300, DIM)))
    return references, codec, np.concatenate([queries, near[40_000:40_010], near[9000:9010]])


ASKED = ({"threshold": 0.5}, {"k": 1}, {"threshold": 0.4, "k": 1}, {"k": 60})


@pytest.fixture(scope="module")
def answers(world):
    references, _, queries = world
    return [ExactEngine(references).search(queries, **asked) for asked in ASKED]


@pytest.mark.parametrize("device_bytes", [None, 56 << 20])
def test_it_finds_what_the_exact_engine_finds_on_the_cpu(world, answers, device_bytes):
    references, codec, queries = world
    engine = DeviceEngine(references, codec, device_bytes=device_bytes)

    for _ in range(2):
        assert [engine.search(queries, **asked) for asked in ASKED] == answers


def test_a_few_queries_and_a_device_given_twice(world, answers):
    references, codec, queries = world
    engine = DeviceEngine(references, codec, devices=["cuda:0", "cuda:0"], device_bytes=1 << 30)

    assert [engine.search(queries[:3], **asked) for asked in ASKED] == [
        answer.take(answer.query_row < 3) for answer in answers
    ]


def test_torch_alone_gives_the_same(world, answers, monkeypatch):
    references, codec, queries = world
    engine = DeviceEngine(references, codec)
    monkeypatch.setattr(engine, "_ways", dict.fromkeys(engine._ways, BYTES))

    assert engine.way == "torch"
    assert [engine.search(queries, **asked) for asked in ASKED] == answers


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_are_taken_and_give_what_torch_gives():
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the kernels are for compute capability 8.0 and later")
    generator = torch.Generator("cuda").manual_seed(0)
    for n, blocks, columns in ((4096, 9, 160), (32, 3, 256), (96, 2, 512), (64, 1, 992)):
        draw = {"dtype": torch.int8, "device": "cuda", "generator": generator}
        queries = torch.randint(-127, 128, (n, columns), **draw)
        codes = torch.randint(-127, 128, (blocks, BLOCK_ROWS, columns), **draw)
        line = torch.randint(0, n, (500,), device="cuda", generator=generator)
        run = torch.randint(0, blocks * RUNS, (500,), device="cuda", generator=generator)

        way = bytes_on("cuda:0", columns)

        assert way.name == "triton"
        assert torch.equal(way.peaks(queries, codes), BYTES.peaks(queries, codes))
        assert torch.equal(way.runs(queries, codes, line, run), BYTES.runs(queries, codes, line, run))
