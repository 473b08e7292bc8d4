"""Everything of a scan that can go wrong early: what is opened, checked and decided before the first image is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scanner.decision import Threshold
from scanner.errors import UsageError
from scanner.jobs.embedding.copies import CopyIndex, check_pictures, open_copies
from scanner.jobs.embedding.intake import Intake
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.indexing.threshold import choose_threshold
from scanner.jobs.options import FaceOptions, OpenedRoad, SourceOptions, like_index, open_road
from scanner.jobs.scanning.domain_file import write_domain
from scanner.jobs.scanning.match_account import describe
from scanner.jobs.scanning.null_match import match_galleries
from scanner.jobs.scanning.nulls import open_nulls
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.policy import policy_of
from scanner.jobs.scanning.query_domain import measure_domain
from scanner.progress import Progress
from scanner.search import Canaries, Gallery, check_fingerprint, open_galleries, try_canaries


@dataclass(frozen=True, slots=True)
class Prepared:
    """An opened scan.

    Attributes:
        galleries: candidates.
        nulls: people known not to be in training; may be empty.
        faces: how queries become vectors, what the user left open filled from the index.
        road: that road, opened; None for ready embeddings.
        canaries: planted searches in each gallery, all found.
        threshold: from which a pair is a match.
        policy: what is decided beforehand, as in `policy.json`.
        copies: an index by a copy-detection network, if the user named one.
        matched: what `--null-match` did; None without it.
    """

    galleries: tuple[Gallery, ...]
    nulls: tuple[Gallery, ...]
    faces: FaceOptions
    road: OpenedRoad | None
    canaries: tuple[Canaries, ...]
    threshold: Threshold
    policy: dict[str, Any]
    copies: CopyIndex | None
    matched: dict[str, Any] | None = None

    def plan(self, *, with_crops: bool) -> dict[str, Any]:
        """Return what a resumed job must find unchanged."""
        threshold = {**self.policy["threshold"], "at": self.threshold.value}
        rest = {name: value for name, value in self.policy.items() if name != "faces"}  # which the road says in full
        return {**rest, "threshold": threshold, "with_crops": with_crops}


def prepare(
    specs: Sequence[str],
    paths: Sequence[Path],
    options: ScanOptions,
    faces: FaceOptions,
    sources: SourceOptions,
    progress: Progress,
    *,
    ready: bool | None = None,
) -> Prepared:
    """Open and check what a scan needs, let every engine find planted references, and take the threshold.

    `ready` says whether the queries are vectors already; None to look at them.
    """
    galleries = open_galleries(paths, memory_bytes=options.memory_bytes, engine=options.engine)
    faces = like_index(faces, galleries[0].index.manifest.embedder)
    if ready is None:
        ready = all(is_embeddings(spec, sources) for spec in specs)
    road = None if ready else open_road(faces)
    if road is not None:
        for gallery in galleries:
            check_fingerprint(gallery.index, road.fingerprint, what="the queries' embedder")
    nulls = open_nulls(options.null, galleries, memory_bytes=options.memory_bytes, engine=options.engine)
    if options.null_match and not nulls:
        raise UsageError("--null-match brings a null to the queries' domain: name one with --null INDEX.")
    copies = None
    if options.copies is not None:
        check_pictures(specs, sources)
        copies = open_copies(options.copies, seed=options.seed)
    canaries = [try_canaries(gallery) for gallery in (*galleries, *nulls)][: len(galleries)]
    threshold = choose_threshold(options, galleries, faces, sources, progress)
    policy = policy_of(specs, galleries, nulls, copies, options, faces)
    return Prepared(tuple(galleries), tuple(nulls), faces, road, tuple(canaries), threshold, policy, copies)


def bring_to_domain(
    prepared: Prepared,
    intake: Intake,
    specs: Sequence[str],
    options: ScanOptions,
    sources: SourceOptions,
    *,
    out: Path,
    progress: Progress,
) -> Prepared:
    """Return the scan with candidates and null brought to the queries' resolution, compression and colour.

    The threshold is calibrated anew where it was on one of these indexes.  Work is in
    `out`/unfinished/matched, where a killed job goes on; the domain stays in `out`, for `scanner check`.
    """
    road = prepared.road or open_road(prepared.faces)
    domain = measure_domain(intake, specs, sources, landmarks=prepared.faces.landmarks, progress=progress)
    write_domain(out, domain)
    sides, made = [], []
    for name, side in (("candidates", prepared.galleries), ("null", prepared.nulls)):
        paths = match_galleries(
            [gallery.index.path for gallery in side], domain=domain, out=out / "unfinished" / "matched" / name, opened_road=road, seed=options.seed,
            progress=progress, resume=True,
        )  # fmt: skip
        opened = open_galleries(paths, memory_bytes=options.memory_bytes, engine=options.engine)
        sides.append(tuple(replace(new, original=old.index) for new, old in zip(opened, side, strict=True)))
        made += paths
    brought = {
        old.index.path.resolve(): new.index.path
        for old, new in zip((*prepared.galleries, *prepared.nulls), (*sides[0], *sides[1]), strict=True)
    }
    threshold = prepared.threshold
    if options.calibrate_on is not None:
        on = brought.get(Path(options.calibrate_on).resolve())
        if on is None:
            progress.note(
                f"the threshold stays that of {options.calibrate_on}, which is not brought to the queries' domain"
            )
        else:
            again = replace(options, calibrate_on=str(on))
            found = choose_threshold(again, sides[0], prepared.faces, sources, progress)
            threshold = replace(found, calibrated_on=options.calibrate_on)
    return replace(prepared, galleries=sides[0], nulls=sides[1], threshold=threshold, matched=describe(domain, made))
