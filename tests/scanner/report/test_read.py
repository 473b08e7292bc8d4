"""A run folder as values: grouped, ordered, limited, and refused when it is none."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from run_folder import crop, match, reject, write_run

from scanner.errors import ArtefactError
from scanner.report.read import GROUPS_MAX, PAIRS_MAX, THUMBNAIL_PX, read_run


def refused(folder: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        read_run(folder)
    return str(caught.value)


def test_matches_are_grouped_by_identity_the_closest_first(tmp_path):
    folder = write_run(
        tmp_path,
        [
            match(0, 7, 0.5, identity="ann"), match(1, 8, 0.9, identity="ben"), match(1, 7, 0.6, identity="ann", rank=2),
            match(2, 9, 0.7, identity="ann"), match(2, 7, 0.7, identity="ann", rank=2),
        ],
    )  # fmt: skip

    run = read_run(folder)

    assert [(g.identity, g.matches, g.queries) for g in run.groups] == [("ben", 1, 1), ("ann", 4, 3)]
    assert [(p.query_uri, p.reference_uri, p.rank) for p in run.groups[1].pairs] == [
        ("gen/2.png", "celeba/7.jpg", 2), ("gen/2.png", "celeba/9.jpg", 1), ("gen/1.png", "celeba/7.jpg", 2),
        ("gen/0.png", "celeba/7.jpg", 1),
    ]  # fmt: skip
    assert run.groups[1].best_score == pytest.approx(0.7)
    assert run.groups_in_all == 2
    assert run.best_scores.tolist() == np.array([0.2, 0.3, 0.6], np.float32).tolist()


def test_references_without_identity_stand_alone(tmp_path):
    folder = write_run(
        tmp_path, [match(0, 1, 0.5, identity=None), match(0, 2, 0.6, identity=None), match(1, 1, 0.7, identity=None)]
    )

    assert [(g.identity, g.reference_id, g.matches) for g in read_run(folder).groups] == [(None, 1, 2), (None, 2, 1)]


def test_an_identity_named_like_a_row_is_not_mixed_with_it(tmp_path):
    folder = write_run(
        tmp_path, [match(0, 5, 0.6, identity=None), match(1, 9, 0.5, identity="#5"), match(2, 8, 0.4, identity="5")]
    )

    assert [(g.identity, g.reference_id) for g in read_run(folder).groups] == [(None, 5), ("#5", 9), ("5", 8)]


def test_one_name_in_two_indexes_is_two_groups(tmp_path):
    folder = write_run(
        tmp_path, [match(0, 5, 0.6, identity="ann"), match(0, 5, 0.6, identity="ann", index="another", rank=2)]
    )

    assert [(g.index, g.matches) for g in read_run(folder).groups] == [("another", 1), ("celeba", 1)]


def test_the_order_of_rows_on_disk_changes_nothing(tmp_path):
    rows = [match(q, r, 0.5 + (q * 7 + r) % 5 / 100, identity=f"p{r % 3}") for q in range(6) for r in range(6)]
    shuffled = [rows[n] for n in np.random.default_rng(0).permutation(len(rows))]

    assert read_run(write_run(tmp_path / "a", rows)).groups == read_run(write_run(tmp_path / "b", shuffled)).groups


def test_groups_and_pairs_are_limited_and_the_rest_is_counted(tmp_path):
    rows = [match(n, n, 0.9 - n / 1000) for n in range(GROUPS_MAX + 10)]
    rows += [match(n, 0, 0.8, rank=2) for n in range(100, 100 + PAIRS_MAX)]

    run = read_run(write_run(tmp_path, rows))

    assert (len(run.groups), run.groups_in_all) == (GROUPS_MAX, GROUPS_MAX + 10)
    assert (run.groups[0].matches, run.groups[0].queries, len(run.groups[0].pairs)) == (
        PAIRS_MAX + 1,
        PAIRS_MAX + 1,
        PAIRS_MAX,
    )
    assert run.groups[-1].identity == f"person-{GROUPS_MAX - 1}"


def test_crops_become_small_jpegs_of_the_right_faces(tmp_path):
    rows = [match(1, 5, 0.6), match(2, 6, 0.5)]
    crops = [crop("query", rows[0]["query_id"], 40), crop("reference", 5, 90), crop("reference", 5, 200, index="other")]

    first, second = read_run(write_run(tmp_path, rows, crops=crops)).groups

    levels = []
    for url in (first.pairs[0].query_crop, first.pairs[0].reference_crop):
        assert url is not None
        assert url.startswith("data:image/jpeg;base64,")
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        assert picture.size == (THUMBNAIL_PX, THUMBNAIL_PX)
        levels.append(round(np.asarray(picture).mean()))
    assert levels == pytest.approx([40, 90], abs=2)
    assert (second.pairs[0].query_crop, second.pairs[0].reference_crop) == (None, None)


def test_reasons_are_counted_the_commonest_first_with_an_example(tmp_path):
    rejects = [
        reject("b.jpg", "truncated"),
        reject("a.jpg"),
        reject("c.jpg"),
        reject("d.jpg", "face_too_small", level="face"),
    ]

    assert read_run(write_run(tmp_path, [], rejects=rejects)).reject_reasons == (
        ("no_face", "item", 2, "a.jpg"), ("face_too_small", "face", 1, "d.jpg"), ("truncated", "item", 1, "b.jpg"),
    )  # fmt: skip


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    assert refused(tmp_path) == f"{tmp_path / 'run.json'} is not there: is this a finished run?"

    (tmp_path / "run.json").write_text('{"format": "something else"}')
    assert refused(tmp_path) == (
        f"{tmp_path} is no run folder: its run.json is of another kind. Name a folder made by `scanner scan`."
    )


@pytest.mark.parametrize("version", [2, 2.5])
def test_a_run_of_a_newer_version_is_refused(tmp_path, version):
    write_run(tmp_path, [])
    (tmp_path / "run.json").write_text(json.dumps({"format": "identity-leak-run", "format_version": version}))

    assert refused(tmp_path) == (f"{tmp_path} was written by a newer scanner (run format {version}). Install it.")


@pytest.mark.parametrize("name", ["queries", "matches", "rejects"])
def test_a_run_without_one_of_its_tables_is_refused(tmp_path, name):
    path = write_run(tmp_path, [match(0, 1, 0.5)]) / f"{name}.parquet"
    path.unlink()

    assert refused(tmp_path) == f"{path} is not there. It is written last: the run has probably not finished."
