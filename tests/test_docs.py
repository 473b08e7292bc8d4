"""What the documents say is run, or compared with the code."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pyarrow.parquet import read_table

from indexes.keys import read_key_file
from indexes.sealed import key_id_of
from scanner.images import encode_png
from scanner.records import Reason
from scanner.report.page import REASON_TEXT
from scanner.world.draw import face_pixels

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
pytestmark = pytest.mark.usefixtures("warm_scanner")


def commands(document: str, mark: str) -> list[str]:
    text = (ROOT / document).read_text()
    blocks = re.findall(rf"<!-- run: {mark} -->\n```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done


@pytest.fixture
def cold_scanner(monkeypatch):
    """Put the `scanner` on the path that users have."""
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")


def write_person(folder: Path, number: int, photos: range) -> None:
    person = folder / f"person-{number:05d}"
    person.mkdir(parents=True)
    for photo in photos:
        (person / f"{photo}.png").write_bytes(encode_png(face_pixels(77, number, photo)))


def test_the_commands_with_a_null_run(tmp_path):
    for number in range(12):
        write_person(tmp_path / "photos", number, range(2))
    for number in range(30, 135):
        write_person(tmp_path / "outsiders", number, range(1))
    write_person(tmp_path / "generated", 5, range(2, 5))
    for name in ("photos", "outsiders"):
        index = {"photos": "people", "outsiders": "outsiders"}[name]
        run(
            f"scanner index build {index}.idx {name}/ --identity-from folder --embedder drawn --faces aligned", tmp_path
        )

    lines = commands("docs/guide.md", "guide-null")
    for line in lines:
        run(line, tmp_path)

    assert len(lines) == 3
    assert (tmp_path / "run-3" / "identities.parquet").exists()


def test_the_command_with_two_embedders_runs(tmp_path):
    """The second network is the first one with its pixels scaled otherwise: another fingerprint, other scores."""
    for number in range(12):
        write_person(tmp_path / "photos", number, range(2))
    for number in range(30, 135):
        write_person(tmp_path / "outsiders", number, range(1))
    write_person(tmp_path / "generated", 5, range(2, 5))
    weights = ROOT / "scanner" / "world" / "models" / "drawn-face-128.onnx"
    recipe = json.loads(weights.with_suffix(".json").read_text())
    for name, mean in (("first", recipe["mean"]), ("second", [100.0, 100.0, 100.0])):
        shutil.copy(weights, tmp_path / f"{name}.onnx")
        (tmp_path / f"{name}.json").write_text(json.dumps({**recipe, "mean": mean}))
    for number, name in ((1, "first"), (2, "second")):
        for index, photos in ((f"a{number}", "photos"), (f"n{number}", "outsiders")):
            built = (
                f"index build {index}.idx {photos}/ --identity-from folder --embedder onnx:{name}.onnx --faces aligned"
            )
            run(f"scanner {built}", tmp_path)

    (line,) = commands("docs/guide.md", "guide-several")
    run(line.replace("--fmr 1e-4", "--fmr 1e-2"), tmp_path)  # so few people cannot support 1e-4

    assert (tmp_path / "run-4" / "joint.parquet").exists()
    assert (tmp_path / "run-4" / "witness-2" / "run.json").exists()


def test_the_commands_of_privacy_and_security_run(tmp_path):
    for number in range(12):
        write_person(tmp_path / "photos", number, range(2))
    for number in range(30, 135):
        write_person(tmp_path / "outsiders", number, range(1))
    write_person(tmp_path / "generated", 5, range(2, 5))
    for index, name in (("people", "photos"), ("outsiders", "outsiders")):
        built = f"{index}.idx {name}/ --identity-from folder --embedder drawn --faces aligned"
        run(f"scanner index build {built}", tmp_path)
    run("scanner scan generated/ --against people.idx --null outsiders.idx --out run --threshold 0.6", tmp_path)
    for night in ("000001", "000002"):
        shutil.copytree(tmp_path / "run", tmp_path / "state" / "nights" / night / "gen")
        (tmp_path / "state" / "nights" / night / "night.json").write_text('{"format": "identity-leak-night"}')
    shutil.copytree(tmp_path / "people.idx", tmp_path / "state" / "people.idx")
    checks, erasing = commands("SECURITY.md", "security"), commands("PRIVACY.md", "erasing")
    retention = commands("PRIVACY.md", "retention")

    for line in (*checks, *retention, *erasing):
        run(line, tmp_path)

    assert [len(checks), len(retention), len(erasing)] == [2, 2, 4]
    shown = json.loads(run("scanner index show state/people.idx", tmp_path).stdout)
    assert (shown["rows"], shown["identities"]) == (20, 10)
    assert len(list((tmp_path / "state" / "erasures").glob("[0-9]*.json"))) == 2
    record = json.loads((tmp_path / "state" / "erasures" / "0001.json").read_text())
    assert record["request"] == "2026-044"
    assert record["erased"]["matches"] > 0


def test_every_command_of_the_guide_runs(tmp_path, cold_scanner):
    for number in range(24):
        write_person(tmp_path / "photos", number, range(2))
    for number in range(24, 27):
        write_person(tmp_path / "more", number, range(2))
    write_person(tmp_path / "generated", 5, range(2, 5))
    lines = commands("docs/guide.md", "guide")

    for line in lines:
        run(line, tmp_path)

    assert len(lines) == 14
    assert (tmp_path / "run" / "report.html").stat().st_size > 5000


def test_the_commands_about_two_nights_run(tmp_path):
    for number in range(24):
        write_person(tmp_path / "photos", number, range(2))
    write_person(tmp_path / "generated-monday", 5, range(2, 4))
    for person in (5, 7):
        write_person(tmp_path / "generated-tuesday", person, range(2, 4))
    run("scanner index build people.idx photos/ --identity-from folder --embedder drawn --faces aligned", tmp_path)
    lines = commands("docs/nights-diff.md", "nights-diff")
    page = (ROOT / "docs" / "nights-diff.md").read_text()
    (script,) = re.findall(r"<!-- run: nights-diff-python -->\n```python\n(.*?)```", page, re.DOTALL)

    answers = [run(line, tmp_path).stdout for line in lines]
    run(f"{sys.executable} -c '{script}'", tmp_path)

    assert len(lines) == 8
    first, gated = (json.loads(answers[number]) for number in (2, 4))
    assert [one["identity"] for one in first["new"]] == ["person-00007"]
    assert "person-00005" in [one["identity"] for one in first["still"]]
    assert gated["gate"] == {"fail_on": "new", "failed": False}
    assert json.loads(answers[6])["findings"] == []
    assert [row["new"] for row in json.loads(answers[7])["runs"]] == [None, 1]
    assert "person-00007" in (tmp_path / "changes.html").read_text()
    assert "<svg" in (tmp_path / "trend.html").read_text()


def test_the_commands_that_say_what_a_scan_costs_run(tmp_path):
    for number in range(6):
        write_person(tmp_path / "photos", number, range(2))
    write_person(tmp_path / "generated", 5, range(2, 5))
    lines = commands("docs/performance.md", "performance")

    for line in lines:
        run(line, tmp_path)

    assert len(lines) == 6
    assert not (tmp_path / "generated.parquet").exists()
    assert json.loads((tmp_path / "run" / "costs.json").read_text())["predicted_s"] > 0


def test_the_commands_that_encrypt_run(tmp_path):
    for number in range(6):
        write_person(tmp_path / "photos", number, range(2))
    write_person(tmp_path / "generated", 5, range(2, 5))
    lines = commands("docs/encryption.md", "encryption")

    run("\n".join(["set -e", *lines]), tmp_path)

    assert len(lines) == 8
    assert read_table(tmp_path / "crops.parquet").num_rows > 0
    (key,) = read_key_file(tmp_path / "scanner.key")
    for path in ("people.idx/segments/000000/vectors.safetensors", "run/crops.parquet"):
        assert key_id_of(tmp_path / path) == key.id.hex()


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_the_command_on_a_cluster_runs_and_says_nothing_of_ray_but_one_note(tmp_path, cold_scanner):
    pytest.importorskip("ray", reason="needs the ray extra")
    for number in range(3):
        write_person(tmp_path / "photos", number, range(1))
    (line,) = commands("docs/clusters.md", "clusters")

    done = run(line, tmp_path)

    assert json.loads(done.stdout)["counts"]["faces"] == 3
    note, *rest = done.stderr.splitlines()
    assert re.fullmatch(r"note: Ray \(local\): \d+ cores on 1 machine", note)
    assert [text.partition(" ")[0] for text in rest] == ["faces:", "3", "photos.parquet:", "took"]


def test_the_commands_that_run_backwards_run(tmp_path):
    world = ROOT / "scanner" / "world"
    shutil.copytree(world / "generators", tmp_path / "demo-run" / "world" / "generators")
    (tmp_path / "demo-run" / "world" / "split").mkdir()
    for suffix in ("onnx", "json"):
        shutil.copy(world / "models" / f"drawn-face-128.{suffix}", tmp_path / "demo-run" / "world" / "split")
    for number in range(6):
        write_person(tmp_path / "photos", number, range(1))
    (tmp_path / "demo-run" / "indexes").mkdir()
    built = "photos/ --identity-from folder --embedder drawn --faces aligned"
    run(f"scanner index build demo-run/indexes/set-a {built}", tmp_path)
    lines = commands("docs/rewinding.md", "rewinding")

    for line in lines:
        run(line, tmp_path)

    assert len(lines) == 6
    assert json.loads((tmp_path / "samples" / "generated.json").read_text())["counts"]["images"] == 300
    assert (tmp_path / "run-inverted" / "report.html").exists()
    assert (tmp_path / "recreated" / "reconstructions-000000.tar").exists()


@pytest.mark.real
def test_the_five_lines_of_the_readme_run_on_photos(tmp_path, cold_scanner):
    tar = ROOT.parent / "shared" / "real" / "faces" / "lfw-dev-00.tar"
    if not tar.exists():
        pytest.skip("needs the real faces beside the checkout (../shared/real)")
    pytest.importorskip("dlib", reason="needs the dlib extra")
    write_photos(tar, tmp_path)
    lines = commands("README.md", "own-folder")

    for line in lines[1:]:  # the first one installs what these tests run in
        run(line, tmp_path)

    assert len(lines) == 5
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "evidence.json").exists()


def write_photos(tar: Path, folder: Path) -> None:
    """Unpack photos: 15 people as candidates, more than 150 others as the null, and some candidates as "generated"."""
    import tarfile

    people: list[str] = []
    with tarfile.open(tar) as archive:
        members = {member.name: member for member in archive.getmembers()[:360]}
        for name, member in members.items():
            if not name.endswith(".jpg"):
                continue
            label, photo = (archive.extractfile(one) for one in (members[name.replace(".jpg", ".json")], member))
            assert label is not None
            assert photo is not None
            identity = json.load(label)["identity"]
            people += [] if identity in people else [identity]
            person = folder / ("photos" if identity in people[:15] else "outsiders") / identity
            person.mkdir(parents=True, exist_ok=True)
            (person / name).write_bytes(photo.read())
    generated = folder / "generated"
    generated.mkdir()
    for photo in sorted((folder / "photos").rglob("*.jpg"))[:8]:
        shutil.copy(photo, generated / photo.name)


def test_every_reason_code_is_explained():
    page = (ROOT / "docs" / "artefacts.md").read_text()

    assert {reason.value for reason in Reason} == set(REASON_TEXT)
    assert [reason.value for reason in Reason if f"`{reason.value}`" not in page] == []


def test_the_readme_shows_the_targets_that_the_makefile_has():
    readme = (ROOT / "README.md").read_text()
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert {"demo", "test"} <= set(targets)
    assert "make demo" in readme
    assert "make test" in readme


def test_the_commands_that_fuzz_run(tmp_path):
    lines = commands("docs/fuzzing.md", "fuzzing")

    for line in lines:
        words = line.replace("--seconds 600", "--seconds 30 --runs 3").replace("fuzzing-out", f"{tmp_path}/out")
        words += "" if "--target" in words else " --target documents --target zip"
        run(words.replace("python tools/", f"{sys.executable} {ROOT}/tools/"), tmp_path)

    assert len(lines) == 2
