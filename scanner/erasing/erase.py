"""A person, a picture or a source is erased from everything at and below some folders, and it is proved.

    look (nothing changes) ──► journal ──► tables, documents, pages, indexes, work ──► proof ──► records ──► journal goes

Every step can be done twice: killed anywhere, the next call that names one of the folders ends the erasure from its
journal, and leaves the bytes that it would have left.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from indexes import open_index
from indexes.lock import write_lock
from scanner import artefacts
from scanner.erasing import journal
from scanner.erasing.alike import names_alike
from scanner.erasing.apply import carry_out
from scanner.erasing.documents import pictures_of_people, scrub
from scanner.erasing.journal import Plan
from scanner.erasing.known import VECTORS_MAX, Known, Wanted
from scanner.erasing.never_again import erased_before
from scanner.erasing.pictures import erased_stems
from scanner.erasing.proof import search
from scanner.erasing.references import check_unlocked, learn_from_index, needs_compacting
from scanner.erasing.tables import Lost, count_lost, learn_from, local_of, told
from scanner.erasing.walk import LEFT, TONIGHT, Folder, Found, home_of, jobs_of, walk
from scanner.erasing.work import learn_from_work, names_manifest
from scanner.errors import UsageError
from scanner.progress import Progress, Silent


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, or with `dry_run` would do.

    Attributes:
        counts: what went, by kind.
        left: files in which something of the erased is found still, each with what it is.
        unreadable: files that could not be looked at, and why.
        unknown: files that are none of ours, by folder.
        alike: names in which a label that was asked for stands inside a longer word; somebody has to look at them.
        records: paths of the records.
        receipt: shows, with the request, that a record is that of the request; told here and kept nowhere.
        finished_before: True when the call ended an erasure that had been killed.
    """

    counts: dict[str, int]
    left: tuple[str, ...]
    unreadable: dict[str, str]
    unknown: dict[str, int]
    alike: tuple[str, ...] = ()
    records: tuple[Path, ...] = ()
    receipt: str | None = None
    finished_before: bool = False

    @property
    def complete(self) -> bool:
        """True when everything could be read and nothing is left."""
        return not self.left and not self.unreadable

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "erased": self.counts, "left": list(self.left), "unreadable": self.unreadable, "not_ours": self.unknown,
            "alike": list(self.alike), "records": [str(path) for path in self.records], "receipt": self.receipt, "complete": self.complete,
            "finished_before": self.finished_before,
        }  # fmt: skip


def erase_everywhere(
    roots: Sequence[str | Path],
    wanted: Wanted,
    *,
    clock: Callable[[], datetime],
    request: str | None = None,
    dry_run: bool = False,
    receipt: Callable[[], str] = lambda: secrets.token_hex(32),
    progress: Progress | None = None,
) -> Erasure:
    """Erase everything that fits `wanted` at and below `roots`.

    Args:
        roots: folders, or files of embeddings; stop the jobs that write there.
        wanted: whom, which pictures, which sources.
        clock: says what time it is, with its zone; asked once.
        request: the caller's number for the request, for the records; never who asked.
        dry_run: look, count and change nothing.
        receipt: makes the secret of the record.
        progress: where to report.

    Raises:
        UsageError: nothing to erase was named, a root is not there, or a nightly job is running in one.
        LockedError: an index is being written.
        ArtefactError: the list of what was erased before cannot be read.
    """
    wanted.check()
    progress = progress or Silent()
    paths = sorted({Path(root).resolve() for root in roots})
    if not paths:
        raise UsageError("Name the folders that are to be erased from.")
    jobs = jobs_of(paths)
    homes = sorted({*jobs, *(home_of(root) for root in paths if root.exists())})
    for home in homes:
        erased_before(home)  # what cannot be written down in the end is not begun
    with _alone([] if dry_run else jobs):
        old = None if dry_run else journal.open_journal(homes)
        if old is not None:
            progress.note("an erasure that was interrupted is ended first")
            ended = _end(old, progress)
            if old.is_for(paths, wanted):
                return _erasure(old, walk(paths), *ended, finished_before=True)
        plan, found = _look(paths, homes, wanted, clock, request, receipt, progress)
        if dry_run:
            return _erasure(plan, found, (), _alike(plan), ())
        for path in plan.indexes:
            check_unlocked(path)
        journal.write_journal(plan)
        ended = _end(plan, progress)
    return _erasure(plan, found, *ended, finished_before=old is not None)


def search_everywhere(roots: Sequence[str | Path], wanted: Wanted) -> Erasure:
    """Search for what is wanted and change nothing: what a proof finds, but for vectors, which only an erasure knows."""
    wanted.check()
    paths = sorted({Path(root).resolve() for root in roots})
    found = walk(paths)
    unreadable = {str(path): why for path, why in found.unreadable.items()}
    known = Known.of(wanted)
    alike = names_alike(paths, wanted.identities, known)
    return Erasure({}, tuple(search(paths, known)), unreadable, _by_folder(found.unknown), alike)


def _erasure(
    plan: Plan,
    found: Found,
    left: Sequence[str],
    alike: tuple[str, ...],
    records: Sequence[Path],
    *,
    finished_before: bool = False,
) -> Erasure:
    receipt = plan.receipt if records else None
    return Erasure(
        plan.counts,
        tuple(left),
        plan.unreadable,
        _by_folder(found.unknown),
        alike,
        tuple(records),
        receipt,
        finished_before,
    )


def _end(plan: Plan, progress: Progress) -> tuple[list[str], tuple[str, ...], list[Path]]:
    """Do what a plan says, prove it, write the records; the journal goes last, for it alone has the receipt until it is told.

    Returns:
        What is left, the names alike, and the records.
    """
    carry_out(plan, progress)
    progress.stage("proof", total=1, unit="searches")
    left, alike = search(plan.roots, plan.known), _alike(plan)
    progress.advance(1)
    found = walk(plan.roots)
    records = journal.write_records(plan, left=len(left), unknown=len(found.unknown))
    journal.remove_journal(plan)
    return left, alike, records


def _alike(plan: Plan) -> tuple[str, ...]:
    return names_alike(plan.roots, plan.wanted.identities, plan.known)


def _look(
    roots: list[Path],
    homes: list[Path],
    wanted: Wanted,
    clock: Callable[[], datetime],
    request: str | None,
    receipt: Callable[[], str],
    progress: Progress,
) -> tuple[Plan, Found]:
    """Find everything that has to go: round by round, since a picture found in one place leads to others."""
    found, known = walk(roots), Known.of(wanted)
    nights = (job / TONIGHT for job in jobs_of(roots))  # what waits there would be taken in by the next start
    found.work = sorted({*found.work, *filter(Path.is_dir, nights)})
    numbers = {home: journal.next_number(home) for home in homes}
    plan = Plan(roots, numbers, wanted, known, clock(), request, receipt())
    plan.unreadable = {str(path): why for path, why in found.unreadable.items()}
    locals_ = {folder.path: local_of(folder.path) for folder in found.folders}
    size = -1
    while size < (size := known.size()):
        progress.stage("looking", total=len(found.folders) + len(found.work), unit="folders")
        for folder in found.folders:
            with told(plan.unreadable, folder.path):
                if folder.index:
                    plan.indexes[folder.path] = learn_from_index(folder.path, known)
            learn_from(folder, known, locals_[folder.path], plan.unreadable)
            for path in (folder.path / name for name in folder.shards):
                with told(plan.unreadable, path):
                    known.items |= erased_stems(path, known)[1]
            progress.advance(1)
        for work in found.work:
            if learn_from_work(work, known):
                plan.work = sorted({*plan.work, work})
            progress.advance(1)
    plan.indexes = {path: ids for path, ids in plan.indexes.items() if ids or needs_compacting(path)}
    manifests = {open_index(path).manifest_sha256 for path in plan.indexes}
    plan.work = sorted({*plan.work, *(work for work in found.work if names_manifest(work, manifests))})
    for folder in found.folders:
        _count(folder, plan, Lost(folder.path, locals_[folder.path]))
    if any(len(vectors) > VECTORS_MAX for vectors in known.vectors.values()):
        progress.note(
            f"more than {VECTORS_MAX} vectors go: what is left is compared with labels, places and hashes alone"
        )
    _count_all(plan)
    return plan, found


def _count(folder: Folder, plan: Plan, lost: Lost) -> None:
    """Count what a folder loses, and name the documents and pages that speak of it."""
    count_lost(folder, plan.known, lost, plan.unreadable)
    for name in folder.shards:
        with told(plan.unreadable, folder.path / name):
            stems, _ = erased_stems(folder.path / name, plan.known)
            if stems:
                lost.pictures[name] = len(stems)
    hits = 0
    for path in (folder.path / name for name in folder.documents):
        with told(plan.unreadable, path):
            document = artefacts.read_json(path)
            more = scrub(document, plan.known)[1] + (path.name == "audit.json" and pictures_of_people(document))
            hits += more
            if more or lost.touched:
                plan.documents.append(path)
    plan.counts["words in documents"] = plan.counts.get("words in documents", 0) + hits
    if lost.touched or hits:
        plan.folders.append(lost)
        plan.pages += [folder.path / name for name in folder.pages]
    leftovers = [folder.path / name for name in folder.left]
    plan.work += [path for path in leftovers if not _is_being_written(path)]
    plan.unreadable |= {str(path): "it is being written" for path in leftovers if _is_being_written(path)}


def _count_all(plan: Plan) -> None:
    counts = Counter(plan.counts)
    for lost in plan.folders:
        for name, rows in lost.rows.items():
            counts[lost.stamps[name]] += rows
        counts["pointers"] += sum(lost.pointers.values())
        counts["pictures in archives"] += sum(lost.pictures.values())
    counts["references"] = sum(map(len, plan.indexes.values()))
    counts["pages"], counts["unfinished work"] = len(plan.pages), len(plan.work)
    plan.counts = {name: count for name, count in sorted(counts.items()) if count}


@contextmanager
def _alone(jobs: Sequence[Path]) -> Iterator[None]:
    """Keep nightly jobs from starting meanwhile; raises LockedError while one runs."""
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(write_lock(job))
        yield


def _is_being_written(path: Path) -> bool:
    """True while the process that a temporary file is named after lives."""
    named = LEFT.fullmatch(path.name)
    if named is None or named[1] is None:
        return False
    number = int(named[1])
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return number != os.getpid()


def _by_folder(paths: Sequence[Path]) -> dict[str, int]:
    return dict(sorted(Counter(str(path.parent) for path in paths).items()))
