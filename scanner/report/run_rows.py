"""What stands in the JSON files of runs, as rows: `runs`, `evidence` and `nights`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.report.evidence_view import EVIDENCE_FORMAT, EVIDENCE_VERSION
from scanner.report.read import read_summary
from scanner.report.runs import night_of

Row = dict[str, Any]

RUNS: Final = pa.schema(
    [
        ("run", pa.string()),
        ("position", pa.int32()),
        ("night", pa.int32()),
        ("source", pa.string()),
        ("sources", pa.list_(pa.string())),
        ("indexes", pa.list_(pa.string())),
        ("references", pa.int64()),
        ("embedder", pa.string()),
        ("fingerprint", pa.string()),
        ("faces_mode", pa.string()),
        ("threshold", pa.float64()),
        ("threshold_origin", pa.string()),
        ("fmr", pa.float64()),
        *((name, pa.int64()) for name in ("entries", "items", "duplicates", "rejected", "faces", "faces_rejected")),
        *((name, pa.int64()) for name in ("matches", "matched_queries", "matched_identities", "comparisons")),
        ("false_matches_expected", pa.float64()),
        ("near_copies", pa.int64()),
        ("same_bytes", pa.int64()),
        ("verdict", pa.string()),
        ("seed", pa.int64()),
        ("scanner_version", pa.string()),
        ("document", pa.string()),
    ]
)
"""One row a run, from `run.json`.

`position` counts the runs in the order of `find_runs`, from 0; `night` is empty outside a nightly job; `source` is the
night's name for what was scanned, else the sources themselves, joined by a comma; `references` counts what all indexes hold;
`fmr` is the false match rate that the threshold was calibrated at, empty where it was given; `document` is `run.json`.
"""

_SHARES = ("share", "share_low", "share_high")
EVIDENCE: Final = pa.schema(
    [
        ("run", pa.string()),
        ("verdict", pa.string()),
        ("sentence", pa.string()),
        ("level", pa.float64()),
        *((name, pa.int64()) for name in ("identities", "below_level", "below_level_by", "below_level_conformal")),
        ("null_identities", pa.int64()),
        ("p_floor", pa.float64()),
        *((name, pa.int64()) for name in ("searches", "searches_below_level", "clusters")),
        *((name, pa.float64()) for name in (*_SHARES, "population_p_value", "leaking", "leaking_low", "leaking_high")),
        *((name, pa.float64()) for name in ("fpir", "fpir_low", "fpir_high", "false_pairs_expected", "smallest_leak")),
        ("guards_fired", pa.list_(pa.string())),
        ("document", pa.string()),
    ]
)
"""One row a run with a null, from `evidence.json`; what could not be said is empty.

`below_level` counts identities with q_value (Benjamini-Hochberg) at or below `level`, `_by` those by Benjamini-Yekutieli,
`_conformal` those by conformal p-values; `share` is how often a scanned face lies nearer to a candidate than to a null
person (0.5 is chance), `leaking` the share of generated identities that this means, each with its 95 % interval; `smallest_leak`
is the share of leaked candidates that would have been seen in 8 of 10 scans; `document` is `evidence.json`.
"""

NIGHTS: Final = pa.schema(
    [
        ("job", pa.string()),
        ("night", pa.int32()),
        ("runs", pa.list_(pa.string())),
        *((name, pa.int64()) for name in ("entries", "faces", "rejected", "matches")),
        ("verdicts", pa.list_(pa.string())),
        ("document", pa.string()),
    ]
)
"""One row a night of a nightly job: its runs in order, their counts added up, their verdicts, and `night.json`."""


_RUN_PLACES: Final = {
    "sources": "queries",
    "embedder": "road.embedder.name",
    "fingerprint": "road.embedder.fingerprint",
    "faces_mode": "road.faces.mode",
    "threshold": "threshold.value",
    "threshold_origin": "threshold.origin",
    "fmr": "threshold.point.fmr",
    **{name: f"counts.{name}" for name in ("entries", "items", "duplicates", "rejected", "faces", "faces_rejected")},
    **{name: f"results.{name}" for name in ("matches", "matched_queries", "matched_identities", "comparisons")},
    **{name: f"results.{name}" for name in ("false_matches_expected", "near_copies", "same_bytes")},
    "seed": "seed",
    "scanner_version": "versions.identity-leak-scanner",
}
_EVIDENCE_PLACES: Final = {
    "verdict": "verdict.state",
    "sentence": "verdict.sentence",
    **{name: f"identities.{name}" for name in ("level", "identities", "null_identities", "p_floor")},
    **{name: f"identities.{name}" for name in ("below_level", "below_level_by", "below_level_conformal")},
    "searches": "searches.searches",
    "searches_below_level": "searches.below_level",
    "clusters": "clusters.clusters",
    "share": "population.share",
    "population_p_value": "population.p_value",
    "leaking": "population.leaking",
    "fpir": "rates.fpir.value",
    "fpir_low": "rates.fpir.low",
    "fpir_high": "rates.fpir.high",
    "false_pairs_expected": "rates.false_pairs_expected",
    "smallest_leak": "power.smallest",
}


def read_rows(folders: Sequence[Path], labels: Sequence[str]) -> dict[str, pa.Table]:
    """Read what the JSON files of runs say: tables `runs`, `evidence` and `nights`, in the order of the runs.

    Raises:
        ArtefactError: a file is missing, broken, of another kind or newer than this scanner; names it.
    """
    runs, evidence = [], []
    for position, (folder, label) in enumerate(zip(folders, labels, strict=True)):
        found = _evidence_row(folder, label)
        verdict = None if found is None else found["verdict"]
        runs.append({**_run_row(folder), "run": label, "position": position, "verdict": verdict})
        evidence += [] if found is None else [found]
    return {
        "runs": pa.Table.from_pylist(runs, schema=RUNS),
        "evidence": pa.Table.from_pylist(evidence, schema=EVIDENCE),
        "nights": pa.Table.from_pylist(_night_rows(folders, runs), schema=NIGHTS),
    }


def _run_row(folder: Path) -> Row:
    summary, night = read_summary(folder), night_of(folder)
    with _whole(folder / "run.json", RUNS) as checked:
        row = {name: _at(summary, place) for name, place in _RUN_PLACES.items()}
        indexes = summary["indexes"]
        return checked(
            {
                **row,
                "night": night,
                "source": ", ".join(row["sources"]) if night is None else folder.name,
                "indexes": [index["name"] for index in indexes],
                "references": sum(index["rows"] for index in indexes),
                "document": _compact(summary),
            }
        )


def _evidence_row(folder: Path, label: str) -> Row | None:
    path = folder / "evidence.json"
    if not path.exists():
        return None
    document = artefacts.read_json(path)
    if not artefacts.is_readable(document, EVIDENCE_FORMAT, EVIDENCE_VERSION):
        raise ArtefactError(
            f"{path} is no evidence that this scanner can read. Install the newer scanner that wrote it."
        )
    with _whole(path, EVIDENCE) as checked:
        row = {name: _at(document, place) for name, place in _EVIDENCE_PLACES.items()}
        row["share_low"], row["share_high"] = _at(document, "population.share_interval") or (None, None)
        row["leaking_low"], row["leaking_high"] = _at(document, "population.leaking_interval") or (None, None)
        fired = [guard["name"] for guard in document.get("guards", ()) if guard["fired"]]
        return checked({**row, "run": label, "guards_fired": fired, "document": _compact(document)})


def _night_rows(folders: Sequence[Path], runs: Sequence[Row]) -> list[Row]:
    nights: dict[Path, Row] = {}
    for folder, run in zip(folders, runs, strict=True):
        if run["night"] is None:
            continue
        of_night = folder.resolve().parent
        account = of_night / "night.json"
        row = nights.setdefault(
            of_night,
            {
                "job": of_night.parent.parent.name,
                "night": run["night"],
                "runs": [],
                "verdicts": [],
                "document": _compact(artefacts.read_json(account)) if account.exists() else None,
            },
        )
        row["runs"].append(run["run"])
        row["verdicts"] += [run["verdict"]] if run["verdict"] is not None else []
        for name in ("entries", "faces", "rejected", "matches"):
            row[name] = row.get(name, 0) + (run[name] or 0)
    return list(nights.values())


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def _at(document: Any, place: str) -> Any:
    """Return what stands at `a.b.c`; None where an older scanner, or a run without it, wrote nothing."""
    for key in place.split("."):
        document = document.get(key) if document is not None else None
    return document


@contextmanager
def _whole(path: Path, schema: pa.Schema) -> Iterator[Callable[[Row], Row]]:
    """Lend a check that a row is of a schema; what is not as it should be becomes a sentence about `path`."""

    def checked(row: Row) -> Row:
        pa.Table.from_pylist([row], schema=schema)
        return row

    try:
        yield checked
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # Arrow's errors are TypeErrors or ValueErrors
        raise ArtefactError(f"{path} does not hold what it should: {error!r}. Make the run again.") from error
