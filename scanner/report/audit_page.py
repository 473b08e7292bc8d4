"""The page of an audit: made from `audit.json` and `scores.parquet` alone; no script, no remote content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.atomic import write_text
from scanner import artefacts
from scanner.report.audit_figures import figures_of, growth_figure
from scanner.report.split_view import split_view
from scanner.report.template import read_template

SCORE_TEXT = {
    "best_match": "best match",
    "mean_of_k": "mean of the k best matches",
    "count_within": "number of samples within a radius (Monte-Carlo)",
    "calibrated": "best match, calibrated",
    "learned": "learned attack, cross-validated by identity",
    "min_match": "baseline: highest score of any photo, as most tools print it (GAN-Leaks, uncalibrated)",
    "privet": "baseline: extreme values, after PRIVET",
}
"""What the columns of `scores.parquet` are called; the others keep their names."""
SET_TEXT = {
    "c_t": "baseline, whole set: C_T (Meehan et al. 2020); below 0 is copying",
    "auth_share": "baseline, whole set: share of samples that are not authentic (AuthPct)",
    "privacy_loss": "baseline, whole set: privacy loss (NNAA)",
    "dcr_share": "baseline, whole set: share of samples nearer to members (DCR)",
    "ks": "baseline, whole set: Kolmogorov-Smirnov of recovery errors (Webster et al. 2019)",
    "mre_gap": "baseline, whole set: gap of median recovery errors (Webster et al. 2019)",
}
LEFT_OUT_TEXT = {
    "no_identity": "without an identity",
    "in_samples_or_training": "the very picture of a sample or a training photo",
    "on_both_sides": "the same picture as member and as non-member",
    "duplicate": "the same picture again",
    "too_few_photos": "of people with too few photos",
    "beyond_photos_each": "more than everybody is seen through",
}
PEOPLE_MAX = 40
"""Member identities that a table shows."""


def write_audit_page(folder: Path) -> Path:
    """Write `report.html` into an audit's folder; return its path."""
    path = folder / "report.html"
    document = artefacts.read_json(folder / "audit.json")
    scores = artefacts.read_table(folder / "scores.parquet", "scores") if document["generators"] else None
    write_text(path, render(document, scores))
    return path


def render(document: dict[str, Any], scores: pa.Table | None) -> str:
    """Return the page.

    Args:
        document: `audit.json`.
        scores: `scores.parquet`; None where only a split network was audited.
    """
    template = read_template(
        "audit.html.j2", count=_count, percent=_percent, p=_two_digits, score_text=_score_text, set_text=_set_text
    )
    return template.render(
        a=document,
        verdict=document["verdict"],
        gated=document["config"]["gate"],
        title="Identity membership audit" if document["generators"] else "Split-computing audit",
        generators=[] if scores is None else [_generator(generator, scores) for generator in document["generators"]],
        split=split_view(document["split"], document["config"]["split"]) if document.get("split") else None,
        growth=growth_figure(document["generators"]),
        left_out_text=LEFT_OUT_TEXT,
        people_max=PEOPLE_MAX,
    )


def _generator(generator: dict[str, Any], scores: pa.Table) -> dict[str, Any]:
    """Return what the template shows of one generator."""
    rows = scores.filter(pc.equal(scores["generator"], generator["name"]))
    best = max(generator["scores"], key=lambda name: generator["scores"][name]["auc"]["value"])
    members = rows.filter(rows["member"])
    table = members.select(["identity", "best_score", "p_value", "q_value"]).to_pylist()
    table.sort(key=lambda row: (row["p_value"], -row["best_score"], row["identity"]))
    return {
        "is": generator,
        "best": best,
        "scores": [(name, generator["scores"][name]) for name in _in_order(generator["scores"])],
        "members": table[:PEOPLE_MAX],
        "figures": figures_of(generator, _columns(rows, best), best),
    }


def _in_order(scores: dict[str, Any]) -> list[str]:
    """Return the names of scores, ours first; JSON has sorted them."""
    known = list(SCORE_TEXT)
    return sorted(scores, key=lambda name: (known.index(name) if name in known else len(known), name))


def _columns(rows: pa.Table, best: str) -> dict[str, NDArray[Any]]:
    """Return the columns that figures are drawn from."""
    wanted = {"member", "best_score", "best_match", best} & set(rows.column_names)
    return {name: np.asarray(rows[name].to_numpy(zero_copy_only=False)) for name in sorted(wanted)}


def _two_digits(value: float) -> str:
    """A p-value, or any number that two digits are enough for."""
    return f"{value:.2g}"


def _score_text(name: str) -> str:
    return SCORE_TEXT.get(name, name)


def _set_text(name: str) -> str:
    return SET_TEXT.get(name, name)


def _count(value: float) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,.0f}".replace(",", "\N{THIN SPACE}")


def _percent(value: float) -> str:
    """A share as per cent."""
    return f"{100 * value:.3g} %" if value >= 0.1 else f"{100 * value:.2g} %"  # noqa: PLR2004
