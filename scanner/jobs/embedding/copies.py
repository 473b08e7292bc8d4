"""Near-copies among matches: is it the training *photo* that a generator shows, or only the person?

Two means, and both work on matches that were found anyway: the perceptual hashes that lie beside every face
(`near_copies`), and any copy-detection network (`CopyIndex`), for which the candidate photos are indexed once more:

    scanner index build copies.idx photos/ --faces whole --embedder onnx:sscd.onnx

Its own level comes from the index itself: the score that one in 100 000 pairs of different photos reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Index, open_index
from indexes.errors import MismatchError
from indexes.rescore import score_pairs
from scanner.decision import Threshold
from scanner.errors import ArtefactError, CalibrationError, UsageError
from scanner.evidence.calibration import OperatingPoint, operating_point
from scanner.faces.copy_hash import HASH_BYTES, are_near_copies
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.options import READY, FaceOptions, SourceOptions, like_index, open_road
from scanner.jobs.parts import vectors_of
from scanner.jobs.workers import Workers
from scanner.progress import Progress
from scanner.search import CALIBRATION_ROWS_MAX, check_fingerprint, count_pairs

NEAR_COPY: Final = "near_copy"
"""Flag of a match whose two sides are one picture, changed a little; other matches are of the person, or chance."""
LEVELS: Final = (1e-5, 1e-4, 1e-3)
"""Shares of pairs of different photos that may reach the level of a copy index; the first that its size allows."""


def near_copies(query_hashes: pa.ChunkedArray, reference_hashes: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Say which matches are near-copies by their perceptual hashes.

    Args:
        query_hashes: (n,) `crop_hash` of each match's query; null where there is none.
        reference_hashes: (n,) the same of its reference.

    Returns:
        (n,) bool; False where a side has no hash.
    """
    left, left_known = _bits(query_hashes)
    right, right_known = _bits(reference_hashes)
    return are_near_copies(left, right) & left_known & right_known


def reference_hashes(index: Index, ids: NDArray[np.int64]) -> pa.ChunkedArray:
    """Return `crop_hash` of some references, in order; all null for an index of a scanner that made none yet."""
    try:
        return index.lookup(ids, columns=["crop_hash"])["crop_hash"]
    except MismatchError:
        return pa.chunked_array([pa.nulls(len(ids), pa.binary(HASH_BYTES))])


def _bits(hashes: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (n, 8) uint8 and which of the rows are known."""
    filled = hashes.fill_null(bytes(HASH_BYTES)).to_pylist()
    known = hashes.is_valid().to_numpy()
    return np.frombuffer(b"".join(filled), np.uint8).reshape(-1, HASH_BYTES), np.asarray(known, np.bool_)


@dataclass(frozen=True, slots=True)
class CopyIndex:
    """The candidate photos once more, by a network that knows pictures and not people.

    Attributes:
        index: of whole photos; looked up by item id, not searched.
        level: score from which two pictures are called near-copies, and what it rests on.
        places: item id -> row among the live references; the first face of an item stands for it.
    """

    index: Index
    level: OperatingPoint
    places: dict[str, int]

    def account(self) -> dict[str, Any]:
        """Return what stands about it in `run.json`."""
        return {
            "name": self.index.path.resolve().name,
            "manifest_sha256": self.index.manifest_sha256,
            "fingerprint": self.index.fingerprint,
            "items": len(self.places),
            "level": {k: v for k, v in asdict(self.level).items() if "tar" not in k and k != "mated_pairs"},
        }


def open_copies(path: str | Path, *, seed: int) -> CopyIndex:
    """Open a copy index and measure its level; nothing is written.

    Args:
        path: an index of pictures, each with its item id.
        seed: draws pictures where there are more than the pair count can take.

    Raises:
        ArtefactError: it holds vectors without pictures.
        CalibrationError: too few pictures to measure a level.
    """
    index = open_index(Path(path))
    if index.manifest.embedder.get("name") == READY:
        raise ArtefactError(
            f"The copy index {path} was built from ready embeddings, which have no pictures to look up. Build it from the "
            "candidates' photos: scanner index build copies.idx photos/ --faces whole --embedder onnx:NETWORK.onnx"
        )
    places: dict[str, int] = {}
    for row, item in enumerate(index.column("item_id").to_pylist()):
        places.setdefault(item, row)
    rows = np.array(list(places.values()), np.int64)
    drawn = rows[np.sort(np.random.default_rng([seed, 0xC0B1]).permutation(len(rows))[:CALIBRATION_ROWS_MAX])]
    references = index.references()
    vectors = references.gather(references.live_rows()[drawn])
    apart, together, _ = count_pairs(vectors, [str(row) for row in drawn], seed=seed)  # each picture for itself
    problem: CalibrationError | None = None
    for fmr in LEVELS:
        try:
            return CopyIndex(index, operating_point(apart, together, fmr=fmr), places)
        except CalibrationError as error:
            problem = error
    raise CalibrationError(
        f"The copy index {path} has {len(places)} pictures, too few to say which score is that of a copy. Build it from "
        "150 pictures or more, or leave --copies out."
    ) from problem


@dataclass(frozen=True, slots=True)
class CopyScores:
    """Queries as the copy network sees them: item id -> row of `vectors`, (n, dim) float32, in memory."""

    copies: CopyIndex
    places: dict[str, int]
    vectors: NDArray[np.float32]

    def score(self, query_items: Sequence[str], reference_items: Sequence[str]) -> NDArray[np.float32]:
        """Return the score of each match's two pictures.

        Args:
            query_items: (m,) item id of each match's query.
            reference_items: (m,) item id of its reference.

        Returns:
            (m,) float32; NaN where the copy index, or the queries as it sees them, lack the picture.
        """
        pairs = [
            (row, self.places[query], self.copies.places[reference])
            for row, (query, reference) in enumerate(zip(query_items, reference_items, strict=True))
            if query in self.places and reference in self.copies.places
        ]
        found = np.full(len(query_items), np.nan, np.float32)
        rows, left, right = np.array(pairs, np.int64).reshape(-1, 3).T
        references = self.copies.index.references()
        found[rows] = score_pairs(self.vectors[left], references.gather(references.live_rows()[right]))
        return found

    def near(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Say which of the values of `score` reach the level, inclusive; NaN does not."""
        return Threshold(self.copies.level.threshold).decide(values)


def embed_for_copies(
    specs: Sequence[str],
    copies: CopyIndex,
    *,
    work: Path,
    faces: FaceOptions,
    sources: SourceOptions,
    progress: Progress,
    resume: bool,
    workers: Workers | None = None,
) -> CopyScores:
    """Embed the queries by the network of a copy index.

    Args:
        specs: the scan's queries.
        copies: from `open_copies`.
        work: folder of its own for finished shards; a killed job goes on there, and the caller removes it in the end.
        faces: where and with how many threads; network and crops are those of the index.
        sources: how the queries are read.
        progress: where to report.
        resume: take up the work in `work`.
        workers: who embeds; None for this process.

    Raises:
        UsageError: the queries are ready embeddings.
        EmbedderMismatch: the network on this machine is not the one of the index.
    """
    check_pictures(specs, sources)
    own = replace(FaceOptions(), device=faces.device, workers=faces.workers, pixels_max=faces.pixels_max)
    own = like_index(own, copies.index.manifest.embedder)
    opened = open_road(own)
    check_fingerprint(copies.index, opened.fingerprint, what="the network of that name on this machine")
    plan = {"job": "copies", "index": copies.index.manifest_sha256}
    intake = take_in(
        specs,
        work=work,
        sources=sources,
        faces=own,
        progress=progress,
        plan=plan,
        resume=resume,
        opened=opened,
        workers=workers,
    )
    tables = list(intake.faces())
    places: dict[str, int] = {}
    for row, item in enumerate(name for table in tables for name in table["item_id"].to_pylist()):
        places.setdefault(item, row)
    return CopyScores(copies, places, np.concatenate([vectors_of(table) for table in tables]))


def check_pictures(specs: Sequence[str], sources: SourceOptions) -> None:
    """Refuse ready embeddings, before any long work: there is no picture in them to compare."""
    ready = [spec for spec in specs if is_embeddings(spec, sources)]
    if ready:
        raise UsageError(
            f"--copies compares pictures, and {ready[0]} holds ready embeddings. Scan the pictures, or leave --copies out."
        )
