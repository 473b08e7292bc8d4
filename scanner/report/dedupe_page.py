"""The page of duplicates inside one index: what was found in a sentence, the groups and pairs to look at first.

Read from the folder alone.  Shown are groups and pairs that are not of one identity: what is, is as it should be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from indexes.atomic import write_text
from indexes.sealed import is_sealed
from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.report.read import thumbnail
from scanner.report.template import read_template

DEDUPE_FORMAT, DEDUPE_VERSION = "identity-leak-dedupe", 1
GROUPS_MAX = 40
PAIRS_MAX = 60
NAMES_MAX = 6
"""Labels, and members, shown of one group."""
_BINS = (2, 3, 4, 5, 6, 10, 20, 50, 100, 1000)
_ROWS = 65_536
_THIN = "\N{THIN SPACE}"


@dataclass(frozen=True, slots=True)
class Group:
    """One group that is not of one identity, its labels with the most references first."""

    id: int
    references: int
    identities: int
    pairs: int
    density: float
    lowest_score: float
    labels: tuple[tuple[str | None, int], ...]
    members: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows one by one.

    Attributes:
        groups: the `GROUPS_MAX` largest that join several identities, or of an index without labels the largest.
        pairs: rows of pairs.parquet, the `PAIRS_MAX` highest that are not within one identity; of two identities the best.
    """

    groups: tuple[Group, ...]
    pairs: tuple[dict[str, Any], ...]

    def ids(self) -> list[int]:
        """Return the references that are shown."""
        of_pairs = {row[side] for row in self.pairs for side in ("reference_id", "other_id")}
        return sorted(of_pairs | {row["reference_id"] for group in self.groups for row in group.members})


def write_dedupe_page(folder: Path) -> Path:
    """Write `report.html` into a finished folder; return its path.

    Raises:
        ArtefactError: the folder is none of ours, is not finished, or a newer version wrote it.
    """
    summary = artefacts.read_json(folder / "dedupe.json")
    if not artefacts.is_readable(summary, DEDUPE_FORMAT, DEDUPE_VERSION):
        raise ArtefactError(
            f"{folder} is no report of duplicates that this scanner reads: its dedupe.json says format "
            f"{summary.get('format')!r}, version {summary.get('format_version')}. Make it again."
        )
    shown = read_shown(folder, summary)
    page = read_template("dedupe.html.j2", count=_count).render(
        s=summary, c=summary["counts"], shown=shown, headline=headline(summary), sizes=size_bins(summary["counts"]["group_sizes"]),
        crops=_crops(folder), pairs_max=PAIRS_MAX,
    )  # fmt: skip
    path = folder / "report.html"
    write_text(path, page)
    return path


def headline(summary: dict[str, Any]) -> str:
    """Return what was found in one sentence that claims no more than was measured."""
    counts, value = summary["counts"], summary["threshold"]["value"]
    references = _count(counts["references"])
    if not counts["pairs"]:
        return f"No two of the {references} references score {value:.4f} or more: no duplicates at this threshold."
    several = counts["groups_of_several_identities"]
    joined = f"; {_count(several)} of them join{'s' if several == 1 else ''} several identities" if several else ""
    none = "; none of them joins two identities" if not several and not counts["groups_unlabelled"] else ""
    return (
        f"{_count(counts['references_in_groups'])} of {references} references score {value:.4f} or more with another one, "
        f"and hang together in {_count(counts['groups'])} group{'s' if counts['groups'] != 1 else ''}{joined}{none}."
    )


def read_shown(folder: Path, summary: dict[str, Any]) -> Shown:
    """Return what is shown one by one, from the two tables; one block of a table is in memory at a time."""
    labelled = bool(summary["counts"]["groups_of_several_identities"])
    largest = _largest(folder / "groups.parquet", labelled=labelled)
    chosen = pa.array(largest["group"].to_pylist(), pa.int64())
    rows: dict[int, list[dict[str, Any]]] = {group: [] for group in chosen.to_pylist()}
    names: dict[int, Counter[str | None]] = {group: Counter() for group in rows}
    for table in artefacts.iter_tables(folder / "groups.parquet", "dedupe_groups", rows_max=_ROWS):
        for row in table.filter(pc.is_in(table["group"], chosen)).to_pylist():
            names[row["group"]][row["identity"]] += 1
            if names[row["group"]][row["identity"]] == 1 and len(rows[row["group"]]) < NAMES_MAX:
                rows[row["group"]].append(row)  # one reference of each label
    groups = (
        Group(
            row["group"], row["references"], row["identities"], row["pairs"], row["density"], row["lowest_score"],
            tuple(sorted(names[row["group"]].items(), key=lambda item: (-item[1], item[0] or ""))[:NAMES_MAX]),
            tuple(rows[row["group"]]),
        )
        for row in largest.to_pylist()
    )  # fmt: skip
    return Shown(tuple(groups), tuple(_closest(folder / "pairs.parquet").to_pylist()))


def size_bins(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return (size or range of sizes, number of groups), without the bins that are empty."""
    found = []
    for low, following in zip(_BINS, (*_BINS[1:], None), strict=True):
        groups = sum(
            n for size, n in sizes.items() if low <= int(size) and (following is None or int(size) < following)
        )
        name = (
            f"{low} or more" if following is None else str(low) if following == low + 1 else f"{low} to {following - 1}"
        )
        if groups:
            found.append((name, groups))
    return found


def _largest(path: Path, *, labelled: bool) -> pa.Table:
    """Return one row each of the largest groups that join several identities, or that have no label at all."""
    columns = ["group", "references", "identities", "pairs", "density", "lowest_score"]
    best = artefacts.DEDUPE_GROUPS.empty_table().select(columns)
    for table in artefacts.iter_tables(path, "dedupe_groups", rows_max=_ROWS, columns=["reference_id", *columns]):
        of_interest = pc.greater(table["identities"], 1) if labelled else pc.equal(table["identities"], 0)
        # A group is named by its lowest reference, so its first row stands for it.
        first = table.filter(pc.and_(of_interest, pc.equal(table["reference_id"], table["group"]))).select(columns)
        both = pa.concat_tables([best, first.cast(best.schema)])
        best = both.sort_by([("references", "descending"), ("group", "ascending")]).slice(0, GROUPS_MAX)
    return best


def _closest(path: Path) -> pa.Table:
    """Return the pairs with the highest scores that are not within one identity, two labels before no label."""
    order = [("kind", "ascending"), ("score", "descending"), ("reference_id", "ascending"), ("other_id", "ascending")]
    best = artefacts.DEDUPE_PAIRS.empty_table()
    for table in artefacts.iter_tables(path, "dedupe_pairs", rows_max=_ROWS):
        apart = table.filter(pc.not_equal(table["kind"], "within"))
        if apart.num_rows:
            best = _first_of_labels(pa.concat_tables([best, apart.cast(best.schema)]).sort_by(order))
    return best


def _first_of_labels(table: pa.Table) -> pa.Table:
    """Return the first pair of any two identities: one photo under a wrong label is in pairs with all of its person's."""
    seen: set[frozenset[str]] = set()
    kept: list[int] = []
    labels = (table[name].to_pylist() for name in ("kind", "identity", "other_identity"))
    for place, (kind, one, other) in enumerate(zip(*labels, strict=True)):
        two = frozenset((one, other)) if kind == "between" else None
        if two not in seen:
            kept.append(place)
        if two is not None:
            seen.add(two)
        if len(kept) == PAIRS_MAX:
            break
    return table.take(pa.array(kept, pa.int64()))


def _crops(folder: Path) -> dict[int, str]:
    """Return thumbnails by reference id, as data URLs; none unless crops were asked for, and none of sealed ones."""
    path = folder / "crops.parquet"
    if not path.exists() or is_sealed(path):
        return {}
    rows = artefacts.read_table(path, "crops").to_pylist()
    return {row["reference_id"]: thumbnail(row["crop_png"]) for row in rows}


def _count(value: int) -> str:
    """Thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", _THIN)
