"""Generators run backwards in an audit: which photos, how they are compared, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from recovery_world import SECTION, write_world

from scanner import artefacts
from scanner.audit.audit import AuditResult, audit
from scanner.audit.check import estimate_audit
from scanner.audit.config import read_config
from scanner.audit.recovery import choose
from scanner.audit.recovery_config import RecoverySection
from scanner.audit.recovery_scan import own_and_rest
from scanner.audit.sources import Faces
from scanner.errors import CalibrationError, UsageError
from scanner.evidence.guards import TwoSample, two_sample


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Whether both sides are pictures of one kind is not the question here, and to shuffle them takes half a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.audit.results.are_apart", two_sample)
        patch.setattr("scanner.audit.recovery.are_apart", lambda a, b, **_: TwoSample(0.5, 0.5, len(a), len(b)))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    folder = tmp_path_factory.mktemp("recovery")
    toml = write_world(folder / "world", memorised=True, section=SECTION + "scan = true\n")
    return audit(toml, out=folder / "out")


def faces(people: list[tuple[str, str | None]]) -> Faces:
    """Faces of (item, identity)."""
    marks = tuple((f"item {item} 0", f"vector {item}") for item, _ in people)
    return Faces(np.eye(len(people), dtype=np.float32), tuple(i for _, i in people), marks, "f", {})


def test_training_photos_that_the_generator_makes_are_told_from_others(done: AuditResult):
    entry = done.document["generators"][0]["recovery"]
    found = entry["inversion"]

    assert (found["photos"], found["people"], found["left_out"]) == ([12, 12], [12, 12], 0)
    assert found["median"][0] < 1e-3 < found["median"][1]
    assert found["ks_p"] < 0.001
    assert found["mre_gap"]["low"] > 0.5
    assert found["by_identity"]["auc"]["value"] > 0.95
    assert entry["differ"]
    assert "Photos that it was trained on are re-created with a median error of" in entry["says"]
    assert len(entry["psnr_db"]["members"]) == len(entry["psnr_db"]["non_members"]) == 12


def test_the_score_stands_in_the_table_for_those_whose_photos_were_inverted(done: AuditResult):
    rows = artefacts.read_table(done.folder / "scores.parquet", "scores").to_pylist()
    scored = {side: [r["recovery"] for r in rows if r["member"] is side] for side in (True, False)}

    assert sum(value is not None for value in scored[True]) == 12
    assert sum(value is not None for value in scored[False]) == 12
    assert np.mean([v for v in scored[True] if v is not None]) > np.mean([v for v in scored[False] if v is not None])


def test_reconstructions_of_members_match_their_other_photos(done: AuditResult):
    scan = done.document["generators"][0]["recovery"]["scan"]

    assert scan["unknown"] == ""
    assert scan["members"]["photos"] == 12
    assert scan["members"]["first"]["value"] > 0.5  # the other photo of a member is the same picture with noise
    assert scan["gallery"] == 120
    for side in ("members", "non_members"):
        assert (
            0 <= scan[side]["reaching"]["low"] <= scan[side]["reaching"]["value"] <= scan[side]["reaching"]["high"] <= 1
        )


def test_the_page_shows_it(done: AuditResult):
    page = (done.folder / "report.html").read_text()

    assert "run backwards" in page
    assert done.document["generators"][0]["recovery"]["says"][:60] in page
    assert "Peak signal-to-noise" in page


def test_nothing_is_left_of_the_photos(done: AuditResult):
    assert sorted(path.name for path in done.folder.iterdir()) == ["audit.json", "report.html", "scores.parquet"]


def test_photos_that_it_does_not_know_better_are_not_told_apart(tmp_path: Path):
    done = audit(write_world(tmp_path / "world", memorised=False), out=tmp_path / "out")

    entry = done.document["generators"][0]["recovery"]
    assert entry["inversion"]["ks_p"] > 0.01
    assert not entry["differ"]
    assert "nothing says that it knows its training photos better" in entry["says"]


def test_pictures_of_two_kinds_say_nothing_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # The others are upside down in this world: what is re-created better is the kind.
    monkeypatch.setattr("scanner.audit.recovery.are_apart", two_sample)
    toml = write_world(tmp_path / "world", memorised=True, section=SECTION.replace("= 12", "= 20"))

    entry = audit(toml, out=tmp_path / "out").document["generators"][0]["recovery"]

    assert entry["guard"]["differ"]
    assert not entry["differ"]
    assert "these are pictures of two kinds" in entry["says"]


def test_a_reference_generator_calibrates(tmp_path: Path):
    toml = write_world(tmp_path / "world", memorised=True, extra='reference_model = "sketch.toml"')

    entry = audit(toml, out=tmp_path / "out").document["generators"][0]["recovery"]

    # Calibrated by itself nothing is left of any difference.
    assert entry["calibrated"]["ks"] == 0
    assert entry["calibrated"]["by_identity"]["auc"]["value"] == 0.5
    assert "mre_gap" not in entry["calibrated"]


def test_a_killed_inversion_is_taken_up_and_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    toml = write_world(tmp_path / "world", memorised=True)
    monkeypatch.setattr("scanner.audit.recovery.SHARD_IMAGES", 9)
    audit(toml, out=tmp_path / "whole")
    from scanner.jobs.inverting.parts import InversionParts

    write = InversionParts.write

    def killed(parts: InversionParts, shard: object) -> None:
        if parts.counts().entries:
            raise KeyboardInterrupt
        write(parts, shard)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(InversionParts, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            audit(toml, out=tmp_path / "cut")
    audit(toml, out=tmp_path / "cut", resume=True)

    for name in ("audit.json", "scores.parquet", "report.html"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_check_says_the_cost_and_what_is_missing(tmp_path: Path):
    toml = write_world(tmp_path / "world", memorised=True)
    cost = estimate_audit(read_config(toml), toml.parent)

    assert cost.recovery_s is not None
    assert cost.recovery_s > 0
    assert "running the generators backwards: at most" in cost.sentence()
    (toml.parent / "sketch.toml").unlink()
    with pytest.raises(UsageError, match=r"generator\[1\]\.model: there is no sketch.toml"):
        estimate_audit(read_config(toml), toml.parent)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (SECTION, "", "the model of sketch is for recovery"),
        ('model = "sketch.toml"', "", r"\[recovery\] needs a generator to run backwards"),
        ('model = "sketch.toml"', 'reference_model = "sketch.toml"', r"\[recovery\] needs a generator"),
        ("restarts = 2", "restart = 2", "recovery.restart: unknown key. Did you mean 'restarts'"),
    ],
)
def test_keys_that_do_not_fit_are_refused(old: str, new: str, why: str, tmp_path: Path):
    toml = write_world(tmp_path / "world", memorised=True)
    text = toml.read_text()
    assert old in text
    toml.write_text(text.replace(old, new))

    with pytest.raises(UsageError, match=why):
        read_config(toml)


def test_both_sides_have_as_many_photos_and_everybody_comes_once_before_anybody_twice():
    inside = faces([(f"i{n}", f"m{n % 7}") for n in range(21)])
    outside = faces([(f"o{n}", f"n{n % 4}") for n in range(9)] + [("i3", "n0"), ("o99", None)])

    chosen = choose(inside, outside, RecoverySection(images_max=10), what="g")

    sides = [[photo for photo in chosen if photo.member is side] for side in (True, False)]
    assert [len(side) for side in sides] == [10, 10]
    assert len({photo.person for photo in sides[0]}) == 7
    assert "i3" not in {photo.item_id for photo in chosen}  # on both sides
    assert [photo.item_id for photo in chosen] == sorted(photo.item_id for photo in chosen)
    again = choose(inside, outside, RecoverySection(images_max=10, seed=1), what="g")
    assert {photo.item_id for photo in again} != {photo.item_id for photo in chosen}


def test_somebody_on_both_sides_is_refused():
    with pytest.raises(CalibrationError, match="1 people are recovered as members and as non-members of g \\(m0\\)"):
        choose(faces([("a", "m0"), ("b", "m1")]), faces([("c", "m0")]), RecoverySection(), what="g")


def test_a_photo_is_no_other_photo_of_its_own_person():
    gallery = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, 1.0]], np.float32)
    sides = {"a": ("anna", True), "c": ("carl", False)}

    own, rest = own_and_rest(
        np.array([[1.0, 0, 0], [0, 0, 1.0]], np.float32), ["a", "c"], sides, gallery, ["anna", "anna", "carl"],
        ["a", "b", "c"],
    )  # fmt: skip

    assert own == pytest.approx([0.6, -np.inf])
    assert rest == pytest.approx([0.0, 0.0])
