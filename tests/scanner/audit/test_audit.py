"""The audit from file to verdict: numbers against the same worked out by hand, and what stops or voids it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audit_world import DIM, draw_people, labels, make_world, photos_of, unit, write_vectors
from drawn_people import files_of, write_tar
from scipy import stats

from scanner import artefacts
from scanner.audit.audit import AuditResult, audit
from scanner.audit.config import read_config
from scanner.errors import CalibrationError, EmbedderMismatch, RunMismatch, UsageError
from scanner.evidence.calibration import proportion_interval


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("audit") / "world")


@pytest.fixture(scope="module")
def done(toml: Path) -> AuditResult:
    return audit(toml, out=toml.parent.parent / "audit")


def vectors(path: Path) -> tuple[np.ndarray, list[str]]:
    table = pq.read_table(path)
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    return flat.reshape(-1, DIM), table["identity"].to_pylist()


def changed(toml: Path, folder: Path, old: str, new: str) -> Path:
    """Copy the world with one change in its file."""
    shutil.copytree(toml.parent, folder)
    text = (folder / "audit.toml").read_text()
    assert old in text
    (folder / "audit.toml").write_text(text.replace(old, new))
    return folder / "audit.toml"


def one_generator(toml: Path, folder: Path, name: str = "leaking") -> Path:
    """Copy the world with one generator, three photos each, no sweeps."""
    shutil.copytree(toml.parent, folder)
    (folder / "audit.toml").write_text(
        f'[embedder]\nembedded_by = "net"\n[people]\nmembers = "members.parquet"\nnon_members = "others.parquet"\nphotos = 3\n'
        f'[[generator]]\nname = "{name}"\nsamples = "{name}.parquet"\n[gate]\nleak_rate_max = 0.2\nfpr = 0.02\n'
    )
    return folder / "audit.toml"


def test_scores_p_values_rates_and_the_gates_counts_are_those_worked_out_by_hand(toml: Path, tmp_path: Path):
    done = audit(one_generator(toml, tmp_path / "w"), out=tmp_path / "out")

    samples = vectors(toml.parent / "leaking.parquet")[0]
    best: dict[str, list[float]] = {}
    for side in ("members", "others"):
        photos, names = vectors(toml.parent / f"{side}.parquet")
        for name, score in zip(names, (photos @ samples.T).max(1), strict=True):
            best.setdefault(name, []).append(float(score))
    expected = {name: max(scores) for name, scores in best.items()}
    rows = artefacts.read_table(tmp_path / "out" / "scores.parquet", "scores").to_pylist()
    assert {row["identity"]: row["best_score"] for row in rows} == pytest.approx(expected, abs=1e-6)
    assert [row["member"] for row in rows] == [True] * 40 + [False] * 200
    assert all(row["p_value"] is None for row in rows[40:])
    entry = done.document["generators"][0]
    members = [value for name, value in expected.items() if name[0] == "m"]
    others = [value for name, value in expected.items() if name[0] == "n"]
    p_values = [(1 + sum(other >= member for other in others)) / 201 for member in members]  # too few for a tail
    assert [row["p_value"] for row in rows[:40]] == pytest.approx(p_values)
    assert [row["q_value"] for row in rows[:40]] == pytest.approx(stats.false_discovery_control(p_values))
    assert entry["scores"]["min_match"]["auc"]["value"] == pytest.approx(
        np.mean([[left > right for right in others] for left in members])
    )
    cut = sorted(others, reverse=True)[3]  # floor(0.02 x 201) = 4 of 200 reach it
    hits = sum(value >= cut for value in members)
    gate = entry["gate"]
    assert gate["cut"] == pytest.approx(cut)
    assert (gate["members"], gate["member_hits"], gate["null_hits"]) == (40, hits, 4)
    assert 25 <= hits <= 32
    assert gate["state"] == "fail"
    assert gate["leak_low"] == pytest.approx(
        (proportion_interval(hits, 40)[0] - proportion_interval(4, 200)[1]) / (1 - proportion_interval(4, 200)[1])
    )


def test_the_leaking_generator_fails_and_the_innocent_passes(done: AuditResult):
    leaking, innocent = done.document["generators"]

    assert (leaking["gate"]["state"], innocent["gate"]["state"]) == ("fail", "pass")
    assert done.document["verdict"] == {
        "state": "fail",
        "sentence": "Fail: 1 of 2 generators gives away more people than is tolerated (leaking).",
    }
    assert not done.allows
    assert leaking["scores"]["best_match"]["tpr_1"]["value"] > 0.5
    assert leaking["evidence"]["below_level"] >= 20
    assert innocent["evidence"]["below_level"] == 0
    assert innocent["scores"]["best_match"]["auc"]["low"] < 0.5 < innocent["scores"]["best_match"]["auc"]["high"]
    assert 0.5 < leaking["gate"]["leak_low"] < 28 / 40 < leaking["gate"]["leak_high"]


def test_every_score_and_baseline_has_its_rates(done: AuditResult):
    entry = done.document["generators"][0]

    ours = {"best_match", "mean_of_k", "count_within", "calibrated", "learned"}
    assert set(entry["scores"]) == {*ours, "min_match", "privet"}
    for rates in entry["scores"].values():
        assert set(rates) == {"auc", "tpr_1", "tpr_0.1"}
        assert all(at["low"] <= at["value"] <= at["high"] for at in rates.values())
    assert [row["name"] for row in entry["sets"]["rows"]] == [
        "c_t", "auth_share", "privacy_loss", "dcr_share", "ks", "mre_gap",
    ]  # fmt: skip


def test_sweeps_say_what_they_left_out_and_grow_with_the_leaking_samples(done: AuditResult):
    sweeps = done.document["generators"][0]["sweeps"]

    assert [(point["size"], point["left_out"]) for point in sweeps["samples"]] == [
        (100, ""), (300, ""), (1000, "there are 300 samples"),
    ]  # fmt: skip
    small, large = (point["scores"]["best_match"]["auc"]["value"] for point in sweeps["samples"][:2])
    assert small + 0.05 < large
    whole = done.document["generators"][0]["scores"]["best_match"]["auc"]["value"]
    assert large == pytest.approx(whole)
    assert [(point["size"], point["left_out"]) for point in sweeps["photos"]] == [
        (1, ""), (3, ""), (4, "0 members and 0 non-members have as many photos"),
    ]  # fmt: skip


def test_people_with_a_larger_share_are_closer(done: AuditResult):
    dose = done.document["generators"][0]["dose"]

    assert len(dose["people"]) == 40
    assert dose["rising"]["best_match"]["rho"] > 0.5
    assert dose["rising"]["best_match"]["p_value"] == pytest.approx(1e-4)
    assert done.document["generators"][1]["dose"] is None


def test_counts_add_up_and_the_policy_is_in_the_result(done: AuditResult, toml: Path):
    config = read_config(toml)

    assert done.document["policy_sha256"] == config.sha256()
    assert done.document["config"] == config.document()
    assert done.document["sources"]["members.parquet"]["faces"] == 120
    for entry in done.document["generators"]:
        for side in ("members", "non_members"):
            people = entry["people"][side]
            assert people["used"] + sum(people["left_out"].values()) == people["photos"]
        assert entry["people"]["members"]["left_out"]["beyond_photos_each"] == 40
        assert entry["canaries"] == {"planted": 8, "found": 8}
        assert entry["samples"]["faces"] == 300
        assert 200 < entry["samples"]["effective_n"] <= 300
    planted = done.document["generators"][0]["cut"]["planted"]
    assert planted["people"] == 200
    assert planted["reaching"] >= 195


def test_again_gives_the_same_bytes_and_other_seeds_do_not(done: AuditResult, toml: Path, tmp_path: Path):
    audit(toml, out=tmp_path / "again")
    audit(changed(toml, tmp_path / "w", "seed = 3", "seed = 4"), out=tmp_path / "other")

    whole = files_of(done.folder)
    assert set(whole) == {"audit.json", "scores.parquet", "report.html"}
    assert files_of(tmp_path / "again") == whole
    assert files_of(tmp_path / "other")["scores.parquet"] != whole["scores.parquet"]


def test_a_photo_that_the_generator_put_out_takes_no_part(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    photos = vectors(path.parent / "members.parquet")[0]
    samples = vectors(path.parent / "leaking.parquet")[0]
    write_vectors(path.parent / "leaking.parquet", np.concatenate([samples, photos[[0, 4]]]))
    path.write_text(path.read_text().replace("photos = 3\n", ""))

    entry = audit(path, out=tmp_path / "out").document["generators"][0]

    assert entry["people"]["photos_each"] == 2  # what is left of the first two members
    assert entry["people"]["members"]["left_out"]["in_samples_or_training"] == 2
    assert entry["people"]["members"]["left_out"]["beyond_photos_each"] == 38
    assert entry["people"]["members"]["identities"] == 40


def test_a_training_photo_takes_no_part_and_serves_the_baselines(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    photos = vectors(path.parent / "members.parquet")[0]
    rng = np.random.default_rng(1)
    write_vectors(path.parent / "training.parquet", np.concatenate([photos[:3], photos_of(rng, unit(photos[3:60]), 1)]))
    path.write_text(path.read_text().replace("[gate]", 'training = "training.parquet"\n[gate]'))

    entry = audit(path, out=tmp_path / "out").document["generators"][0]

    assert entry["people"]["members"]["left_out"]["in_samples_or_training"] == 3
    assert entry["people"]["members"]["identities"] == 39
    assert entry["sets"]["training"]
    assert entry["sets"]["rows"][0]["photos"] == [60, 200]


def test_members_and_non_members_of_two_kinds_make_everything_inconclusive(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    rng = np.random.default_rng(2)
    shifted = draw_people(rng, 200)
    shifted[:, 0] += 0.5
    write_vectors(path.parent / "others.parquet", photos_of(rng, unit(shifted), 3), labels("n", 200, 3))

    done = audit(path, out=tmp_path / "out")

    assert done.document["verdict"]["state"] == "inconclusive"
    assert done.document["verdict"]["sentence"].startswith(
        "Inconclusive: a classifier tells members' pictures from non-members' with AUC "
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<td>m000</td>" in page
    assert "<b>m000</b>" not in page

    path.write_text(path.read_text().partition("[gate]")[0])
    assert audit(path, out=tmp_path / "without").document["verdict"]["state"] == "inconclusive"


def test_without_a_gate_the_audit_measures_and_does_not_judge(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w", "innocent")
    path.write_text(path.read_text().partition("[gate]")[0])

    done = audit(path, out=tmp_path / "out")

    assert done.allows
    assert done.document["generators"][0]["gate"] is None
    assert done.document["verdict"] == {
        "state": "measured",
        "sentence": "Undecided: with 200 non-members, fewer than 4 of 40 members could not have been named, however close "
        "(false discovery rate 5 %).",
    }


def test_an_embedder_that_the_generator_was_trained_with_marks_the_result(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    path.write_text(path.read_text().replace("[people]", "used_by_generator = true\n[people]"))

    sentence = audit(path, out=tmp_path / "out").document["verdict"]["sentence"]

    assert sentence.endswith("The generator was trained with this embedder, so this says less.")


def test_somebody_on_both_sides_is_refused(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    photos, names = vectors(path.parent / "others.parquet")
    write_vectors(path.parent / "others.parquet", photos, ["m007" if name == "n000" else name for name in names])

    with pytest.raises(CalibrationError, match=r"1 identities are members and non-members of leaking \(m007\)"):
        audit(path, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("side", "kept", "why"),
    [
        ("members", 19, "leaking has 19 identities as members; at least 20 are needed"),
        ("others", 99, "leaking has 99 identities as non-members; at least 100 are needed"),
    ],
)
def test_too_few_people_are_refused(side: str, kept: int, why: str, toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    photos, names = vectors(path.parent / f"{side}.parquet")
    write_vectors(path.parent / f"{side}.parquet", photos[: 3 * kept], names[: 3 * kept])

    with pytest.raises(CalibrationError, match=why):
        audit(path, out=tmp_path / "out")


def write_own(path: Path, fingerprint: str, items: list[str] | None = None) -> None:
    """Write the vectors of a foreign file as `scanner embed` would."""
    photos, names = vectors(path)
    n = len(photos)
    schema = artefacts.stamped(artefacts.embeddings_schema(DIM), "embeddings", fingerprint=fingerprint)
    column = pa.FixedSizeListArray.from_arrays(pa.array(photos.reshape(-1), pa.float32()), DIM)
    columns = {
        "id": [f"{path.stem}{row}:0" for row in range(n)], "item_id": items or [f"{path.stem}{row}" for row in range(n)],
        "uri": [f"{path.stem}/{row}" for row in range(n)], "identity": names, "face": [0] * n, "embedding": column,
    }  # fmt: skip
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])


def test_vectors_of_two_embedders_are_refused(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    path.write_text(path.read_text().replace('embedded_by = "net"', ""))
    for name, fingerprint in (("members", "net@1"), ("others", "net@1"), ("leaking", "net@2")):
        write_own(path.parent / f"{name}.parquet", fingerprint)

    with pytest.raises(
        EmbedderMismatch, match=r"others.parquet with fingerprint net@1, leaking.parquet with fingerprint net@2"
    ):
        audit(path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_by_another_embedder_than_the_vectors_are_refused(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    write_tar(path.parent / "leaking.tar", [(0, 0)])
    path.write_text(
        path.read_text()
        .replace("leaking.parquet", "leaking.tar")
        .replace("[people]", 'spec = "drawn"\nfaces = "aligned"\n[people]')
    )

    with pytest.raises(
        EmbedderMismatch, match=r"leaking.tar was embedded with fingerprint .*, members.parquet with declared:net"
    ):
        audit(path, out=tmp_path / "out")


def test_a_picture_is_known_by_its_bytes_even_where_its_vector_differs(toml: Path, tmp_path: Path):
    path = one_generator(toml, tmp_path / "w")
    path.write_text(path.read_text().replace('embedded_by = "net"', "").replace("photos = 3", "photos = 2"))
    for name in ("members", "others"):
        write_own(path.parent / f"{name}.parquet", "net@1")
    items = ["members0", "members4", "members5", *(f"sample{row}" for row in range(297))]
    write_own(path.parent / "leaking.parquet", "net@1", items)

    entry = audit(path, out=tmp_path / "out").document["generators"][0]

    left_out = entry["people"]["members"]["left_out"]
    assert (left_out["in_samples_or_training"], left_out["too_few_photos"]) == (3, 1)
    assert entry["people"]["members"]["identities"] == 39


def test_a_finished_audit_is_taken_as_it_is_or_refused_for_another_file(done: AuditResult, toml: Path, tmp_path: Path):
    out = tmp_path / "out"
    shutil.copytree(done.folder, out)
    before = files_of(out)

    assert audit(toml, out=out, resume=True).document == done.document
    other = changed(toml, tmp_path / "w", "k = 4", "k = 5")
    other.write_text(other.read_text().replace("leak_rate_max = 0.2", "leak_rate_max = 0.3"))
    with pytest.raises(RunMismatch, match="finished audit of another file: attack, gate differ"):
        audit(other, out=out, resume=True)
    with pytest.raises(UsageError, match="is already there"):
        audit(toml, out=out)
    assert files_of(out) == before


def test_an_unfinished_audit_is_not_resumed_with_another_policy(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = one_generator(toml, tmp_path / "w")
    with monkeypatch.context() as patch:
        patch.setattr("scanner.audit.audit.measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            audit(path, out=tmp_path / "out")
    path.write_text(path.read_text().replace("leak_rate_max = 0.2", "leak_rate_max = 0.9"))

    with pytest.raises(UsageError, match="holds unfinished work"):
        audit(path, out=tmp_path / "out")
    with pytest.raises(RunMismatch, match="gate, policy_sha256 changed"):
        audit(path, out=tmp_path / "out", resume=True)


def test_force_replaces_an_audit_and_nothing_else(done: AuditResult, toml: Path, tmp_path: Path):
    out = tmp_path / "out"
    shutil.copytree(done.folder, out)
    path = one_generator(toml, tmp_path / "w")
    audit(path, out=out, force=True)
    (out / "mine.txt").write_text("a letter")

    with pytest.raises(UsageError, match="is not, or not only, an audit of ours"):
        audit(path, out=out, force=True)

    assert [entry["name"] for entry in json.loads((out / "audit.json").read_text())["generators"]] == ["leaking"]


def test_the_page_is_made_of_the_folder_alone(done: AuditResult):
    from scanner.report.audit_page import write_audit_page

    before = (done.folder / "report.html").read_bytes()

    assert write_audit_page(done.folder).read_bytes() == before


def test_no_vector_is_in_the_result(done: AuditResult):
    assert "embedding" not in json.dumps(done.document["generators"])
    assert "embedding" not in artefacts.read_table(done.folder / "scores.parquet", "scores").column_names
