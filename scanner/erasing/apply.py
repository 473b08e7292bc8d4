"""Carry out what an erasure's journal says.  Every step leaves the same when it is done a second time.

Tables come before the documents that have their hashes, these before pages; indexes and unfinished work last.
"""

from __future__ import annotations

from pathlib import Path

from scanner.erasing.documents import clean_document
from scanner.erasing.journal import Plan
from scanner.erasing.pages import make_again
from scanner.erasing.pictures import count_again, erased_stems, rewrite_tar
from scanner.erasing.references import erase_references
from scanner.erasing.tables import Lost, rewrite_tables
from scanner.jobs.folders import remove_folder, sweep
from scanner.progress import Progress


def carry_out(plan: Plan, progress: Progress) -> None:
    """Erase.

    Raises:
        LockedError: an index is being written; the journal stays, and the next call goes on.
    """
    progress.stage("erasing", total=len(plan.folders) + len(plan.indexes), unit="folders")
    lost_by = {lost.path: lost for lost in plan.folders}
    for lost in plan.folders:
        sweep(lost.path, [*lost.rows, *lost.pointers, *lost.pictures])  # what a killed call left half written
        _tables_and_pictures(lost, plan)
        progress.advance(1)
    for path in (*plan.documents, *plan.pages):
        sweep(path.parent, [path.name])
    for path in filter(Path.is_file, plan.documents):
        _document(path, lost_by.get(path.parent), plan)
    for path in plan.pages:
        make_again(path)
    for path, ids in plan.indexes.items():
        erase_references(path, ids, request=plan.request, at=plan.at)
        progress.advance(1)
    for path in plan.work:
        if path.is_file():
            path.unlink()
        else:
            remove_folder(path)


def _tables_and_pictures(lost: Lost, plan: Plan) -> None:
    rewrite_tables(lost, plan.known)
    for name in lost.pictures:
        if (lost.path / name).is_file():
            stems, _ = erased_stems(lost.path / name, plan.known)
            if stems:
                rewrite_tar(lost.path / name, stems)
    compared = lost.path.parent.parent / "compared" / lost.path.name
    if lost.path.parent.name == "queries" and any(stamp == "embeddings" for stamp in lost.stamps.values()):
        remove_folder(compared)  # what a nightly job compared, by the places of faces, which are others now


def _document(path: Path, lost: Lost | None, plan: Plan) -> None:
    rows = {} if lost is None else {**lost.rows, **lost.pictures}
    if path.name == "generated.json":
        count_again(path, rows)
    clean_document(
        path, plan.known, rows=rows, pointers={} if lost is None else lost.pointers, commitment=plan.commitment,
        erased_at=plan.erased_at,
    )  # fmt: skip
