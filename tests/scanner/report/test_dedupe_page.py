"""The page of duplicates says the figures of its folder, shows what matters first, and holds nothing that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.report import dedupe_page
from scanner.report.dedupe_page import headline, read_shown, size_bins, write_dedupe_page


def summary_of(**counts: Any) -> dict[str, Any]:
    found = {
        "references": 1000, "comparisons": 499500, "comparisons_not_within": 499000, "false_matches_expected": None,
        "pairs": 6, "pairs_within": 1, "pairs_between": 4, "pairs_unlabelled": 1, "near_copies": 1, "groups": 4,
        "groups_of_one_identity": 1, "groups_of_several_identities": 2, "groups_unlabelled": 1, "references_in_groups": 9,
        "references_alone": 991, "group_sizes": {"2": 3, "3": 1}, **counts,
    }  # fmt: skip
    return {
        "format": "identity-leak-dedupe", "format_version": 1, "threshold": {"value": 0.6, "point": None},
        "calibrated_on_itself": False, "counts": found, "versions": {"numpy": "2"},
        "index": {
            "name": "faces<&>.idx", "embedder": "drawn", "fingerprint": "feed", "manifest_sha256": "ab" * 32,
            "engine": "exact", "engine_reason": "few", "canaries": {"planted": 8, "found": 8},
        },
    }  # fmt: skip


def pair(
    group: int, one: int, other: int, score: float, kind: str, labels: tuple[str | None, str | None]
) -> dict[str, Any]:
    return {
        "group": group, "reference_id": one, "other_id": other, "score": score, "kind": kind, "near_copy": score > 0.98,
        "reference_uri": f"set/{one}.jpg", "other_uri": f"set/{other}.jpg", "identity": labels[0], "other_identity": labels[1],
    }  # fmt: skip


def member(group: int, reference: int, identity: str | None, references: int, identities: int) -> dict[str, Any]:
    return {
        "group": group, "reference_id": reference, "reference_uri": f"set/{reference}.jpg", "identity": identity,
        "references": references, "identities": identities, "pairs": references - 1, "density": 2 / references,
        "lowest_score": 0.61,
    }  # fmt: skip


PAIRS = [
    pair(0, 0, 1, 0.99, "within", ("a", "a")),
    pair(2, 2, 3, 0.7, "between", ("<b>", "c")),
    pair(2, 2, 4, 0.8, "between", ("<b>", "c")),
    pair(2, 3, 5, 0.9, "between", ("c", "d")),
    pair(6, 6, 7, 0.85, "between", ("e", "f")),
    pair(8, 8, 9, 0.995, "unlabelled", (None, None)),
]
GROUPS = [
    member(0, 0, "a", 2, 1), member(0, 1, "a", 2, 1),
    member(2, 2, "<b>", 4, 3), member(2, 3, "c", 4, 3), member(2, 4, "c", 4, 3), member(2, 5, "d", 4, 3),
    member(6, 6, "e", 2, 2), member(6, 7, "f", 2, 2),
    member(8, 8, None, 2, 0), member(8, 9, None, 2, 0),
]  # fmt: skip


def write(folder: Path, summary: dict[str, Any], pairs: list[Any] = PAIRS, groups: list[Any] = GROUPS) -> Path:
    for name, schema, rows in (
        ("pairs", artefacts.DEDUPE_PAIRS, pairs),
        ("groups", artefacts.DEDUPE_GROUPS, groups),
    ):
        stamped = artefacts.stamped(schema, f"dedupe_{name}")
        columns = {field.name: [row[field.name] for row in rows] for field in schema}
        artefacts.write_tables(folder / f"{name}.parquet", stamped, [artefacts.table_of(stamped, columns)])
    (folder / "dedupe.json").write_text(json.dumps(summary))
    return folder


def test_of_two_identities_the_best_pair_is_shown_and_none_of_one(tmp_path: Path) -> None:
    shown = read_shown(write(tmp_path, summary_of()), summary_of())

    assert [(row["reference_id"], row["other_id"]) for row in shown.pairs] == [(3, 5), (6, 7), (2, 4), (8, 9)]
    assert [(group.id, group.labels) for group in shown.groups] == [
        (2, (("c", 2), ("<b>", 1), ("d", 1))), (6, (("e", 1), ("f", 1))),
    ]  # fmt: skip
    assert [row["reference_id"] for row in shown.groups[0].members] == [2, 3, 5]
    assert shown.ids() == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_blocks_and_limits_keep_the_best(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedupe_page, "_ROWS", rows)
    monkeypatch.setattr(dedupe_page, "PAIRS_MAX", 2)
    monkeypatch.setattr(dedupe_page, "GROUPS_MAX", 1)

    shown = read_shown(write(tmp_path, summary_of()), summary_of())

    assert [(row["reference_id"], row["other_id"]) for row in shown.pairs] == [(3, 5), (6, 7)]
    assert [group.id for group in shown.groups] == [2]


def test_an_index_without_labels_shows_its_largest_groups(tmp_path: Path) -> None:
    summary = summary_of(groups_of_several_identities=0, pairs_between=0)

    shown = read_shown(write(tmp_path, summary, PAIRS[-1:], GROUPS[-2:]), summary)

    assert [group.id for group in shown.groups] == [8]
    assert [row["score"] for row in shown.pairs] == [pytest.approx(0.995)]


def test_the_page_says_the_counts_escapes_labels_and_fetches_nothing(tmp_path: Path) -> None:
    text = write_dedupe_page(write(tmp_path, summary_of())).read_text("utf-8")

    assert "6 = 1 within one identity + 4 between two + 1 without a label" in text
    assert "4 = 1 of one identity + 2 of several + 1 without any label" in text
    assert "1\N{THIN SPACE}000 = 9 in groups + 991 alone" in text
    assert "3 of 6 possible pairs (50 %), lowest 0.6100" in text
    assert "2: 3, 3: 1" in text
    assert "&lt;b&gt;" in text
    assert "faces&lt;&amp;&gt;.idx" in text
    assert "default-src 'none'" in text
    for foreign in ("<b>&lt;b", "<script", "http://", "https://", "data:image"):
        assert (foreign in text) == (foreign == "<b>&lt;b")


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        (
            {"pairs": 0},
            "No two of the 1\N{THIN SPACE}000 references score 0.6000 or more: no duplicates at this threshold.",
        ),
        (
            {},
            "9 of 1\N{THIN SPACE}000 references score 0.6000 or more with another one, and hang together in 4 groups; "
            "2 of them join several identities.",
        ),
        (
            {"groups": 1, "groups_of_several_identities": 0, "groups_unlabelled": 0, "references_in_groups": 2},
            "2 of 1\N{THIN SPACE}000 references score 0.6000 or more with another one, and hang together in 1 group; "
            "none of them joins two identities.",
        ),
    ],
)
def test_the_headline_is_one_sentence(counts: dict[str, int], sentence: str) -> None:
    assert headline(summary_of(**counts)) == sentence


def test_sizes_are_told_in_few_bins() -> None:
    sizes = {"2": 5, "3": 1, "7": 2, "99": 1, "100": 1, "5000": 4}

    assert size_bins(sizes) == [
        ("2", 5),
        ("3", 1),
        ("6 to 9", 2),
        ("50 to 99", 1),
        ("100 to 999", 1),
        ("1000 or more", 4),
    ]


def test_what_is_no_report_of_duplicates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="is not there"):
        write_dedupe_page(tmp_path)
    (tmp_path / "dedupe.json").write_text('{"format": "identity-leak-dedupe", "format_version": 2}')

    with pytest.raises(ArtefactError, match="says format 'identity-leak-dedupe', version 2"):
        write_dedupe_page(tmp_path)
