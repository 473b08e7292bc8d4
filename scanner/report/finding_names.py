"""Findings of a run by name, as somebody who acknowledges one gives it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from scanner import artefacts
from scanner.errors import UsageError
from scanner.report.acknowledged import Finding, read_acknowledged
from scanner.report.diff_findings import NAMED
from scanner.report.diff_pairs import BLOCK_ROWS, FINDING_KEYS, with_finding
from scanner.report.read import read_summary


def finding_called(run: Path, *, identity: str | None, uri: str | None, index: str | None = None) -> Finding:
    """Return the finding of a run that has this identity, or this uri and no identity.

    Args:
        run: the run folder; its matches are read in blocks.
        identity: label of the identity; None where `uri` is given.
        uri: of a reference without an identity.
        index: name of its index; None where only one index has it.

    Raises:
        UsageError: none or both are given, the run has no such finding, or several indexes have it.
        ArtefactError: the folder is no finished run.
    """
    wanted = Finding(index or "", identity, uri)
    indexes = sorted(_indexes_with(run, wanted))
    what = f"identity {identity!r}" if identity is not None else f"matched reference {uri!r} without an identity"
    if not indexes:
        raise UsageError(
            f"{run} found no {what}: it has no match at the run's threshold and is not named. `scanner report show {run}` "
            "lists what was found."
        )
    if index is not None and index not in indexes:
        raise UsageError(f"{run} found {what} in {' and '.join(indexes)}, not in {index!r}. Pass --index {indexes[0]}.")
    if index is None and len(indexes) > 1:
        raise UsageError(
            f"{run} found {what} in {' and '.join(indexes)}. Say which one is meant: --index {indexes[0]}, for instance."
        )
    return Finding(index or indexes[0], identity, uri)


def acknowledged_called(path: Path, *, identity: str | None, uri: str | None, index: str | None = None) -> Finding:
    """Return the acknowledged finding of this name, whichever run found it; arguments and errors as of `finding_called`."""
    wanted = Finding(index or "", identity, uri)
    indexes = [one.index for one in read_acknowledged(path) if (one.identity, one.uri) == (identity, uri)]
    if index is None and len(indexes) > 1:
        both = " and ".join(sorted(indexes))
        raise UsageError(f"{wanted.name!r} is acknowledged in {both}. Say which one is meant: --index {min(indexes)}.")
    if not indexes:
        raise UsageError(
            f"{wanted.name!r} is not acknowledged in {path}: there is nothing to withdraw. `scanner report acknowledge RUN "
            "--list` lists what is."
        )
    return Finding(index or indexes[0], identity, uri)


def _indexes_with(run: Path, wanted: Finding) -> set[str]:
    """Return the indexes in which a run matched or named an identity or a reference of this name."""
    evidence = read_summary(run).get("evidence")
    column = "uri" if wanted.identity is None else "identity"
    found: set[str] = set()
    names = ["index", "identity", "reference_uri"]
    for table in artefacts.iter_tables(run / "matches.parquet", "matches", rows_max=BLOCK_ROWS, columns=names):
        keys = with_finding(table).select(FINDING_KEYS)
        found.update(keys.filter(pc.equal(keys[column], wanted.name))["index"].unique().to_pylist())
    if wanted.identity is not None and evidence is not None and evidence["verdict"]["state"] == NAMED:
        names = ["index", "identity", "q_value"]
        for table in artefacts.iter_tables(
            run / "identities.parquet", "identities", rows_max=BLOCK_ROWS, columns=names
        ):
            named = pc.and_(
                pc.equal(table["identity"], wanted.name), pc.less_equal(table["q_value"], evidence["level"])
            )
            found.update(table.filter(named)["index"].unique().to_pylist())
    return found
