"""Pairs and groups of one index's references → `pairs.parquet`, `groups.parquet` and, if wanted, `crops.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Index
from indexes.self_join import Pairs
from scanner import artefacts
from scanner.jobs.embedding.copies import near_copies, reference_hashes
from scanner.jobs.indexing.dedupe_groups import KINDS, Groups, Labelled, members
from scanner.progress import Progress

LOOKUP_PAIRS = 1 << 18
"""Pairs whose names are looked up together: others lie anywhere in the index, so few look-ups read it fewer times."""


def read_labels(index: Index) -> Labelled:
    """Return the references that are not erased, with their labels as numbers."""
    references = index.references()
    names = index.column("identity").dictionary_encode().unify_dictionaries().combine_chunks()
    chunks = names.chunks if isinstance(names, pa.ChunkedArray) else [names]
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    identities = np.concatenate([np.empty(0, np.int32), *codes]).astype(np.int32)
    return Labelled(references.ids[references.live_rows()], identities)


def write_pairs(
    out: Path, index: Index, labelled: Labelled, groups: Groups, parts: Iterable[Pairs], progress: Progress
) -> dict[str, int]:
    """Write every pair with its names; return what they add up to."""
    schema = artefacts.stamped(artefacts.DEDUPE_PAIRS, "dedupe_pairs", fingerprint=index.fingerprint)
    counts, near = np.zeros(len(KINDS), np.int64), 0
    with artefacts.TableWriter(out / "pairs.parquet", schema) as writer:
        for pairs in _together(parts):
            kinds = labelled.kinds(pairs)
            table = _pairs_table(index, schema, labelled, groups, pairs, kinds)
            counts += np.bincount(kinds, minlength=len(KINDS))
            near += int(np.count_nonzero(table["near_copy"].to_numpy()))
            writer.write(table)
            progress.advance(pairs.rows)
    kinds_found = {f"pairs_{kind.value}": int(count) for kind, count in zip(KINDS, counts, strict=True)}
    return {"pairs": int(counts.sum()), **kinds_found, "near_copies": near}


def write_groups(out: Path, index: Index, labelled: Labelled, groups: Groups) -> None:
    """Write everybody who is in a group."""
    schema = artefacts.stamped(artefacts.DEDUPE_GROUPS, "dedupe_groups", fingerprint=index.fingerprint)
    density = groups.density()
    with artefacts.TableWriter(out / "groups.parquet", schema) as writer:
        for place, ids in members(labelled, groups):
            names = index.lookup(ids, columns=["uri", "identity"])
            columns = {
                "group": groups.ids[place],
                "reference_id": ids,
                "reference_uri": names["uri"],
                "identity": names["identity"],
                "references": groups.references[place],
                "identities": groups.identities[place],
                "pairs": groups.pairs[place],
                "density": density[place],
                "lowest_score": groups.lowest_score[place],
            }
            writer.write(artefacts.table_of(schema, columns))


def write_crops(out: Path, index: Index, ids: Sequence[int]) -> int:
    """Write the crops of some references, those that the index keeps; return how many."""
    wanted = np.unique(np.array(ids, np.int64))
    columns: dict[str, Any] = {
        "side": ["reference"] * len(wanted),
        "index": [index.path.resolve().name] * len(wanted),
        "reference_id": wanted,
        "crop_png": index.lookup(wanted, columns=["crop_png"])["crop_png"],
    }
    found = artefacts.table_of(artefacts.CROPS.remove(4).append(artefacts.CROP_FIELD), columns)
    kept = found.filter(found["crop_png"].is_valid()).cast(artefacts.CROPS)
    return artefacts.write_tables(out / "crops.parquet", artefacts.stamped(artefacts.CROPS, "crops"), [kept])


def _pairs_table(
    index: Index, schema: pa.Schema, labelled: Labelled, groups: Groups, pairs: Pairs, kinds: NDArray[np.int8]
) -> pa.Table:
    ids, place = np.unique(np.concatenate([pairs.id, pairs.other_id]), return_inverse=True)
    names, hashes = index.lookup(ids, columns=["uri", "identity"]), reference_hashes(index, ids)
    one, other = pa.array(place[: pairs.rows]), pa.array(place[pairs.rows :])
    words = np.array([kind.value for kind in KINDS], np.object_)
    columns = {
        "group": groups.of[np.searchsorted(labelled.ids, pairs.id)],
        "reference_id": pairs.id,
        "other_id": pairs.other_id,
        "score": pairs.score,
        "kind": pa.array(words[kinds], pa.string()),
        "near_copy": near_copies(hashes.take(one), hashes.take(other)),
        "reference_uri": names["uri"].take(one),
        "other_uri": names["uri"].take(other),
        "identity": names["identity"].take(one),
        "other_identity": names["identity"].take(other),
    }
    return artefacts.table_of(schema, columns)


def _together(parts: Iterable[Pairs]) -> Iterator[Pairs]:
    """Cut the same pairs into blocks of about `LOOKUP_PAIRS`."""
    waiting: list[Pairs] = []
    for pairs in parts:
        for start in range(0, pairs.rows, LOOKUP_PAIRS):
            some = slice(start, start + LOOKUP_PAIRS)
            waiting.append(Pairs(pairs.id[some], pairs.other_id[some], pairs.score[some]))
            if sum(one.rows for one in waiting) >= LOOKUP_PAIRS:
                yield _joined(waiting)
                waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: Sequence[Pairs]) -> Pairs:
    names = ("id", "other_id", "score")
    return Pairs(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))
