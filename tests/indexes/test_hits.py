import numpy as np
import pytest

from indexes import Hits
from indexes.errors import IndexesError


def hits_of(*pairs):
    query_row, reference_id, score = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Hits.from_pairs(np.array(query_row, np.int64), np.array(reference_id, np.int64), np.array(score, np.float32))


def test_pairs_are_sorted_by_query_then_score_then_id():
    hits = hits_of((1, 5, 0.25), (0, 9, 0.5), (1, 4, 0.25), (1, 7, 0.75), (0, 2, 0.5))

    assert hits.query_row.tolist() == [0, 0, 1, 1, 1]
    assert hits.reference_id.tolist() == [2, 9, 7, 4, 5]
    assert hits.score.tolist() == [0.5, 0.5, 0.75, 0.25, 0.25]


def test_unsorted_columns_are_refused():
    with pytest.raises(IndexesError, match="must be sorted"):
        Hits(np.array([1, 0]), np.array([0, 0]), np.zeros(2, np.float32))
    with pytest.raises(IndexesError, match="score must be float32"):
        Hits(np.array([0]), np.array([0]), np.zeros(1))
    with pytest.raises(IndexesError, match="reference_id must be int64"):
        Hits(np.array([0]), np.array([0, 1]), np.zeros(1, np.float32))


def test_parts_of_hits():
    hits = hits_of((0, 1, 0.5), (0, 2, 0.25), (2, 1, 1.0), (2, 9, 0.5), (2, 3, 0.5))

    assert hits.of_query(2).reference_id.tolist() == [1, 3, 9]
    assert hits.of_query(1) == Hits.empty()
    assert hits.counts(4).tolist() == [2, 0, 3, 0]
    assert hits.ranks().tolist() == [0, 1, 0, 1, 2]
    assert hits.best(1) == hits_of((0, 1, 0.5), (2, 1, 1.0))
    assert hits.take(hits.score >= 0.5).rows == 4
    assert hits.shifted(10).query_row.tolist() == [10, 10, 12, 12, 12]


def test_equality_is_of_the_content():
    left, right = hits_of((0, 1, 0.5)), hits_of((0, 1, 0.5))

    assert left == right
    assert left != hits_of((0, 1, 0.25))
    assert left != "hits"
    assert Hits.concat([left.shifted(3), Hits.empty(), right]) == hits_of((3, 1, 0.5), (0, 1, 0.5))
    assert Hits.concat([]) == Hits.empty()
