"""Every engine, however its references are stored, keeps one contract: the naive twin's answers, bit for bit."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from facelike_tables import SCHEMA, blocks_of

from indexes import Hits, References, VectorBatch, build_index, open_index
from indexes.codec import Codec, Codes
from indexes.compressed import CompressedEngine
from indexes.device import DeviceEngine
from indexes.engine import Engine
from indexes.errors import IndexesError, MismatchError, TooManyHits, VectorError
from indexes.exact import ExactEngine
from indexes.flat import FlatEngine
from indexes.naive import NaiveEngine
from indexes.references import Part

STORAGES = [
    f"{place}-{cut}-{dtype}"
    for place in ("memory", "reopened")
    for cut in ("one", "many_erased")
    for dtype in ("float32", "float16")
]


@dataclass
class Case:
    engine: Engine
    naive: NaiveEngine
    references: References


def in_memory(codes: Codes) -> Codes:
    return Codes(np.array(codes.codes), np.array(codes.bounds))


@pytest.fixture(scope="session")
def stored(tmp_path_factory, references_f32):
    """Indexes by name, and the same references copied into memory."""
    cases = {}
    for name in STORAGES:
        place, cut, dtype = name.split("-")
        path = tmp_path_factory.mktemp("contract") / name
        rows_max = 10_000 if cut == "one" else 250
        index = build_index(
            path,
            blocks_of(references_f32),
            fingerprint="net@1",
            dim=references_f32.shape[1],
            schema=SCHEMA,
            dtype=dtype,
            segment_rows_max=rows_max,
            codec="always",
        )
        if cut != "one":
            index.remove(ids=[5, 31, 249, 250, 700])
        index = open_index(path)
        references = index.references()
        if place == "memory":
            parts = [
                Part(np.array(part.vectors), part.ids, part.alive, in_memory(part.codes)) for part in references.parts
            ]
            references = References(parts)
            codec = index.codec
            shutil.rmtree(path)
        else:
            codec = index.codec
        cases[name] = references, codec
    return cases


def streamed(references: References, codec: Codec, devices: list[str]) -> DeviceEngine:
    """Return an engine with little room, in which nothing stays."""
    return DeviceEngine(references, codec, devices=devices, device_bytes=32 << 20, keep=False)


@pytest.fixture(params=STORAGES)
def storage(request, stored):
    return stored[request.param]


@pytest.fixture(params=["exact", "exact_small_tiles", "flat", "compressed", "device", "device_streamed", "two_devices"])
def case(request, storage):
    references, codec = storage
    engine = {
        "exact": lambda: ExactEngine(references),
        "exact_small_tiles": lambda: ExactEngine(references, memory_bytes=1 << 20, threads=3),
        "flat": lambda: FlatEngine(references),
        "compressed": lambda: CompressedEngine(references, codec),
        "device": lambda: DeviceEngine(references, codec, devices=["cpu"]),
        "device_streamed": lambda: streamed(references, codec, ["cpu"]),
        "two_devices": lambda: streamed(references, codec, ["cpu", "cpu"]),
    }[request.param]()
    return Case(engine, NaiveEngine(references), references)


def test_it_finds_what_the_naive_twin_finds_with_the_same_scores(case, queries_f32):
    for asked in ({"threshold": 0.4}, {"k": 7}, {"threshold": 0.4, "k": 7}, {"threshold": 0.9, "k": 1}):
        expected = case.naive.search(queries_f32, **asked)

        assert case.engine.search(queries_f32, **asked) == expected
        assert expected.rows > 0


def test_a_pair_that_scores_exactly_the_threshold_is_a_hit(case, queries_f32):
    best = case.naive.search(queries_f32, k=1)
    for query_row in (0, 25, 50):
        one = best.of_query(query_row)
        score = float(one.score[0])
        just_above = float(np.nextafter(one.score[0], np.float32(2)))
        query = queries_f32[query_row : query_row + 1]

        assert case.engine.search(query, threshold=score).reference_id.tolist() == one.reference_id.tolist()
        assert case.engine.search(query, threshold=just_above).rows == 0


def test_every_stored_vector_finds_itself_with_score_one(case, references_f32):
    live = case.references.live_rows()[:40]
    ids = case.references.ids[live]

    best = case.engine.search(references_f32[ids], k=1)

    assert best.reference_id.tolist() == ids.tolist()
    assert np.abs(best.score - 1).max() < (1e-6 if case.references.parts[0].vectors.dtype == np.float32 else 1e-3)


def test_asking_for_more_than_stored_returns_every_row_once(case, queries_f32):
    hits = case.engine.search(queries_f32[:2], k=100_000)

    assert hits.counts(2).tolist() == [case.references.rows] * 2
    assert np.array_equal(np.sort(hits.of_query(0).reference_id), case.references.ids[case.references.live_rows()])


def test_a_low_threshold_returns_every_pair(case, queries_f32):
    assert case.engine.search(queries_f32[:3], threshold=-1.0).rows == 3 * case.references.rows


def test_nothing_above_the_threshold_is_no_hits(case, queries_f32):
    assert case.engine.search(queries_f32[40:], threshold=1.0) == Hits.empty()


def test_no_queries_give_no_hits(case, queries_f32):
    assert case.engine.search(queries_f32[:0], threshold=0.1, k=3) == Hits.empty()


def test_erased_rows_are_never_found(case, references_f32):
    if case.references.alive is None:
        pytest.skip("nothing is erased here")

    hits = case.engine.search(references_f32[[5, 31, 249, 250, 700]], threshold=0.3, k=3)

    assert not set(hits.reference_id.tolist()) & {5, 31, 249, 250, 700}


def test_batches_of_queries_give_the_same_hits(case, queries_f32):
    whole = case.engine.search(queries_f32, threshold=0.4, k=2)

    for rows_max in (1, 7):
        parts = [
            case.engine.search(queries_f32[start : start + rows_max], threshold=0.4, k=2).shifted(start)
            for start in range(0, len(queries_f32), rows_max)
        ]
        assert Hits.concat(parts) == whole


def test_too_many_hits_are_refused_with_advice(case, queries_f32):
    with pytest.raises(TooManyHits, match="Raise the threshold, search fewer queries at a time"):
        case.engine.search(queries_f32, threshold=-1.0, hits_max=100)


def test_as_many_hits_as_allowed_are_no_error(case, queries_f32):
    """Bounds let more pairs through than there are hits; the limit is on hits."""
    expected = case.naive.search(queries_f32, threshold=0.35)
    above = case.naive.search(queries_f32, threshold=0.25)
    assert above.rows > 2 * expected.rows > 0

    assert case.engine.search(queries_f32, threshold=0.35, hits_max=expected.rows) == expected


def test_unsound_questions_are_refused(case, queries_f32):
    with pytest.raises(MismatchError, match="the queries have 3 components, the references 48"):
        case.engine.search(np.eye(3, dtype=np.float32), k=1)
    with pytest.raises(VectorError, match="must be float32, got float64"):
        case.engine.search(queries_f32.astype(np.float64), k=1)
    with pytest.raises(IndexesError, match="asks for nothing"):
        case.engine.search(queries_f32)
    with pytest.raises(IndexesError, match="finite"):
        case.engine.search(queries_f32, threshold=float("nan"))


def test_it_says_what_it_is(case):
    assert case.engine.name in ("exact", "flat", "compressed", "cuda")
    assert (case.engine.rows, case.engine.dim) == (case.references.rows, 48)


def every_engine(references: References, codec: Codec) -> list[Engine]:
    return [
        ExactEngine(references, memory_bytes=1 << 20),
        FlatEngine(references),
        CompressedEngine(references, codec),
        DeviceEngine(references, codec, devices=["cpu"]),
    ]


def test_equal_references_tie_by_lowest_id(stored):
    row = np.zeros((1, 48), np.float32)
    row[0, 3] = 1
    copies = VectorBatch(np.repeat(row, 90, axis=0))
    ids = np.random.default_rng(0).permutation(90)
    codec = stored["memory-one-float32"][1]
    references = References([Part(copies.vectors, ids, None, codec.encode(copies.vectors))])

    for engine in every_engine(references, codec):
        assert engine.search(row, k=4).reference_id.tolist() == [0, 1, 2, 3]
        assert engine.search(row, threshold=1.0).reference_id.tolist() == list(range(90))


def test_vectors_a_little_too_long_tie_at_one_and_at_minus_one(stored):
    """Products beyond 1 and -1 are clipped, so the longest of several copies is no closer than the others."""
    row = np.zeros((1, 48), np.float32)
    row[0, 3] = 1.0005
    lengths = np.linspace(0.9991, 1.0009, 90, dtype=np.float32)[:, None]
    vectors = np.concatenate([row * lengths / 1.0005, -row * lengths / 1.0005])
    codec = stored["memory-one-float32"][1]
    references = References([Part(vectors, np.arange(180), None, codec.encode(vectors))])
    naive = NaiveEngine(references)

    for engine in every_engine(references, codec):
        for asked in ({"k": 1}, {"k": 5}, {"k": 100}, {"threshold": 1.0, "k": 1}, {"threshold": -1.0}):
            assert engine.search(row, **asked) == naive.search(row, **asked), (engine.name, asked)


def test_erased_rows_do_not_count_towards_the_limit_on_hits(queries_f32):
    """As many best are asked for as a tile has rows: none can be ruled out yet, erased ones least of all."""
    vectors = np.repeat(queries_f32[:1], 200, axis=0)
    alive = np.arange(200) >= 60
    engine = ExactEngine(References([Part(vectors, np.arange(200), alive)]), memory_bytes=1 << 20)
    engine.tile_rows = 64

    assert engine.search(queries_f32[:1], k=140, hits_max=140).reference_id.tolist() == list(range(60, 200))
