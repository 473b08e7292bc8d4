"""`scanner check`: was this person, or were these works, in training?

A few photos against the scanned faces of a finished run, weighed against its null.  Photos are embedded in memory by the
run's own embedder; no vector, crop or score of a single photo is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes import open_index
from scanner import artefacts
from scanner.errors import ArtefactError, UsageError
from scanner.evidence.clusters import lead_clusters
from scanner.evidence.guards import FOLDS, TwoSample
from scanner.evidence.kind import told_apart
from scanner.evidence.persons import (
    SIZES,
    Of,
    PowerPoint,
    SetEvidence,
    person_power,
    weigh_person,
    weigh_works,
    works_power,
)
from scanner.jobs.checking.check_photos import embed_photos
from scanner.jobs.checking.check_words import Judgement, Notes, judge, words
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.domain_file import read_domain
from scanner.progress import Progress, Silent
from scanner.records import Counts
from scanner.search import check_fingerprint, neighbours_of

LEVEL = 0.01
SAME = 0.99
"""Photos that are closer to each other count as one: another copy of a photo is no further witness."""
COMPARED_MAX = 5000
PHOTOS_MAX = 20
"""Last number of photos of one person at which the power is given, where the null has people with as many."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How photos are weighed.

    Attributes:
        of: "person" when all photos show one person, "many" when they are independent of each other.
        level: p-value from which the answer is "closer".
        null: the run's null indexes, if photos are to be compared with its pictures ("many" only).
        seed: draws photos and permutations.
        embedded_by: name of the embedder of ready embeddings that do not say it.
    """

    of: Of = "person"
    level: float = LEVEL
    null: tuple[str, ...] = ()
    seed: int = 0
    embedded_by: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0:
            raise UsageError(f"--level lies between 0 and 1, for instance 0.01; got {self.level}.")


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer.

    Attributes:
        state: "closer", "not closer", "undecided" or "inconclusive".
        sentence: the answer in one sentence.
        words: what it means and what it does not, a paragraph each.
        evidence: p-values; None when no photo was left to weigh.
        power: how often a leak would have been told, by number of photos.
        kind: whether the photos are told from the null's; None when that was not looked at.
        notes: what was found about the photos.
        counts: what became of every entry.
    """

    state: str
    sentence: str
    words: tuple[str, ...]
    evidence: SetEvidence | None
    power: tuple[PowerPoint, ...]
    kind: TwoSample | None
    notes: Notes
    counts: Counts
    run: str
    level: float

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        kind = None if self.kind is None else {**asdict(self.kind), "differ": bool(self.kind.differ)}
        return {
            **asdict(self),
            "words": list(self.words),
            "power": [asdict(point) for point in self.power],
            "kind": kind,
        }


@dataclass(frozen=True, slots=True)
class _Null:
    """The null photos of a run: best and mated scores (NaN: none), codes of identities, and ids of their files."""

    best: NDArray[np.float32]
    mated: NDArray[np.float32]
    identity: NDArray[np.int64]
    item_id: NDArray[np.str_] = field(repr=False)

    def without(self, items: set[str]) -> tuple[_Null, int]:
        """Leave out the people who have one of these files; return also how many they are."""
        people = np.unique(self.identity[np.isin(self.item_id, sorted(items))])
        kept = ~np.isin(self.identity, people)
        codes = np.unique(self.identity[kept], return_inverse=True)[1].astype(np.int64)
        return _Null(self.best[kept], self.mated[kept], codes, self.item_id[kept]), len(people)


def check(
    photos: str | Sequence[str],
    *,
    run: str | Path,
    options: CheckOptions | None = None,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    progress: Progress | None = None,
) -> Checked:
    """Weigh photos against what a run scanned.

    Args:
        photos: folders, archives or images; or ready embeddings.
        run: a finished run of `scan --null`.
        options: whose photos they are, and the level.
        faces: how pictures become vectors; what is left open is as in the run.
        sources: how sources are read.
        progress: where to report.

    Raises:
        UsageError: the run has no null.
        EmbedderMismatch: the photos' embedder is not the run's.
        NothingScanned: not one face came out.
        CalibrationError: too few null people.
    """
    options, sources, progress = options or CheckOptions(), sources or SourceOptions(), progress or Silent()
    folder, specs = Path(run), [photos] if isinstance(photos, str) else list(photos)
    summary = artefacts.read_json(folder / "run.json")
    if not (folder / "evidence.json").exists():
        raise UsageError(
            f"{folder} was scanned without people known not to be in training, so nothing can be weighed. Scan again with --null."
        )
    evidence, policy = (artefacts.read_json(folder / f"{name}.json") for name in ("evidence", "policy"))
    fingerprint, matched, seed = _facts(folder, summary, policy)
    kind_of = _null_vectors(options, policy, fingerprint) if options.null else None
    vectors, items, counts = embed_photos(
        specs, summary, fingerprint, faces or FaceOptions(), sources, progress, embedded_by=options.embedded_by,
        domain=read_domain(folder) if matched else None, seed=seed,
    )  # fmt: skip
    first = np.unique(lead_clusters(vectors, radius=SAME), return_index=True)[1]
    scanned = set(
        artefacts.read_table(folder / "queries.parquet", "queries", columns=["item_id"])["item_id"].to_pylist()
    )
    own = np.array([bool(items[row]) and items[row] in scanned for row in first.tolist()], np.bool_)
    table = artefacts.read_table(
        folder / "photos.parquet",
        "photos",
        columns=["side", "index", "identity", "item_id", "best_score", "mated_score"],
    )
    null, known = _null_of(table).without({item for item in items if item})
    candidates = table.filter(pc.equal(table["side"], "candidate"))["item_id"].to_pylist()
    notes = Notes(
        copies=len(vectors) - len(first), scanned=int(own.sum()), in_null=known,
        in_candidates=len({items[row] for row in first.tolist() if items[row]} & set(candidates)),
    )  # fmt: skip
    left = np.ascontiguousarray(vectors[first[~own]])
    if len(left) == 0:
        judgement = Judgement(
            "inconclusive", "every photo is the very same file as a scanned face, so there is nothing to compare"
        )
        return _answer(judgement, None, (), None, notes, counts, folder, options)
    samples = vectors_of(artefacts.read_table(folder / "samples.parquet", "samples", columns=["embedding"]))
    best = neighbours_of(left, samples, k=1).score[:, 0]
    if options.of == "person":
        found = weigh_person(best, null.best, null.identity, level=options.level, seed=options.seed)
    else:
        found = weigh_works(best, null.best, null.identity, seed=options.seed)
    kind = _kind(left, kind_of, options)
    judgement = judge(found, evidence, kind, level=options.level)
    return _answer(judgement, found, _power(null, found, options), kind, notes, counts, folder, options)


def _facts(folder: Path, summary: Mapping[str, Any], policy: Mapping[str, Any]) -> tuple[str, bool, int]:
    """Return the embedder's fingerprint, whether the null was matched, and the seed, as a run's documents say."""
    try:
        return str(summary["indexes"][0]["fingerprint"]), bool(policy["null_match"]), int(policy["seed"])
    except (LookupError, TypeError, ValueError) as error:
        raise ArtefactError(
            f"{folder} is no sound run: its run.json or policy.json lacks what it should say ({type(error).__name__}: {error}). "
            "Copy it again from where it was made."
        ) from error


def _answer(
    judgement: Judgement, found: SetEvidence | None, power: tuple[PowerPoint, ...], kind: TwoSample | None, notes: Notes,
    counts: Counts, folder: Path, options: CheckOptions,
) -> Checked:  # fmt: skip
    sentence, said = words(
        judgement, found, power, notes, of=options.of, level=options.level, compared=kind is not None
    )
    return Checked(judgement.state, sentence, said, found, power, kind, notes, counts, str(folder), options.level)


def _null_of(table: Any) -> _Null:
    rows = table.filter(pc.equal(table["side"], "null"))
    labels = np.array(
        [f"{i}/{name}" for i, name in zip(rows["index"].to_pylist(), rows["identity"].to_pylist(), strict=True)]
    )
    return _Null(
        rows["best_score"].to_numpy(),
        rows["mated_score"].to_numpy(zero_copy_only=False).astype(np.float32),
        np.unique(labels, return_inverse=True)[1].astype(np.int64),
        np.array(rows["item_id"].to_pylist(), np.str_),
    )


def _null_vectors(options: CheckOptions, policy: dict[str, Any], fingerprint: str) -> NDArray[np.float32]:
    """Return one vector of each null identity, at most `COMPARED_MAX`, from the very indexes of the run."""
    known, faces = {null["manifest_sha256"] for null in policy["nulls"]}, list[NDArray[np.float32]]()
    for path in options.null:
        index = open_index(Path(path))
        check_fingerprint(index, fingerprint, what="the run's embedder")
        if index.manifest_sha256 not in known:
            raise UsageError(
                f"The index {path} is not one of the run's nulls, or has changed since. Name the null that the run was made "
                f"with ({', '.join(null['name'] for null in policy['nulls'])}), or leave --null out."
            )
        rows: dict[str, int] = {}
        for row, name in enumerate(index.column("identity").to_pylist()):
            if name is not None:
                rows.setdefault(name, row)
        references = index.references()
        faces.append(references.gather(references.live_rows()[np.sort(np.array(list(rows.values()), np.int64))]))
    people = np.concatenate(faces)
    return people[np.sort(np.random.default_rng(options.seed).permutation(len(people))[:COMPARED_MAX])]


def _kind(vectors: NDArray[np.float32], null: NDArray[np.float32] | None, options: CheckOptions) -> TwoSample | None:
    """Return whether a classifier tells the photos from the null's; one person's photos it always would."""
    if null is None or options.of == "person" or min(len(vectors), len(null)) < 2 * FOLDS:
        return None
    return told_apart(vectors, null, seed=options.seed)


def _power(null: _Null, found: SetEvidence, options: CheckOptions) -> tuple[PowerPoint, ...]:
    if np.isnan(null.mated).all():
        return ()
    if options.of == "person":
        return person_power(
            null.best,
            null.mated,
            null.identity,
            level=options.level,
            photos_max=max(found.used, PHOTOS_MAX),
            seed=options.seed,
        )
    sizes = sorted({*SIZES, found.used})
    return tuple(
        point
        for share in (1.0, 0.1)
        for point in works_power(
            null.best,
            null.mated,
            null.identity,
            level=options.level,
            leaking=share,
            seed=options.seed,
            sizes=[size for size in sizes if size * share >= 1.0],
        )
    )
