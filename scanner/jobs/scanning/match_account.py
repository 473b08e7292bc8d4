"""What `--null-match` did, for `run.json` and the report: what was matched, how far, and what could not be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from indexes import Index
from scanner import artefacts
from scanner.faces.domain import Domain, quantiles


def describe(domain: Domain, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what was matched and what could not be, for `run.json` and the report.

    Args:
        domain: of the queries.
        paths: what `match_galleries` returned.
    """
    known = domain.bytes_read
    matched = ["resolution", *(["JPEG compression", "colour"] if known else [])]
    open_ = [
        "pose, light and expression are those of the photos: a two-sample test of candidates and null covers them, "
        "not one against the queries",
        "blur and enlargement from before a query was saved: sizes are counted in its file's pixels "
        "(compare sharpness before and after)",
        "the place of the landmarks: found on the references' full-size photos",
    ]
    if domain.landmarks is not None:
        matched.append("crop")
    else:
        open_.append("the crop: the queries' frame is taken to be the template, or where the detector put it")
    if not known:
        open_.append("compression and colour: the queries came as vectors")
    if domain.webp:
        open_.append(f"the compression of {domain.webp} WebP queries, whose quality is not written in the file")
    return {
        "matched": matched,
        "not_matched": open_,
        "queries": domain.summary(),
        "references": [artefacts.read_json(account_path(path)) for path in paths],
    }


def account_of(index: Index, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what was done to one index's references."""
    names = ["size_before", "size_after", "sharpness", "changed", "embedded"]
    table = pa.concat_tables([artefacts.read_table(path, "matched", columns=names) for path in paths])
    before, after = (table[name].to_numpy() for name in ("size_before", "size_after"))
    old = [quality["sharpness"] for quality in index.column("quality").to_pylist()]
    return {
        "name": index.path.resolve().name,
        "rows": table.num_rows,
        "changed": int(np.count_nonzero(table["changed"].to_numpy())),
        "no_more_pixels_than_queries": int(np.count_nonzero(after == before)),
        "not_embedded": int(np.count_nonzero(~table["embedded"].to_numpy())),
        "size_px_before": quantiles(before),
        "size_px_after": quantiles(after),
        "sharpness_before": quantiles(old),
        "sharpness_after": quantiles(table["sharpness"].to_numpy()),
    }


def part_paths(parts: Path) -> list[Path]:
    """Return the finished parts of one index, in order."""
    return sorted(parts.glob("[0-9]*.parquet"))


def account_path(made: Path) -> Path:
    """Return where the account of a matched index lies: beside it."""
    return made.with_name(f"{made.name}.json")
