import numpy as np
import pytest
from facelike_vectors import draw_faces

import indexes.references
from indexes import References, VectorBatch
from indexes.errors import MismatchError, VectorError
from indexes.references import Part

VECTORS = draw_faces(10, 1, seed=1, dim=8)


@pytest.fixture
def references():
    alive = np.array([True, False, True, True])
    return References([Part(VECTORS[:4], np.arange(4), alive), Part(VECTORS[4:].astype(np.float16), np.arange(10, 16))])


def test_rows_run_on_from_part_to_part(references):
    assert (references.rows, references.rows_stored, references.dim) == (9, 10, 8)
    assert references.ids.tolist() == [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]
    assert references.live_rows().tolist() == [0, 2, 3, 4, 5, 6, 7, 8, 9]
    assert references.vector_bytes == 4 * 8 * 4 + 6 * 8 * 2
    assert not references.has_codes


def test_tiles_cover_every_row_once_and_name_the_dead(references):
    tiles = list(references.tiles(3))

    assert [(tile.row_start, len(tile.vectors), tile.dead.tolist()) for tile in tiles] == [
        (0, 3, [1]),
        (3, 1, []),
        (4, 3, []),
        (7, 3, []),
    ]
    assert all(tile.vectors.dtype == np.float32 for tile in tiles)


def test_gathered_rows_come_in_the_order_asked(references):
    rows = np.array([9, 0, 4, 0])

    gathered = references.gather(rows)

    assert gathered.dtype == np.float32
    assert np.array_equal(gathered[[1, 3]], VECTORS[[0, 0]])
    assert np.array_equal(gathered[[0, 2]], VECTORS[[9, 4]].astype(np.float16).astype(np.float32))


def test_later_rows_are_those_from_there_on_and_a_few_before(references, monkeypatch):
    monkeypatch.setattr(indexes.references, "BLOCK_ROWS", 3)
    starts = [0, 0, 0, 3, 4, 4, 4, 7, 7, 7, 10]

    for row, start in enumerate(starts):
        later = references.later(row)

        assert later.ids.tolist() == references.ids[start:].tolist()
        assert (later.live_rows() + start).tolist() == [live for live in references.live_rows() if live >= start]
        assert np.array_equal(later.gather(np.arange(10 - start)), references.gather(np.arange(start, 10)))


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(MismatchError, match=r"share one dimension, got \[3, 8\]"):
        References([Part(VECTORS, np.arange(10)), Part(np.eye(3, dtype=np.float32), np.arange(3))])
    with pytest.raises(MismatchError, match=r"got none\. Pass dim="):
        References([])
    with pytest.raises(MismatchError, match="10 vectors but 9 ids"):
        References.from_memory(np.arange(9), VectorBatch(VECTORS))
    with pytest.raises(VectorError, match="float32 or float16"):
        Part(VECTORS.astype(np.float64), np.arange(10))


def test_no_parts_are_no_rows():
    empty = References([], dim=5)

    assert (empty.rows, empty.dim, list(empty.tiles(3))) == (0, 5, [])
