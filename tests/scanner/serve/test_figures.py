from __future__ import annotations

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from run_folder import match, write_run

from scanner.serve.figures import BINS, null_figure, trend_figure
from scanner.serve.tables import RunTables


def test_the_null_is_drawn_as_numpy_counts_it(weighed):
    photos = pq.read_table(weighed / "photos.parquet")
    null = photos.filter(pc.equal(photos["side"], "null"))["best_score"].to_numpy()

    figure, counted = null_figure(RunTables(weighed), 0.5, 0.43)

    assert counted == {"photos": 500, "reached": int((null >= np.float32(0.5)).sum())}
    low, high = min(float(null.min()), 0.43) - 0.01, max(float(null.max()), 0.5) + 0.01
    shares = np.histogram(null.astype(np.float64), np.linspace(low, high, BINS + 1))[0] / 500
    (line,) = figure.lines
    corners = [tuple(map(float, pair.strip("ML").split())) for pair in line.path.split(" L")]
    heights = np.array([(figure.bottom - y) for _, y in corners[:-1:2]])
    assert heights / heights.max() == pytest.approx(shares / shares.max(), abs=2e-3)
    assert [mark.text for mark in figure.marks] == ["threshold 0.430", "this match 0.500"]
    assert figure.marks[0].anchor == "end"


def test_without_a_null_there_is_no_figure(tmp_path):
    assert null_figure(RunTables(write_run(tmp_path / "run", [match(1, 2, 0.5)])), 0.5, 0.43) is None


def test_a_trend_leaves_a_gap_where_a_run_does_not_say():
    figure = trend_figure(
        ["a", "b", "c", "d", "e"], [("named", [1, 2, None, 4, 5]), ("matched", [None, 3, None, None, None])]
    )

    (line,) = figure.lines  # one value is no line
    assert line.path.count("M") == 2
    assert [tick.text for tick in figure.x_ticks] == ["1", "2", "3", "4", "5"]
    assert trend_figure(["a"], [("named", [1])]) is None
