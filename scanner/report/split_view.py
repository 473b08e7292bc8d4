"""The split audit on the page: the leak curve, the table of depths, what defences buy, and picture rows where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scanner.report.curves import Line, Plot, plot

DEFENCE_TEXT = {
    "none": "nothing", "noise": "noise, {:g} × the features' own deviation", "quantise": "{:g} bits a number",
    "drop": "{:.0%} of the channels dropped",
}  # fmt: skip
ALL = "all judges"
PAIRS_WISHED = 100
"""A threshold that rests on fewer pairs of different people is marked: its intervals are too short."""
QUALITY_TEXT = {"psnr_db": ("PSNR, dB", 1), "ssim": ("SSIM", 3), "gap": ("perceptual gap", 3)}
Document = Mapping[str, Any]


def split_view(split: Document, config: Document) -> dict[str, Any]:
    """Return what `split.html.j2` shows.

    Args:
        split: the section of `audit.json`.
        config: `[split]` of the file.
    """
    plain = [unit for unit in split["units"] if unit["defence"]["kind"] == "none"]
    judges = [judge["name"] for judge in split["judges"]]
    fmrs = config["fmr"]
    return {
        "is": split,
        "fmr": fmrs[0],
        "judges": judges,
        "quality": [(key, *QUALITY_TEXT[key]) for key in QUALITY_TEXT if key in plain[0]["quality"]],
        "leak": leak_figure(plain, judges, fmrs[0]) if judges else None,
        "classes": class_figure(plain) if split["network"]["classes"] is not None else None,
        "depths": [_depth(unit, judges, fmrs[0]) for unit in plain],
        "tables": [(fmr, [_depth(unit, judges, fmr) for unit in plain], _baselines(split, judges, fmr)) for fmr in fmrs] if judges else [],
        "thin": sorted({rate["false_matches"] for rate in _all_rates(plain) if rate["false_matches"] < PAIRS_WISHED}),
        "not_finite": sum(unit["not_finite"] for unit in split["units"]),
        "defended": _defended(split["units"], judges, fmrs[0]),
        "pictures": _pictures(split["pictures"]),
    }  # fmt: skip


def leak_figure(units: Sequence[Document], judges: Sequence[str], fmr: float) -> Plot:
    """Match rates against depth: a colour a judge, type-I drawn through, type-II dashed, bands for intervals."""
    lines = []
    for ink, judge in enumerate(judges):
        for match, text in (("type_1", "the same photo"), ("type_2", "another photo")):
            points = [
                (float(unit["layers"]), at) for unit in units if (at := _headline(unit, judge, fmr, match)) is not None
            ]
            if points:
                lines.append(
                    Line(
                        f"{judge}, {text}", tuple((x, at["value"]) for x, at in points),
                        tuple((x, at["low"], at["high"]) for x, at in points), dashed=match == "type_2", ink=ink,
                    )
                )  # fmt: skip
    ends = [float(units[0]["layers"]), float(units[-1]["layers"])]
    if ends[0] < ends[1]:
        lines.append(Line("strangers", ((ends[0], fmr), (ends[1], fmr)), dashed=True, ink=len(judges)))
    return plot(
        lines, x_label="layers between the picture and the cut", y_label="re-created photos that are recognised", y_range=(0.0, 1.0),
        height=300, title=f"Share of re-created photos that are recognised at a false match rate of {fmr:g}, by depth of the cut",
    )  # fmt: skip


def class_figure(units: Sequence[Document]) -> Plot | None:
    """For a classifier: how often a re-created picture gets the original's class."""
    points = [(float(unit["layers"]), unit["own"]["agreement"]) for unit in units if "agreement" in unit["own"]]
    if not points:
        return None
    line = Line(
        "same class as the original", tuple((x, at["value"]) for x, at in points),
        tuple((x, at["low"], at["high"]) for x, at in points),
    )  # fmt: skip
    return plot(
        [line], x_label="layers between the picture and the cut", y_label="re-created pictures that get the original's class",
        y_range=(0.0, 1.0), height=300,
    )  # fmt: skip


def _entry(unit: Document, judge: str, fmr: float) -> Document | None:
    return next((entry for entry in unit["judges"] if entry["judge"] == judge and entry["fmr"] == fmr), None)


def _headline(unit: Document, judge: str, fmr: float, match: str) -> Document | None:
    """Return a rate at the stricter null's threshold."""
    entry = _entry(unit, judge, fmr)
    if entry is None or match not in entry["rates"]:
        return None
    found: Document = entry["rates"][match][entry["headline"]]
    return found


def _all_rates(units: Sequence[Document]) -> list[Document]:
    """Return every rate of single judges."""
    entries = [entry for unit in units for entry in unit["judges"] if entry["judge"] != ALL]
    return [rate for entry in entries for found in entry["rates"].values() for rate in found.values()]


def _depth(unit: Document, judges: Sequence[str], fmr: float) -> dict[str, Any]:
    """Return a row of the table of depths."""
    together = _entry(unit, ALL, fmr)
    return {
        "unit": unit,
        "defence": DEFENCE_TEXT[unit["defence"]["kind"]].format(unit["defence"]["value"]),
        "judges": [
            {
                "type_1": _headline(unit, judge, fmr, "type_1"), "type_2": _headline(unit, judge, fmr, "type_2"),
                "entry": _entry(unit, judge, fmr),
            }
            for judge in judges
        ],
        "all": None if together is None else together["rates"]["type_1"],
        "own": unit["own"].get("tar") or unit["own"].get("kept"),
        "agreement": unit["own"].get("agreement"),
        "accuracy": unit["own"].get("accuracy"),
    }  # fmt: skip


def _baselines(split: Document, judges: Sequence[str], fmr: float) -> list[Document]:
    rows = [row for row in split["baselines"]["judges"] if row["fmr"] == fmr]
    return sorted(rows, key=lambda row: judges.index(row["judge"]))


def _defended(units: Sequence[Document], judges: Sequence[str], fmr: float) -> list[dict[str, Any]]:
    """Return one table a cut that was defended, the undefended row first."""
    cuts = list(dict.fromkeys(unit["cut"] for unit in units))
    tables = [{"cut": cut, "rows": [_depth(unit, judges, fmr) for unit in units if unit["cut"] == cut]} for cut in cuts]
    return [table for table in tables if len(table["rows"]) > 1]


def _pictures(pictures: Document | None) -> list[dict[str, Any]]:
    """Return picture rows: originals, then each cut."""
    if pictures is None:
        return []
    rows = [{"name": "original", "layers": 0, "png": pictures["originals"]}]
    return rows + [{"name": row["cut"], "layers": row["layers"], "png": row["png"]} for row in pictures["cuts"]]
