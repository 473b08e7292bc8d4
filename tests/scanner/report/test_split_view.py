"""What the page shows of a split audit, from its values alone."""

from __future__ import annotations

from typing import Any

import pytest

from scanner.report.split_view import class_figure, leak_figure, split_view


def rate(value: float, threshold: float = 0.3, pairs: int = 500) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "threshold": threshold, "false_matches": pairs}


def unit(
    cut: str, layers: int, value: float, *, kind: str = "none", strength: float = 0.0, pairs: int = 500
) -> dict[str, Any]:
    entries = [
        {
            "judge": judge, "fmr": fmr, "headline": "recreated", "chance": 0.02,
            "rates": {
                match: {"original": rate(value + 0.1, pairs=pairs), "recreated": rate(value, 0.4)} for match in ("type_1", "type_2")
            },
        }
        for judge in ("b", "a")
        for fmr in (0.01, 0.001)
    ]  # fmt: skip
    entries += [{"judge": "all judges", "fmr": fmr, "rates": {"type_1": rate(value - 0.05)}} for fmr in (0.01, 0.001)]
    quality = {"psnr_db": {"mean": 20.0, "low": 18.0, "high": 22.0}}
    return {
        "cut": cut, "layers": layers, "not_finite": 0, "defence": {"kind": kind, "value": strength}, "quality": quality, "judges": entries,
        "own": {"tar": rate(0.9)},
    }  # fmt: skip


def split(*units: dict[str, Any]) -> dict[str, Any]:
    baselines = [
        {"judge": judge, "fmr": fmr, "original": rate(0.95), "mean_image": rate(0.1)}
        for fmr in (0.01, 0.001)
        for judge in ("a", "b")
    ]
    return {
        "units": list(units), "judges": [{"name": "b"}, {"name": "a"}], "network": {"classes": None}, "pictures": None,
        "baselines": {"judges": baselines},
    }  # fmt: skip


def test_the_curve_has_a_colour_a_judge_and_shows_the_stricter_threshold() -> None:
    plot = leak_figure([unit("c1", 2, 0.9), unit("c2", 8, 0.5)], ["b", "a"], 0.01)

    names = [line.name for line in plot.lines]
    assert names == ["b, the same photo", "b, another photo", "a, the same photo", "a, another photo", "strangers"]
    inks = [line.ink for line in plot.lines]
    assert inks[0] == inks[1] != inks[2] == inks[3]
    assert plot.lines[0].dash != plot.lines[1].dash
    assert [dot.title for dot in plot.lines[0].dots] == ["b, the same photo: 0.9 at 2", "b, the same photo: 0.5 at 8"]
    assert all(line.band for line in plot.lines[:4])


def test_tables_follow_the_judges_order_and_every_rate_asked_for() -> None:
    view = split_view(split(unit("c1", 2, 0.9), unit("c2", 8, 0.5)), {"fmr": [0.01, 0.001]})

    assert [fmr for fmr, _, _ in view["tables"]] == [0.01, 0.001]
    for _, depths, baselines in view["tables"]:
        assert [row["judge"] for row in baselines] == ["b", "a"]
        assert [d["judges"][0]["type_1"]["value"] for d in depths] == [0.9, 0.5]
        assert depths[0]["all"]["value"] == pytest.approx(0.85)
    assert view["defended"] == []
    assert view["thin"] == []
    assert view["pictures"] == []


def test_a_defended_cut_is_a_table_that_begins_without_the_defence() -> None:
    units = [
        unit("c1", 2, 0.9),
        unit("c1", 2, 0.4, kind="drop", strength=0.5),
        unit("c2", 8, 0.5),
        unit("c2", 8, 0.1, kind="quantise", strength=2),
    ]

    view = split_view(split(*units), {"fmr": [0.01]})

    assert [table["cut"] for table in view["defended"]] == ["c1", "c2"]
    texts = [[row["defence"] for row in table["rows"]] for table in view["defended"]]
    assert texts == [["nothing", "50% of the channels dropped"], ["nothing", "2 bits a number"]]
    assert len(view["depths"]) == 2


def test_a_threshold_on_few_pairs_is_marked() -> None:
    assert split_view(split(unit("c1", 2, 0.9, pairs=44)), {"fmr": [0.01]})["thin"] == [44]


def test_a_classifier_has_a_curve_of_classes() -> None:
    one, two = unit("c1", 1, 0.5), unit("c2", 3, 0.5)
    one["own"]["agreement"], two["own"]["agreement"] = rate(0.9), rate(0.4)

    plot = class_figure([one, two])

    assert plot is not None
    assert next(dot.title for dot in plot.lines[0].dots).endswith("0.9 at 1")
    assert class_figure([unit("c1", 1, 0.5)]) is None
