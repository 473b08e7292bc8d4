"""What a set of queries was compared with, so that no pair is ever compared twice.

Of one set and one index a folder holds, of some night N,

    state.json            which places of the set and which ids of the index have met, from which score on pairs were kept
    N.pairs.parquet       pairs that reached that score, a file a night
    N.best.parquet        every query's best reference
    N.nearest.parquet     every reference's best queries, where the evidence needs them

A night compares new queries with all references and old queries with new references.  What is gone takes its pairs along; a
query whose best reference is gone, and a reference that lost one of its best queries, are compared anew.  Answers are those
of a search of everything, bit for bit: the score of a pair does not depend on what is searched beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from indexes import Hits
from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.folders import remove_folder
from scanner.jobs.parts import matrix_of
from scanner.nights.comparing import Step
from scanner.nights.known import Known, Queries, Search
from scanner.nights.pair_files import lists_of, read_pairs, write_columns, write_pairs
from scanner.search import Gallery

MARGIN: Final = 0.02
"""How far below the threshold pairs are kept: a threshold that is calibrated anew moves a little every night."""
_FORMAT: Final = "identity-leak-compared"


@dataclass(frozen=True, slots=True)
class Memory:
    """The folder of one set of queries and one index."""

    folder: Path

    def update(
        self, gallery: Gallery, queries: Queries, *, night: int, threshold: float, k: int, search: Search
    ) -> tuple[Known, dict[str, int]]:
        """Compare what never met; return all that is known, and how many comparisons that took, and a full search takes.

        Args:
            gallery: the index, opened.
            queries: the set.
            night: tonight's number.
            threshold: pairs are kept from a little below it; one that is below what was kept starts anew.
            k: best queries of each reference to know; 0 for none.
            search: engine and progress.
        """
        of = int(queries.alive.sum()) * gallery.index.rows
        state = self._state(gallery, queries, threshold, k)
        known = Known(threshold - MARGIN, k) if state is None else self._read(state)
        inputs = inputs_of(gallery, queries)
        live = gallery.index.references()
        known.pairs = known.pairs.take(np.isin(known.pairs.reference_id, live.ids[live.live_rows()]))
        if state is not None and state["inputs"] == inputs:
            self._forget_all_but(state)  # which a night that was killed here did not come to
            return known, {"compared": state["compared"] if state["night"] == night else 0, "of": of}
        for folder in (self.folder.parent, self.folder):
            artefacts.make_private_folder(folder)
        if state is None:  # its files are about to be written over
            (self.folder / "state.json").unlink(missing_ok=True)
        step = Step(self.folder / "work", gallery, queries, known, search)
        new = step.pairs(inputs)
        if known.k:
            step.nearest()
        known.queries, known.references = len(queries.alive), gallery.index.manifest.next_id
        account = {"inputs": inputs, "night": night, "compared": step.compared}
        self._forget_all_but(
            self._write_state(known, new, gallery, queries, [] if state is None else state["pairs"], account)
        )
        return known, {"compared": step.compared, "of": of}

    def _state(self, gallery: Gallery, queries: Queries, threshold: float, k: int) -> dict[str, Any] | None:
        """Return what `state.json` says, or None where it says nothing about these queries and this index."""
        path = self.folder / "state.json"
        if not path.exists():
            return None
        state = artefacts.read_json(path)
        segments = _segments(gallery)
        same = (
            state.get("format") == _FORMAT
            and state["fingerprint"] == gallery.index.fingerprint
            and all(segments.get(name) == segment for name, segment in state["segments"].items())
            and list(state["rows"].items()) == list(queries.rows.items())[: len(state["rows"])]
            and state["floor"] <= threshold <= state["floor"] + 2 * MARGIN  # which pairs were kept: nothing is decided
            and k <= state["k"]
        )
        return state if same else None

    def _read(self, state: Mapping[str, Any]) -> Known:
        """Return what is known."""
        pairs = [read_pairs(self.folder / name) for name in state["pairs"]]
        best = artefacts.read_table(self.folder / state["best"], "best")
        known = Known(
            state["floor"], state["k"], state["queries"], state["references"], Hits.concat(pairs),
            best["reference_id"].to_numpy(), best["score"].to_numpy(),
        )  # fmt: skip
        if state["nearest"]:
            near = artefacts.read_table(self.folder / state["nearest"], "nearest")
            known.near_id = near["reference_id"].to_numpy()
            known.near_score, known.near_query = matrix_of(near["score"]), matrix_of(near["query"])
        return known

    def _write_state(
        self,
        known: Known,
        new: Hits,
        gallery: Gallery,
        queries: Queries,
        before: Sequence[str],
        account: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Write a new state, and return it."""
        name = f"{len(before):06d}"
        pairs = [*before, f"{name}.pairs.parquet"]
        best, nearest = f"{name}.best.parquet", f"{name}.nearest.parquet" if known.k else None
        write_pairs(self.folder / pairs[-1], new)
        write_columns(self.folder / best, "best", {"reference_id": known.best_id, "score": known.best_score})
        if nearest is not None:
            columns = {"score": lists_of(known.near_score), "query": lists_of(known.near_query)}
            write_columns(self.folder / nearest, "nearest", {"reference_id": known.near_id, **columns})
        state = {
            "format": _FORMAT,
            "format_version": 1,
            **account,
            "fingerprint": gallery.index.fingerprint,
            "segments": _segments(gallery),
            "rows": queries.rows,
            "queries": known.queries,
            "references": known.references,
            "floor": known.floor,
            "k": known.k,
            "pairs": pairs,
            "best": best,
            "nearest": nearest,
        }
        write_json(self.folder / "state.json", state)
        return state

    def _forget_all_but(self, state: Mapping[str, Any]) -> None:
        """Remove the work, and what only the state before needed."""
        for file in sorted(self.folder.glob("*.parquet")):
            if file.name not in {*state["pairs"], state["best"], state["nearest"]}:
                file.unlink()
        remove_folder(self.folder / "work")


def inputs_of(gallery: Gallery, queries: Queries) -> dict[str, str]:
    """Return what names the state of an index, and which queries count, exactly."""
    alive = hashlib.sha256(np.packbits(queries.alive).tobytes())
    alive.update(repr([len(queries.alive), queries.rows]).encode())
    return {"manifest": gallery.index.manifest_sha256, "queries": alive.hexdigest()}


def _segments(gallery: Gallery) -> dict[str, Any]:
    """Return what says that ids still are the references they were: the segments, none of which is ever changed."""
    return {segment.name: segment.model_dump(mode="json") for segment in gallery.index.manifest.segments}
