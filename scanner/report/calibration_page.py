"""The page of a calibration: DET, ROC, FPIR against gallery size, and the tables behind them.

Self-contained as the report of a run: no script, no remote content, everything escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from indexes.atomic import write_text
from scanner.evidence.calibration import OperatingPoint
from scanner.evidence.det import DetCurve, OneToMany, RocPoint, SizeCurve
from scanner.report.axes import power_text
from scanner.report.curves import Line, Plot, plot
from scanner.report.template import read_template

DET_CURVES_MAX = 5
_THIN = "\N{THIN SPACE}"


def write_calibration_page(
    path: Path,
    *,
    on: str,
    fingerprint: str,
    faces: int,
    identities: int,
    points: Sequence[OperatingPoint],
    rates: OneToMany,
) -> Path:
    """Write the page; return its path.

    Args:
        path: of the HTML file; replaced if it is there.
        on: what the user named as calibration set.
        fingerprint: of the embedder.
        faces: in the set.
        identities: in the set.
        points: thresholds at the wanted false match rates.
        rates: identification rates.
    """
    page = read_template("calibration.html.j2", count=_count, rate=_rate).render(
        headline=headline(rates), on=on, fingerprint=fingerprint, faces=faces, identities=identities, points=points,
        rates=rates, det=det_plot(rates.det, wanted=rates.fpir) if rates.det else None,
        roc=roc_plot(rates.roc) if rates.roc else None, sizes=size_plot(rates.sizes) if rates.sizes else None,
        clustered=_clustered(rates),
    )  # fmt: skip
    write_text(path, page)
    return path


def headline(rates: OneToMany) -> str:
    """Return the result for the largest supported gallery in one sentence."""
    if not rates.points:
        return f"The set supports no threshold at FPIR {rates.fpir:g}, for any gallery size that was asked for; the notes say why."
    point = rates.points[-1]
    found = (
        f"Among {_count(point.gallery_size)} references a threshold of {point.threshold:.4f} finds somebody in "
        f"{_rate(point.fpir.value)} of the searches of people who are not there"
    )
    if point.extrapolated:
        found += " (extrapolated)"
    if point.fnir is None:
        return found + "; how many of those who are there it misses is not known."
    return f"{found}, and misses {_rate(point.fnir.value)} of those who are."


def det_plot(curves: Sequence[DetCurve], *, wanted: float) -> Plot:
    """Draw FNIR against FPIR, a curve a gallery size; the largest sizes where there are many."""
    chosen = curves[-DET_CURVES_MAX:]
    lines = [
        Line(
            f"{_count(curve.size)} references" + (", extrapolated" if curve.points[0].fpir.extrapolated else ""),
            tuple((point.fpir.value, point.fnir.value) for point in curve.points),
            band=tuple((p.fpir.value, p.fnir.low, p.fnir.high) for p in curve.points) if len(chosen) == 1 else None,
            dashed=curve.points[0].fpir.extrapolated,
        )
        for curve in chosen
    ]
    return plot(
        lines, x_label="FPIR", y_label="FNIR", x_log=True, y_log=True, marks=[(wanted, f"FPIR {wanted:g}")], height=320,
        title=f"Detection error trade-off: FNIR against FPIR for {', '.join(line.name for line in lines)}",
    )  # fmt: skip


def roc_plot(points: Sequence[RocPoint]) -> Plot:
    """Draw TAR against FMR over all pairs."""
    line = Line("all pairs", tuple((point.fmr, point.tar) for point in points))
    return plot(
        [line], x_label="FMR", y_label="TAR", x_log=True, title="Receiver operating characteristic: TAR against FMR"
    )


def size_plot(curves: Sequence[SizeCurve]) -> Plot:
    """Draw FPIR against gallery size: measured with its interval, and dashed what 1 - (1 - FMR)^N says."""
    lines: list[Line] = []
    for ink, curve in enumerate(curves):
        name = f"FMR {power_text(float(f'{curve.fmr:.1e}'))}" if curve.fmr else f"threshold {curve.threshold:.3f}"
        measured = tuple((float(row.size), row.fpir.value) for row in curve.sizes)
        band = tuple((float(row.size), row.fpir.low, row.fpir.high) for row in curve.sizes)
        lines.append(Line(name, measured, band=band, ink=ink))
        lines.append(Line("", tuple((float(row.size), row.by_fmr) for row in curve.sizes), dashed=True, ink=ink))
    return plot(
        lines, x_label="gallery size", y_label="FPIR", x_log=True, y_log=True, height=320,
        title="FPIR against gallery size, measured by searches and as pairs would have it",
    )  # fmt: skip


def _clustered(rates: OneToMany) -> str:
    """Say how far FPIR from pairs and from searches lie apart, where they do most."""
    rows = [
        (row.by_fmr / row.fpir.value, curve, row)
        for curve in rates.sizes
        for row in curve.sizes
        if row.fpir.value > 0 and not row.fpir.extrapolated
    ]
    if not rows:
        return ""
    ratio, curve, row = max(rows, key=lambda found: found[0])
    return (
        f"At threshold {curve.threshold:.4f} and {_count(row.size)} references the pairs say {_rate(row.by_fmr)}, the searches "
        f"{_rate(row.fpir.value)}: a factor of {ratio:.2f}, the largest here."
    )


def _count(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", _THIN)


def _rate(value: float) -> str:
    """A rate in per cent with about two digits."""
    if value in {0.0, 1.0}:
        return "0" if value == 0 else f"100{_THIN}%"
    if value >= 0.9995:  # noqa: PLR2004 - would be rounded to all
        return f"> 99.9{_THIN}%"
    return f"{100 * value:.2g}{_THIN}%" if value < 0.0995 else f"{100 * value:.1f}{_THIN}%"  # noqa: PLR2004 - 10 %
