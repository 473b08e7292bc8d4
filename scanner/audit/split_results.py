"""From finished units to what a split audit says: the section of `audit.json`, the rows of `split.parquet`, the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scanner import artefacts
from scanner.audit.results import plain
from scanner.audit.split_judge import ALL
from scanner.audit.split_open import Opened
from scanner.evidence.gate import share
from scanner.evidence.split import NULLS, TYPES

SPLIT_ROWS = pa.schema(
    [
        pa.field("cut", pa.string(), nullable=False),
        pa.field("layers", pa.int32(), nullable=False),
        pa.field("defence", pa.string(), nullable=False),
        pa.field("strength", pa.float64(), nullable=False),
        pa.field("judge", pa.string()),
        pa.field("fmr", pa.float64()),
        pa.field("match", pa.string()),
        pa.field("null", pa.string()),
        pa.field("headline", pa.bool_()),
        pa.field("trials", pa.int32()),
        pa.field("people", pa.int32()),
        pa.field("threshold", pa.float64()),
        pa.field("rate", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("chance", pa.float64()),
        pa.field("psnr_db", pa.float64()),
        pa.field("ssim", pa.float64()),
        pa.field("gap", pa.float64()),
        pa.field("class_agreement", pa.float64()),
        pa.field("own", pa.float64()),
    ]
)
"""One row a cut, defence, judge, FMR, type and null; one row a cut and defence where there is no judge.

`chance` is the share of re-created photos of other people that reach the originals' threshold; `own` is what is left of
the network's own work (TAR, or the share of photos whose class is kept).
"""
Document = dict[str, Any]


def conclude(
    opened: Opened, *, photos: Document, baselines: Document, units: Sequence[Document], originals: Sequence[str]
) -> tuple[Document, list[Document]]:
    """Return the section "split" of `audit.json` and the rows of `split.parquet`."""
    section = opened.section
    pictures = [
        {"cut": unit["cut"], "layers": unit["layers"], "png": unit.pop("pictures")}
        for unit in units
        if "pictures" in unit
    ]
    plainly = [unit for unit in units if unit["defence"]["kind"] == "none"]
    gate = gate_of(opened, plainly) if section.match_rate_max is not None else None
    verdict = {"state": gate["state"], "sentence": gate["sentence"]} if gate else measured(opened, plainly, photos)
    document = {
        "network": {
            "name": opened.network.name, "fingerprint": opened.network.fingerprint, "classes": opened.network.classes,
            "input_px": list(opened.size_px),
        },
        "inverse": {"weights_sha256": opened.inverse_sha256, "real_data": opened.real_data},
        "judges": [{"name": judge.name, "fingerprint": judge.embedder.fingerprint} for judge in opened.judges],
        "gap_network": None if opened.gap is None else {"name": opened.gap.name, "fingerprint": opened.gap.fingerprint},
        "faces": {"finder": opened.finder.name, "fingerprint": opened.finder.fingerprint},
        "photos": photos,
        "baselines": plain(baselines),
        "cuts": [{"name": cut, "layers": layers} for cut, layers in zip(opened.cuts, opened.layers, strict=True)],
        "units": list(units),
        "gate": gate,
        "verdict": verdict,
        "pictures": {"originals": list(originals), "cuts": pictures} if originals else None,
    }  # fmt: skip
    return document, [row for unit in units for row in _rows(unit)]


def write_split(path: Path, rows: Sequence[Document], fingerprint: str) -> None:
    """Write `split.parquet`; `fingerprint` is the attacked network's."""
    schema = artefacts.stamped(SPLIT_ROWS, "split", fingerprint=fingerprint)
    artefacts.write_tables(
        path, schema, [artefacts.table_of(schema, {name: [row.get(name) for row in rows] for name in schema.names})]
    )


def gate_of(opened: Opened, units: Sequence[Document]) -> Document:
    """Hold every judge, type and cut against what is tolerated.

    "fail" needs one lower bound above it, where the bounds hold together (Bonferroni), so that it is wrong with a chance
    of at most 1 - confidence; "pass" needs every upper bound at or below it, each with the full confidence, so that it is
    wrong with no greater chance (intersection-union test).
    """
    section = opened.section
    most = section.match_rate_max or 0.0
    cuts = [unit for unit in units if unit["cut"] in (section.gate_cuts or opened.cuts)]
    tried = [
        {"cut": unit["cut"], "judge": entry["judge"], "match": match, "rate": entry["rates"][match][entry["headline"]]["value"],
         **entry["bounds"][match][entry["headline"]]}
        for unit in cuts
        for entry in headline_entries(unit, section.fmr[0])
        for match in entry["bounds"]
    ]  # fmt: skip
    worst, surest = max(tried, key=lambda one: one["high"]), max(tried, key=lambda one: one["low"])
    sure, told = share(section.confidence), _how(section.fmr[0])
    if surest["low"] > most:
        state, sentence = "fail", (
            f"Fail: at {surest['cut']} more than {share(surest['low'])} of re-created photos are recognised by {surest['judge']} {told}, "
            f"with {sure} confidence; {share(most)} are tolerated."
        )  # fmt: skip
    elif worst["high"] <= most:
        state, sentence = "pass", (
            f"Pass: at every cut at most {share(worst['high'])} of re-created photos are recognised {told}, with {sure} confidence; "
            f"{share(most)} are tolerated."
        )  # fmt: skip
    else:
        state, sentence = "inconclusive", (
            f"Inconclusive: at {worst['cut']} between {share(worst['low'])} and {share(worst['high'])} of re-created photos are "
            f"recognised by {worst['judge']} {told}; {share(most)} are tolerated. Name more people to know better."
        )  # fmt: skip
    return {
        "state": state, "sentence": sentence, "match_rate_max": most, "confidence": section.confidence, "fmr": section.fmr[0],
        "cuts": [unit["cut"] for unit in cuts], "worst": worst, "tried": len(tried),
    }  # fmt: skip


def joined(generators: Mapping[str, str] | None, split: Mapping[str, str] | None) -> dict[str, str]:
    """Return the verdict of the whole file: the worse state of the two parts, and both sentences."""
    parts = [part for part in (generators, split) if part is not None]
    order = ("fail", "inconclusive", "measured", "pass")
    state = min((part["state"] for part in parts), key=order.index)
    return {"state": state, "sentence": " ".join(part["sentence"] for part in parts)}


def measured(opened: Opened, units: Sequence[Document], photos: Mapping[str, Any]) -> Document:
    """Return what is said without a gate: the deepest cut, and the shallowest beside it."""
    first, last = units[0], units[-1]
    if not opened.judges:
        one, other = (unit["own"].get("agreement", {"value": 0.0})["value"] for unit in (first, last))
        text = (
            f"Re-created pictures get the original's class in {share(one)} of cases at {first['cut']} ({_layers(first)} deep) "
            f"and in {share(other)} at {last['cut']} ({_layers(last)})."
        )
        return {"state": "measured", "sentence": text}
    fmr = opened.section.fmr[0]
    return {
        "state": "measured",
        "sentence": f"Photos of {photos['people']} people, re-created from the features, are recognised in {_most(first, fmr)} of cases "
        f"{_layers(first)} deep ({first['cut']}) and in {_most(last, fmr)} {_layers(last)} deep ({last['cut']}), by the judge that sees "
        f"most, {_how(fmr)}.",
    }  # fmt: skip


def headline_entries(unit: Mapping[str, Any], fmr: float) -> list[Document]:
    """Return the entries of single judges at one FMR."""
    return [entry for entry in unit["judges"] if entry["fmr"] == fmr and entry["judge"] != ALL]


def _most(unit: Mapping[str, Any], fmr: float) -> str:
    return share(max(entry["rates"]["type_1"][entry["headline"]]["value"] for entry in headline_entries(unit, fmr)))


def _layers(unit: Mapping[str, Any]) -> str:
    return f"{unit['layers']} layer{'s' if unit['layers'] > 1 else ''}"


def _how(fmr: float) -> str:
    return f"at a false match rate of {share(fmr)}"


def _rows(unit: Mapping[str, Any]) -> list[Document]:
    """Return a unit's rows of `split.parquet`."""
    own = unit["own"]
    same = {
        "cut": unit["cut"], "layers": unit["layers"], "defence": unit["defence"]["kind"], "strength": unit["defence"]["value"],
        **{name: at["mean"] for name, at in unit["quality"].items()},
        "class_agreement": own.get("agreement", {}).get("value"),
        "own": (own.get("tar") or own.get("kept") or {}).get("value"),
    }  # fmt: skip
    rows = []
    for entry in unit["judges"]:
        if entry["judge"] == ALL:
            at = entry["rates"]["type_1"]
            rows.append(
                {**same, "judge": ALL, "fmr": entry["fmr"], "match": "type_1", "headline": True, **_figures(at)}
            )
            continue
        for match in (match for match in TYPES if match in entry["rates"]):
            for null in NULLS:
                at = entry["rates"][match][null]
                is_headline = null == entry["headline"]
                rows.append({
                    **same, "judge": entry["judge"], "fmr": entry["fmr"], "match": match, "null": null, "headline": is_headline,
                    "threshold": at["threshold"], "chance": entry["chance"], **_figures(at),
                })  # fmt: skip
    return rows or [same]


def _figures(at: Mapping[str, Any]) -> Document:
    return {"rate": at["value"], **{name: at[name] for name in ("low", "high", "trials", "people")}}
