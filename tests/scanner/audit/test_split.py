"""The split audit from files to page: what an exact and a useless inverse give away, resuming, refusals, the gate."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import files_of
from split_world import CUTS, PEOPLE, ExactInverse, UselessInverse, make_split_world, opened_with, pictures

from indexes.sealed import is_sealed
from scanner import artefacts
from scanner.audit import split as split_module
from scanner.audit.audit import AuditResult, audit
from scanner.audit.check import estimate_audit
from scanner.audit.config import read_config
from scanner.audit.split import split_audit
from scanner.audit.split_photos import choose, resized
from scanner.audit.split_results import joined
from scanner.cli import main
from scanner.errors import CalibrationError, EmbedderMismatch, NothingScanned, RunMismatch, UsageError
from scanner.evidence.split import Judged
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.inversion.features.store import save_inverse
from scanner.networks.description import open_network
from scanner.progress import Silent

DEFENCES = '[[split.defence]]\nkind = "noise"\nvalues = [0.5]\n[[split.defence]]\nkind = "drop"\nvalues = [0.9]\n'


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_split_world(tmp_path_factory.mktemp("split") / "world", more="pictures = true\n" + DEFENCES)


@pytest.fixture(scope="module")
def done(toml: Path) -> AuditResult:
    return audit(toml, out=toml.parent.parent / "out")


def headline(unit: dict[str, Any], judge: str, match: str = "type_1") -> dict[str, Any]:
    entry = next(entry for entry in unit["judges"] if entry["judge"] == judge)
    return entry["rates"][match][entry["headline"]]


def changed(toml: Path, folder: Path, old: str, new: str) -> Path:
    shutil.copytree(toml.parent, folder)
    text = (folder / "audit.toml").read_text()
    assert old in text
    (folder / "audit.toml").write_text(text.replace(old, new))
    return folder / "audit.toml"


def test_an_exact_inverse_gives_everybody_away_at_every_cut(toml: Path, tmp_path: Path) -> None:
    found, _ = split_audit(opened_with(toml, ExactInverse), tmp_path / "work", seed=0, progress=Silent())

    for unit in found["units"]:
        assert unit["quality"]["psnr_db"]["mean"] == 100.0
        assert unit["quality"]["ssim"]["mean"] == pytest.approx(1.0)
        for judge in ("one", "two"):
            assert headline(unit, judge)["value"] == 1.0
            baseline = next(row for row in found["baselines"]["judges"] if row["judge"] == judge)["original"]
            assert headline(unit, judge, "type_2")["value"] == baseline["value"] > 0.9
        assert (
            next(entry for entry in unit["judges"] if entry["judge"] == "all judges")["rates"]["type_1"]["value"] == 1.0
        )


def test_a_useless_inverse_gives_chance(toml: Path, tmp_path: Path) -> None:
    found, _ = split_audit(opened_with(toml, UselessInverse), tmp_path / "work", seed=0, progress=Silent())

    for unit in found["units"]:
        for judge in ("one", "two"):
            rate = headline(unit, judge)
            assert rate["low"] <= 0.01 <= rate["high"]
            assert rate["value"] <= 0.05
    for row in found["baselines"]["judges"]:
        assert row["mean_image"]["value"] < 0.2


def test_rates_are_those_of_the_judges_own_vectors(toml: Path, done: AuditResult, tmp_path: Path) -> None:
    opened = opened_with(toml, lambda real: real)
    own = pictures().reshape(-1, 16, 16, 3)
    import torch

    images = torch.from_numpy(own).permute(0, 3, 1, 2).float() / 255
    back = opened.inverse.inputs(opened.inverse.features(images, CUTS[1]), CUTS[1])
    shown = (back.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    judge = opened.judges[0].embedder
    seen = Judged(judge.embed(shown), judge.embed(own), np.repeat(np.arange(PEOPLE), 2))

    unit = next(u for u in done.document["split"]["units"] if u["cut"] == CUTS[1] and u["defence"]["kind"] == "none")
    entry = unit["judges"][0]

    for match in ("type_1", "type_2"):
        for null in ("original", "recreated"):
            expected = seen.rate(match, fmr=0.01, null=null)
            assert entry["rates"][match][null]["value"] == pytest.approx(expected.value, abs=0.02)
            assert entry["rates"][match][null]["threshold"] == pytest.approx(expected.threshold, abs=1e-3)
    strict = max(("original", "recreated"), key=lambda null: entry["rates"]["type_1"][null]["threshold"])
    assert entry["headline"] == strict


def test_every_cut_defence_judge_type_and_null_has_a_row(done: AuditResult) -> None:
    rows = artefacts.read_table(done.folder / "split.parquet", "split").to_pylist()

    assert len(rows) == len(CUTS) * 3 * (2 * 2 * 2 + 1)  # judges, types, nulls; and all judges together
    assert {(row["cut"], row["defence"]) for row in rows} == {(c, d) for c in CUTS for d in ("none", "noise", "drop")}
    assert [row["layers"] for row in rows if row["judge"] == "all judges"] == sorted(
        row["layers"] for row in rows if row["judge"] == "all judges"
    )
    single = [row for row in rows if row["judge"] != "all judges"]
    assert sum(row["headline"] for row in single) * 2 == len(single)
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows)
    assert done.document["split"]["photos"]["people"] == PEOPLE
    assert done.document["files"].keys() == {"split.parquet"}


def test_dropping_most_channels_costs_the_network_its_own_work(done: AuditResult) -> None:
    units = {(u["cut"], u["defence"]["kind"]): u["own"]["tar"]["value"] for u in done.document["split"]["units"]}

    assert units["layer1.0", "none"] == units["linear", "none"]  # undefended, the network is the network
    assert units["linear", "drop"] < units["linear", "none"]


def test_the_page_shows_the_curve_and_pictures_only_when_asked_for(
    done: AuditResult, toml: Path, tmp_path: Path
) -> None:
    page = (done.folder / "report.html").read_text()
    plain = audit(changed(toml, tmp_path / "w", "pictures = true\n" + DEFENCES, ""), out=tmp_path / "out")

    assert page.count("<img") == 5 * (1 + len(CUTS))
    assert "data:image/png;base64" in page
    assert "<script" not in page
    assert "://" not in page
    assert done.document["verdict"]["sentence"] in page
    assert "What simple defences buy" in page
    other = (plain.folder / "report.html").read_text()
    assert "<img" not in other
    assert "base64" not in json.dumps(plain.document)
    assert plain.document["split"]["pictures"] is None
    assert "What simple defences buy" not in other
    assert other.count("<svg") == 1


def test_a_killed_audit_resumed_leaves_the_same_bytes(
    done: AuditResult, toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = split_module._measure, 0

    def dies(*args: Any) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(split_module, "_measure", dies)
    with pytest.raises(KeyboardInterrupt):
        audit(toml, out=tmp_path / "out")
    monkeypatch.setattr(split_module, "_measure", real)
    kept = sorted(path.name for path in (tmp_path / "out" / "unfinished" / "split").iterdir())

    audit(toml, out=tmp_path / "out", resume=True)

    assert [name for name in kept if name[0].isdigit()] == ["0000.json", "0001.json", "0002.json", "0003.json"]
    assert files_of(tmp_path / "out") == files_of(done.folder)


def test_an_inverse_that_changed_since_the_kill_is_refused(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(toml, tmp_path / "w", "pictures = true\n" + DEFENCES, "")
    monkeypatch.setattr(split_module, "_measure", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        audit(path, out=tmp_path / "out")
    network = open_network(path.parent / "net.toml")
    blocks, names = make_blocks(network, CUTS, layers_max=2)
    other = Inverse(network, blocks, names, make_modules(blocks, width=0.5, seed=1))
    save_inverse(other, path.parent / "inverse", plan={"at": list(CUTS), "layers_max": 2, "width": 0.5})

    with pytest.raises(RunMismatch, match=r"files of \[split\] changed"):
        audit(path, out=tmp_path / "out", resume=True)


def _interrupt(*_: Any) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_a_judge_that_is_the_attacked_network_or_took_part_is_refused(toml: Path, tmp_path: Path) -> None:
    own = changed(toml, tmp_path / "a", 'network = "net.toml"', 'network = "one.onnx"')
    told = changed(toml, tmp_path / "b", "pictures", "pictures")
    manifest = json.loads((tmp_path / "b" / "inverse" / "inverse.json").read_text())
    from scanner.embedders import open_embedder
    from scanner.sessions import choose_device

    judge = open_embedder(f"onnx:{tmp_path / 'b' / 'two.onnx'}", choose_device("cpu")).embedder
    manifest["identity_loss"] = judge.fingerprint
    (tmp_path / "b" / "inverse" / "inverse.json").write_text(json.dumps(manifest))

    with pytest.raises(EmbedderMismatch, match="The judge one is the attacked network one itself"):
        audit(own, out=tmp_path / "x")
    with pytest.raises(EmbedderMismatch, match="The judge two stands in the inverse's manifest"):
        audit(told, out=tmp_path / "y")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ('"onnx:two.onnx"', '"onnx:./one.onnx"', UsageError, "one stands there twice"),
        (
            'judges = ["onnx:one.onnx", "onnx:two.onnx"]',
            "judges = []",
            UsageError,
            "no classifier and there is no judge",
        ),
        ("pictures = true", 'cuts = ["layer3.1"]', UsageError, "Did you mean 'layer3.0'"),
        ("fmr = [0.01]", "fmr = [1e-4]", CalibrationError, "needs 100000 pairs"),
        ('faces = "whole"', 'faces = "detect"', UsageError, "needs a face detector"),
        ('identity_from = "folder"', 'identity_from = "labels"', NothingScanned, "no usable photo"),
    ],
)
def test_what_cannot_be_done_says_so(
    old: str, new: str, error: type[Exception], message: str, toml: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        audit(changed(toml, tmp_path / "w", old, new), out=tmp_path / "out")


@pytest.mark.parametrize(
    ("inverse", "most", "state"),
    [(ExactInverse, 0.5, "fail"), (UselessInverse, 0.5, "pass"), (UselessInverse, 0.02, "inconclusive")],
)
def test_the_gate_is_decided_by_bounds(
    inverse: Any, most: float, state: str, toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(toml, tmp_path / "w", "pictures = true\n" + DEFENCES, f"match_rate_max = {most}\n")
    monkeypatch.setattr("scanner.audit.audit.open_split", lambda *_: opened_with(path, inverse))

    result = audit(path, out=tmp_path / "out")

    gate = result.document["split"]["gate"]
    assert gate["state"] == result.document["verdict"]["state"] == state
    assert result.allows == (state == "pass")
    assert gate["tried"] == len(CUTS) * 2 * 2
    assert gate["worst"]["low"] <= gate["worst"]["rate"] <= gate["worst"]["high"]
    assert "The split's gate" in (tmp_path / "out" / "report.html").read_text()


def test_a_classifier_needs_no_judge_and_every_picture_is_a_trial(tmp_path: Path) -> None:
    toml = make_split_world(tmp_path / "w", classes=True, judges=0, people=10)
    found, rows = split_audit(opened_with(toml, ExactInverse), tmp_path / "work", seed=0, progress=Silent())
    page = (audit(toml, out=tmp_path / "out").folder / "report.html").read_text()

    assert found["photos"]["photos"] == found["photos"]["people"] == 20
    assert all(unit["own"]["agreement"]["value"] == unit["own"]["kept"]["value"] == 1.0 for unit in found["units"])
    assert all("accuracy" not in unit["own"] for unit in found["units"])
    assert [row["class_agreement"] for row in rows] == [1.0] * len(CUTS)
    assert "same class as the original" in page


def test_labels_that_name_classes_give_accuracy(tmp_path: Path) -> None:
    names = ", ".join(f'"p{person:03d}"' for person in range(10))
    toml = make_split_world(tmp_path / "w", classes=True, judges=0, people=10, more=f"class_names = [{names}]\n")
    opened = opened_with(toml, ExactInverse)
    import torch

    own = torch.from_numpy(pictures(10).reshape(-1, 16, 16, 3)).permute(0, 3, 1, 2).float() / 255
    expected = float((opened.network(own).argmax(1).numpy() == np.repeat(np.arange(10), 2)).mean())

    found, _ = split_audit(opened, tmp_path / "work", seed=0, progress=Silent())

    assert found["units"][0]["own"]["accuracy"]["value"] == pytest.approx(expected)


def test_two_photos_of_a_person_are_drawn_first_and_the_seed_decides_which() -> None:
    identities = ["a", "a", "a", "b", None, "c", "c"]

    chosen, left_out = choose(identities, photos_max=5, seed=0, by_person=True)
    drawn = {tuple(sorted(choose(identities, photos_max=5, seed=seed, by_person=True)[0])) for seed in range(20)}

    assert len(chosen) == 5
    assert sorted(identities[place] for place in chosen) == ["a", "a", "b", "c", "c"]
    assert left_out == {"no_identity": 1, "not_drawn": 1}
    assert len(drawn) == 3  # which two of a's three photos
    assert choose(identities, photos_max=4, seed=0, by_person=True)[1]["not_drawn"] == 2
    assert len(choose(identities, photos_max=7, seed=0, by_person=False)[0]) == 7


def test_a_picture_that_is_no_number_is_counted_and_matches_nobody_by_name(toml: Path, tmp_path: Path) -> None:
    class Broken(ExactInverse):
        def inputs(self, features: Any, cut: str) -> Any:
            out = super().inputs(features, cut).clone()
            out[0] = float("nan")
            return out

    found, _ = split_audit(opened_with(toml, Broken), tmp_path / "work", seed=0, progress=Silent())

    for unit in found["units"]:
        assert unit["not_finite"] == 3  # one in each batch of 32 among 80
        assert 77 / 80 <= headline(unit, "one")["value"] < 1.0


def test_crops_are_resized_only_where_sizes_differ() -> None:
    crops = pictures(2)[0]

    assert resized(crops, (16, 16)) is crops
    assert resized(crops, (8, 12)).shape == (2, 12, 8, 3)


def test_both_parts_of_an_audit_are_in_its_verdict() -> None:
    fails, passes = {"state": "fail", "sentence": "Fail: a."}, {"state": "pass", "sentence": "Pass: b."}
    told = {"state": "measured", "sentence": "None."}

    assert joined(passes, fails) == {"state": "fail", "sentence": "Pass: b. Fail: a."}
    assert joined(None, passes) == passes
    assert joined(told, None) == told
    assert joined(told, passes)["state"] == "measured"


def test_the_dry_run_counts_and_predicts_and_writes_nothing(toml: Path) -> None:
    before = files_of(toml.parent)

    cost = estimate_audit(read_config(toml), toml.parent)

    assert cost.split is not None
    assert (cost.split.photos, cost.split.people, cost.split.units) == (80, 40, 9)
    assert cost.split.total_s == pytest.approx(cost.split.find_s + 9 * cost.split.unit_s)
    assert "split: 80 photos of 40 people, 9 cuts and defences" in cost.sentence()
    assert "embeddings" not in cost.sentence()
    assert files_of(toml.parent) == before


def test_the_command_line_says_every_cut(toml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["audit", str(toml), "--out", str(tmp_path / "out")])

    ran = capsys.readouterr()
    answer = json.loads(ran.out)
    assert code == 0
    assert list(answer["split"]["match_rates"]) == sorted(CUTS)
    assert answer["split"]["match_rates"][CUTS[0]].keys() == {"one", "two"}
    for cut in CUTS:
        assert f"{cut}, " in ran.err


def test_with_a_key_photos_and_vectors_of_the_work_are_sealed(
    toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = changed(toml, tmp_path / "plain", "pictures = true\n", "")
    opened = opened_with(plain, ExactInverse)
    found, _ = split_audit(opened, tmp_path / "open", seed=0, progress=Silent())
    monkeypatch.setenv("SCANNER_KEY", base64.b64encode(bytes(32)).decode())

    sealed, _ = split_audit(opened, tmp_path / "work", seed=0, progress=Silent())

    assert sealed == found
    assert files_of(tmp_path / "work") == files_of(tmp_path / "open")
    assert {path.name for path in (tmp_path / "work").iterdir() if is_sealed(path)} == {
        "photos.safetensors", "originals.safetensors",
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"puts faces into audit\.json"):
        opened_with(toml, ExactInverse)
