"""Erase people from an index, and from what the index says about its sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from indexes import open_index
from scanner import artefacts
from scanner.errors import UsageError


@dataclass(frozen=True, slots=True)
class Erased:
    """How many references were erased, how many are left, and when it was (UTC, ISO 8601)."""

    erased: int
    rows: int
    erased_at: str


def erase(
    path: str | Path,
    *,
    ids: Sequence[int] = (),
    identities: Sequence[str] = (),
    uris: Sequence[str] = (),
    request: str | None = None,
) -> Erased:
    """Erase references by id, identity or uri; their bytes go with `Index.compact`.

    The lists of rejects beside the index lose every row of the same pictures and of the same identities.  Runs and
    embeddings files made before are not touched: they lie elsewhere.

    Raises:
        UsageError: not exactly one of the three was given, or one of several names is not there.
        IndexesError: nothing fits.
    """
    if sum(map(bool, (ids, identities, uris))) != 1:
        raise UsageError("Say what to erase by one of --id, --identity, --uri.")
    index = open_index(Path(path))
    column, wanted = ("identity", identities) if identities else ("uri", uris)
    references = index.references()
    columns = ["id", "item_id", "uri", "other_uris", "identity"]
    there = index.lookup(references.ids[references.live_rows()], columns=columns)
    chosen = (
        pc.is_in(there["id"], pa.array(ids, pa.int64()))
        if ids
        else pc.is_in(there[column], pa.array(wanted, pa.string()))
    )
    rows = there.filter(chosen)
    items = {item for item in rows["item_id"].to_pylist() if item}
    missing = [] if ids else sorted(set(wanted) - set(rows[column].to_pylist()))
    if rows.num_rows and missing:
        raise UsageError(
            f"{path} has no reference of {column} {', '.join(missing)}, so nothing was erased. Write it as the index has it, "
            "or leave it out."
        )
    names = {*rows["uri"].to_pylist(), *(uri for others in rows["other_uris"].to_pylist() for uri in others or ())}
    if rows.num_rows:
        # First the lists: killed in between, the same command still finds the references and goes on.
        for file in sorted((Path(path) / "intake").glob("*.rejects.parquet")):
            _scrub(file, items, names, set(identities))
    record = index.remove(list(ids), request=request) if ids else index.remove(where={column: wanted}, request=request)
    return Erased(len(record.ids), index.rows, record.erased_at)


def _scrub(file: Path, items: set[str], uris: set[str], identities: set[str]) -> None:
    table = artefacts.read_table(file, "rejects")
    gone = pa.array(
        [
            item in items or uri in uris or identity in identities
            for item, uri, identity in zip(*(table[n].to_pylist() for n in ("item_id", "uri", "identity")), strict=True)
        ],
        pa.bool_(),
    )
    if pc.any(gone).as_py():
        artefacts.write_tables(file, table.schema, [table.filter(pc.invert(gone))])
