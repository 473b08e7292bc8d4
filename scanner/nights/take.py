"""What is new in the sources of a set, embedded and put where the set is kept; what is gone, taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from indexes.atomic import sync_folder, write_json
from scanner import artefacts
from scanner.errors import RunMismatch
from scanner.jobs.folders import remove_folder
from scanner.jobs.options import FaceOptions, OpenedRoad, SourceOptions, open_road
from scanner.jobs.parts import Parts
from scanner.nights.entries import Fresh, settle
from scanner.nights.listing import FRESH, SEEN, FreshSource, look, read_seen
from scanner.nights.patience import Patience
from scanner.nights.quarantine import Quarantine
from scanner.nights.walk import Marker, walk
from scanner.pipeline import SHARD_ENTRIES
from scanner.progress import Progress
from scanner.records import Item, Reason, Reject

TAKEN = "taken.json"
_SEEN_NOW = "seen.parquet"


class Road:
    """The job's embedder and face finder, opened when the first picture comes."""

    def __init__(self, faces: FaceOptions, *, keep_crops: bool, check: Callable[[OpenedRoad], None]) -> None:
        """`check` raises when what comes by the road cannot be mixed with what the job keeps."""
        self.faces, self.keep_crops, self._check = faces, keep_crops, check

    @cached_property
    def opened(self) -> OpenedRoad:
        """The road; see `open_road` and `same_way.check_job` for what is raised."""
        opened = open_road(self.faces, keep_crops=self.keep_crops)
        self._check(opened)
        return replace(opened, road=replace(opened.road, keep_crops=self.keep_crops))


@dataclass(frozen=True, slots=True)
class Way:
    """How a set's pictures are read.

    Attributes:
        specs: its sources, as the job names them and as they can be opened.
        sources: how they are read.
        road: how pictures become vectors.
        quarantine: those that are left out.
        patience: with sources that do not answer.
        is_erased: says of an item id, or of the place of a file without, whether the picture was erased from this job; see `scanner.erasing`.
    """

    specs: Sequence[tuple[str, str]]
    sources: SourceOptions
    road: Road
    quarantine: Quarantine
    patience: Patience
    is_erased: Callable[[str], bool] = lambda _: False

    def keep_out(self, entries: Iterator[Item | Reject]) -> Iterator[Item | Reject]:
        """Pass entries on; what was erased, or is in quarantine, as rejects.  Of what was erased not even the name is kept."""
        for entry in self.quarantine.keep_out(entries):
            if self.is_erased(entry.item_id or entry.uri):
                yield Reject("", Reason.ERASED)
            else:
                yield entry


class Kept(Protocol):
    """Where a set is kept."""

    def put(self, fresh: Fresh) -> None:
        """Add what is new and take out what is gone; a second time with the same, nothing changes."""
        ...


def take(
    kept: Kept, way: Way, *, seen_path: Path, work: Path, night: int, gone_max: float, progress: Progress
) -> dict[str, Any]:
    """Bring a set up to date; return its account, as it stands in `night.json`.

    Killed at any point and called again it ends as if it had not been: what is to be read is decided once and written
    down, finished shards are not read again, and putting them where they are kept is done once or changes nothing.
    """
    if (work / TAKEN).exists():
        return _taken(work, seen_path)
    seen = read_seen(seen_path)
    for folder in (work.parent.parent, work.parent, work):
        artefacts.make_private_folder(folder)
    fresh, gone, lost = _news(work, way, seen, gone_max, progress)
    try:
        found = way.patience.call(
            lambda: _embed(work, way, fresh, gone, seen, night, progress, gone_max=gone_max), progress
        )
    except RunMismatch:
        # An archive changed between two tries: what was read of it belongs to no state of the source.
        progress.note(f"{work.name}: a source changed while it was read; it is read anew")
        remove_folder(work)
        return take(kept, way, seen_path=seen_path, work=work, night=night, gone_max=gone_max, progress=progress)
    account = {
        "new": asdict(found.counts),
        "gone_entries": len({*seen["uri"].to_pylist()} - {*found.seen["uri"].to_pylist()}),
        "gone_items": len(found.items_gone),
        "kept_out": found.kept_out,
        "entries": found.seen.num_rows,
        "lost": [{"source": name, "why": why} for name, why in (*lost, *found.lost)],
        "changed": bool(found.counts.entries or found.names_changed),
    }
    kept.put(found)
    if not found.seen.equals(seen):
        artefacts.write_tables(work / _SEEN_NOW, artefacts.stamped(SEEN, "seen"), [found.seen])
    write_json(work / TAKEN, account)
    return _taken(work, seen_path)


def _taken(work: Path, seen_path: Path) -> dict[str, Any]:
    """Put the new list of what was seen in place, the last step: until then a second try compares with the old one."""
    now = work / _SEEN_NOW
    if now.exists():
        now.replace(seen_path)
        sync_folder(seen_path.parent)
    return artefacts.read_json(work / TAKEN)


def _news(
    work: Path, way: Way, seen: pa.Table, gone_max: float, progress: Progress
) -> tuple[pa.Table, list[str], list[tuple[str, str]]]:
    """Return what is new, what is gone and what is lost, as it was when this night first looked."""
    path, table = work / "news.json", work / "fresh.parquet"
    if not path.exists():
        again = partial(way.patience.call, progress=progress)
        news = look(way.specs, way.sources, seen, gone_max=gone_max, again=again)
        artefacts.write_tables(table, artefacts.stamped(FRESH, "fresh"), [news.fresh])
        write_json(path, {"gone": sorted(news.gone.to_pylist()), "lost": [list(one) for one in news.lost]})
    document = artefacts.read_json(path)
    return artefacts.read_table(table, "fresh"), document["gone"], [(name, why) for name, why in document["lost"]]


def _embed(
    work: Path,
    way: Way,
    fresh: pa.Table,
    gone: Sequence[str],
    seen: pa.Table,
    night: int,
    progress: Progress,
    *,
    gone_max: float,
) -> Fresh:
    known = {bytes.fromhex(item) for item in seen["item_id"].to_pylist() if item}
    parts, opened = _read(work, way, fresh, known, night, progress)
    return settle(parts, opened, fresh, gone, seen, night, gone_max=gone_max)


def _read(
    work: Path, way: Way, fresh: pa.Table, known: set[bytes], night: int, progress: Progress
) -> tuple[Parts | None, OpenedRoad | None]:
    """Read and embed what is fresh, going on behind finished shards; items that are known are duplicates."""
    if not fresh.num_rows:
        return None, None
    opened = way.road.opened
    source = FreshSource(way.specs, way.sources, fresh, keep_out=way.keep_out)
    parts = Parts(
        work / "faces", dim=opened.road.embedder.dim, fingerprint=opened.fingerprint, keep_crops=way.road.keep_crops
    )
    done = parts.begin({"source": source.describe(), "fingerprint": opened.fingerprint}, resume=True)
    before = parts.counts()
    progress.stage(f"faces of {work.name}", total=source.count(), unit="images", done=before.entries)
    if before.entries == done * SHARD_ENTRIES:

        def look_closely(entries: Iterator[Item | Reject]) -> None:
            progress.note(f"{work.name}: the process died among some pictures: they are looked at one by one")
            found = way.quarantine.look(entries, way.road.faces, night=night)
            progress.note(f"{work.name}: {found} of them {'is' if found == 1 else 'are'} put into quarantine")

        for shard in walk(
            source, opened.road, first_shard=done, seen=lambda: parts.seen() | known, entries=SHARD_ENTRIES,
            marker=Marker(work / "walking.json"), look=look_closely,
        ):  # fmt: skip
            parts.write(shard)
            progress.advance(shard.counts.entries)
    return parts, opened
