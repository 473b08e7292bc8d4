"""Several embedders on one scan: indexes find their embedder, runs lie side by side, and the joint statement is theirs."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from drawn_people import BY_FOLDER, files_of, photos_of, write_people
from PIL import Image

from indexes import open_index
from scanner import artefacts
from scanner.errors import CalibrationError, UsageError
from scanner.evidence.joint import weigh_jointly
from scanner.jobs.checking.verify import verify
from scanner.jobs.embedding.copies import near_copies
from scanner.jobs.indexing.build import build
from scanner.jobs.options import FaceOptions
from scanner.jobs.scanning.joint import weigh_runs
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.witness import WitnessedResult, scan_with_witnesses
from scanner.records import content_id

DIM = 24
CANDIDATES, NULLS, QUERIES = 40, 1200, 60
LEAKED = (3, 11, 25)
NETS = ("net-a", "net-b", "net-c")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_own(path: Path, vectors: np.ndarray, labels: list[str | None], *, net: str, what: str) -> str:
    """Write what `scanner embed` would of these photos: the same item ids, whichever network it was."""
    n = len(vectors)
    columns = {
        "id": [f"{what}-{row}" for row in range(n)],
        "item_id": [content_id(f"{what}-{row}".encode()) for row in range(n)],
        "uri": [f"{what}/{row}.png" for row in range(n)],
        "identity": labels,
        "face": [0] * n,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), DIM),
    }
    schema = artefacts.stamped(artefacts.embeddings_schema(DIM), "embeddings", fingerprint=net)
    artefacts.write_tables(path, schema, [artefacts.table_of(schema, columns)])
    return str(path)


class World:
    """People as three networks see them: each adds its own noise to what there is; the third sees nothing else."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(5)
        self.folder = folder
        self.labels: dict[str, list[str]] = {
            "cand": [f"c{row // 2:02d}" for row in range(2 * CANDIDATES)],
            "null": [f"n{row // 2:04d}" for row in range(2 * NULLS)],
        }
        truth = {
            name: np.repeat(rng.normal(size=(len(labels) // 2, DIM)), 2, axis=0)
            + 0.3 * rng.normal(size=(len(labels), DIM))
            for name, labels in self.labels.items()
        }
        truth["queries"] = rng.normal(size=(QUERIES, DIM))
        for row, number in enumerate(LEAKED):
            truth["queries"][row] = truth["cand"][2 * number]
        self.vectors = {
            net: {name: unit(share * what + 0.35 * rng.normal(size=what.shape)) for name, what in truth.items()}
            for net, share in zip(NETS, (1.0, 1.0, 0.0), strict=True)
        }
        for net in NETS:
            for name, labels in self.labels.items():
                build(
                    self.index(name, net),
                    write_own(self.path(name, net), self.vectors[net][name], labels, net=net, what=name),
                )
            write_own(self.path("queries", net), self.vectors[net]["queries"], [None] * QUERIES, net=net, what="query")

    def path(self, name: str, net: str) -> Path:
        return self.folder / f"{name}-{net}.parquet"

    def index(self, name: str, net: str) -> Path:
        return self.folder / f"{name}-{net}.idx"

    def scan(self, out: Path, nets: tuple[str, ...], **changed: Any) -> WitnessedResult:
        chosen: dict[str, Any] = {
            "against": [str(self.index("cand", net)) for net in reversed(nets)],
            "null": [str(self.index("null", net)) for net in nets],
            "options": ScanOptions(threshold=0.9),
            **changed,
        }
        queries = [str(self.path("queries", net)) for net in nets]
        return scan_with_witnesses(queries, out=out, **chosen)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("witness"))


@pytest.fixture(scope="module")
def both(world: World, tmp_path_factory: pytest.TempPathFactory) -> WitnessedResult:
    return world.scan(tmp_path_factory.mktemp("runs") / "run", NETS[:2])


def rows_of(result: WitnessedResult) -> dict[str, dict[str, Any]]:
    table = artefacts.read_table(result.folder / "joint.parquet", "joint").to_pylist()
    return {row["identity"]: row for row in table}


def test_the_joint_p_values_are_those_of_the_scores_worked_out_by_hand(world: World, both: WitnessedResult) -> None:
    rows = rows_of(both)

    best = {
        name: np.stack([(world.vectors[n][name] @ world.vectors[n]["queries"].T).max(1) for n in NETS[:2]], axis=1)
        for name in ("cand", "null")
    }
    # In the order of the photos' names, as the runs are read.
    order = {
        name: np.lexsort(([content_id(f"{name}-{r}".encode()) for r in range(len(labels))], labels))
        for name, labels in world.labels.items()
    }
    codes = {name: np.unique(labels, return_inverse=True)[1] for name, labels in world.labels.items()}
    pairs = [np.concatenate([world.vectors[net][name] for name in ("cand", "null")]) for net in NETS[:2]]
    mated = np.array([np.median((both[::2] * both[1::2]).sum(1)) for both in pairs])
    found = weigh_jointly(
        best["cand"][order["cand"]], codes["cand"][order["cand"]],
        best["null"][order["null"]], codes["null"][order["null"]], mated=mated, seed=0,
    )  # fmt: skip
    names = sorted(set(world.labels["cand"]))
    assert [rows[name]["p_conformal"] for name in names] == pytest.approx(found.p_conformal.tolist())
    assert [rows[name]["p_joint"] for name in names] == pytest.approx(found.p_value.tolist(), rel=1e-3)
    assert both.joint["correlation"][0][1] == pytest.approx(found.correlation[0, 1], abs=1e-4)
    assert [one["weight"] for one in both.joint["embedders"]] == pytest.approx(found.weights.tolist(), abs=1e-4)
    assert both.joint["mated_pairs"] == CANDIDATES + NULLS
    assert all(rows[name]["photos"] == 2 for name in names)


def test_leaked_people_are_named_and_every_embedder_is_heard(both: WitnessedResult) -> None:
    rows = rows_of(both)

    leaked = [f"c{number:02d}" for number in LEAKED]
    assert sorted(sorted(rows, key=lambda name: rows[name]["p_joint"])[:3]) == leaked
    assert all(rows[name]["q_joint"] <= 0.05 for name in leaked)
    assert both.joint["named"] == sum(row["q_joint"] <= 0.05 for row in rows.values())
    for place, run in enumerate(both.runs):
        table = artefacts.read_table(run.folder / "identities.parquet", "identities").to_pylist()
        alone = {row["identity"]: row for row in table}
        for name, row in rows.items():
            assert row["p_value"][place] == alone[name]["p_value"]
            assert row["q_value"][place] == alone[name]["q_value"]
            assert row["best_score"][place] == alone[name]["best_score"]
    assert {name: row["agreement"] for name, row in rows.items()} == {
        name: sum(q <= 0.05 for q in row["q_value"]) for name, row in rows.items()
    }


def test_each_embedder_has_a_run_of_its_own(both: WitnessedResult) -> None:
    assert [run.folder for run in both.runs] == [both.folder, both.folder / "witness-2"]
    assert [one["folder"] for one in both.joint["embedders"]] == [".", "witness-2"]
    assert [one["fingerprint"] for one in both.joint["embedders"]] == ["net-a", "net-b"]
    for run, net in zip(both.runs, NETS, strict=False):
        assert [index["name"] for index in run.summary["indexes"]] == [f"cand-{net}.idx"]
        assert [null["name"] for null in run.summary["evidence"]["nulls"]] == [f"null-{net}.idx"]
        assert (run.folder / "report.html").is_file()


def test_the_statement_can_be_worked_out_again_from_the_folder(both: WitnessedResult) -> None:
    document = json.loads((both.folder / "joint.json").read_text())
    accounts = [{k: v for k, v in one.items() if k not in ("named_alone", "weight")} for one in document["embedders"]]

    table, again = weigh_runs(both.folder, accounts, seed=document["seed"], level=document["level"])

    assert again == document == both.joint
    assert table.equals(artefacts.read_table(both.folder / "joint.parquet", "joint"))


@pytest.mark.parametrize("changed", ["joint.parquet", "joint.json", "witness-2/photos.parquet"])
def test_the_joint_statement_is_verified_with_the_run(both: WitnessedResult, tmp_path: Path, changed: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(both.folder, folder)
    before = verify(folder)

    if changed == "joint.json":
        document = artefacts.read_json(folder / changed)
        (folder / changed).write_text(json.dumps({**document, "named": 0}))
    elif changed == "joint.parquet":
        table = artefacts.read_table(folder / changed, "joint")
        place = table.column_names.index("q_joint")
        ones = pa.array([1.0] * table.num_rows)
        artefacts.write_tables(
            folder / changed, table.schema, [table.set_column(place, table.schema.field(place), ones)]
        )
    else:
        data = bytearray((folder / changed).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / changed).write_bytes(data)

    assert before.differences == ()
    assert "the joint statement" in before.checked
    assert verify(folder).differences != ()


def test_a_network_that_sees_nothing_does_not_take_the_others_finding_away(world: World, tmp_path: Path) -> None:
    result = world.scan(tmp_path / "run", NETS)

    rows = rows_of(result)
    blind = [row["q_value"][2] for row in rows.values()]
    assert min(blind) > 0.05
    assert [one["weight"] > 0.0 for one in result.joint["embedders"]] == [True, True, False]
    assert sum(rows[f"c{number:02d}"]["q_joint"] <= 0.05 for number in LEAKED) == 3
    shown = result.joint["disagreement"]["named_jointly_not_by_all_alone"]["first"]
    assert shown == sorted(name for name, row in rows.items() if row["q_joint"] <= 0.05 and row["agreement"] < 3)
    assert {f"c{number:02d}" for number in LEAKED} <= set(shown)


def test_an_embedder_that_the_generator_used_is_run_and_shown_and_not_counted(world: World, tmp_path: Path) -> None:
    with_all = world.scan(tmp_path / "all", NETS, used_by_generator=[str(world.path("queries", "net-a"))])
    without = world.scan(tmp_path / "rest", NETS[1:])

    assert [one["counted"] for one in with_all.joint["embedders"]] == [False, True, True]
    assert "used this embedder" in with_all.joint["embedders"][0]["reason"]
    rows, rest = rows_of(with_all), rows_of(without)
    assert {name: row["p_joint"] for name, row in rows.items()} == {name: row["p_joint"] for name, row in rest.items()}
    assert {name: row["agreement"] for name, row in rows.items()} == {
        name: row["agreement"] for name, row in rest.items()
    }
    assert all(len(row["q_value"]) == 3 for row in rows.values())


def test_a_run_that_was_killed_between_two_embedders_goes_on_to_the_same_bytes(
    world: World, both: WitnessedResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(out: Path, *_: Any, **__: Any) -> Any:
        (out / ".joint.parquet.77.tmp").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("scanner.jobs.scanning.witness.write_joint", killed)
        with pytest.raises(KeyboardInterrupt):
            world.scan(tmp_path / "run", NETS[:2])
    assert not (tmp_path / "run" / "joint.json").exists()
    with pytest.raises(UsageError, match="already there"):
        world.scan(tmp_path / "run", NETS[:2])

    world.scan(tmp_path / "run", NETS[:2], resume=True)

    assert files_of(tmp_path / "run") == files_of(both.folder)


def test_force_replaces_a_run_with_its_witnesses(world: World, both: WitnessedResult, tmp_path: Path) -> None:
    world.scan(tmp_path / "run", NETS)

    world.scan(tmp_path / "run", NETS[:2], force=True)

    assert files_of(tmp_path / "run") == files_of(both.folder)


def test_a_null_of_another_kind_for_one_embedder_makes_the_joint_statement_inconclusive(
    world: World, both: WitnessedResult, tmp_path: Path
) -> None:
    other = world.vectors["net-b"]["null"].copy()
    other[:, 0] += 0.6
    path = write_own(tmp_path / "null.parquet", unit(other), list(world.labels["null"]), net="net-b", what="null")
    build(tmp_path / "null-net-b.idx", path)

    result = world.scan(
        tmp_path / "run", NETS[:2], null=[str(world.index("null", "net-a")), str(tmp_path / "null-net-b.idx")]
    )

    assert [one["null_differs"] for one in result.joint["embedders"]] == [False, True]
    assert [result.joint["inconclusive"], both.joint["inconclusive"]] == [True, False]


def test_photos_that_one_embedder_lacks_are_left_out_and_counted(world: World, tmp_path: Path) -> None:
    path = tmp_path / "some.parquet"
    write_own(path, world.vectors["net-b"]["cand"][:70], list(world.labels["cand"][:70]), net="net-b", what="cand")
    build(tmp_path / "cand-net-b.idx", str(path))

    result = world.scan(
        tmp_path / "run", NETS[:2],
        against=[str(world.index("cand", "net-a")), str(tmp_path / "cand-net-b.idx")],
    )  # fmt: skip

    assert result.joint["photos_left_out"] == {"candidate": 10, "null": 0}
    assert sorted(rows_of(result)) == sorted(set(world.labels["cand"][:70]))


@pytest.mark.parametrize(
    ("changed", "nets", "error", "match"),
    [
        ({"against": ["cand-net-a.idx"]}, 2, UsageError, "No index under --against was built with .*queries-net-b"),
        ({"null": ["null-net-b.idx"]}, 2, UsageError, "No index under --null was built with .*queries-net-a"),
        ({"null": []}, 2, UsageError, "there: none"),
        (
            {"against": ["cand-net-a.idx", "cand-net-b.idx", "cand-net-c.idx"]},
            2, UsageError, r"cand-net-c.idx was built with embedder .* which is none of the scan's",
        ),
        ({"null": ["null-net-a.idx", "cand-net-b.idx"]}, 2, CalibrationError, "40 candidate and 0 null identities"),
        ({}, 1, UsageError, "Two to 16 embedders are weighed together, got 1"),
        ({"used_by_generator": ["net-z"]}, 2, UsageError, "--used-by-generator names net-z"),
        ({"embedders": ["drawn", "dlib"]}, 2, UsageError, "Ready embeddings know their embedder"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_before_any_work(
    changed: dict[str, Any], nets: int, error: type[Exception], match: str, world: World, tmp_path: Path
) -> None:
    changed = {
        key: [str(world.folder / name) for name in names] if key in ("against", "null") else names
        for key, names in changed.items()
    }

    with pytest.raises(error, match=match):
        world.scan(tmp_path / "run", NETS[:nets], **changed)

    assert not (tmp_path / "run").exists()


def test_one_embedder_named_twice_is_no_second_opinion(world: World, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are one embedder"):
        world.scan(tmp_path / "run", ("net-a", "net-a"))


def test_embedders_that_were_all_used_by_the_generator_are_refused(world: World, tmp_path: Path) -> None:
    used = [str(world.path("queries", net)) for net in NETS[:2]]

    with pytest.raises(UsageError, match="none is left whose answer is independent"):
        world.scan(tmp_path / "run", NETS[:2], used_by_generator=used)


def test_pictures_are_scanned_by_two_networks(write_onnx: Callable[..., Path], tmp_path: Path) -> None:
    from onnx import helper

    pool = helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[7, 7], strides=[7, 7])
    coarse = write_onnx([pool], shape=("n", 3, 112, 112), name="coarse.onnx")
    coarse.with_suffix(".json").write_text(json.dumps({"licence": "none"}))
    folders = {
        "cand": write_people(tmp_path / "cand", photos_of(range(12), [0])),
        "null": write_people(tmp_path / "null", photos_of(range(100, 202), [0])),
        "queries": write_people(tmp_path / "queries", [(4, 0), *photos_of(range(300, 305), [0])]),
    }
    nets = ("drawn", f"onnx:{coarse}")
    ways = [FaceOptions(embedder=net, faces="aligned", workers=2) for net in nets]
    for number, way in enumerate(ways):
        for name in ("cand", "null"):
            build(tmp_path / f"{name}-{number}.idx", str(folders[name]), faces=way, sources=BY_FOLDER)

    result = scan_with_witnesses(
        str(folders["queries"]),
        against=[str(tmp_path / f"cand-{number}.idx") for number in (0, 1)],
        null=[str(tmp_path / f"null-{number}.idx") for number in (0, 1)],
        embedders=nets,
        out=tmp_path / "run",
        options=ScanOptions(fmr=1e-2, calibrate_on=str(tmp_path / "null-0.idx")),
        faces=FaceOptions(faces="aligned", workers=2),
    )

    assert [run.summary["road"]["embedder"]["name"] for run in result.runs] == list(nets)
    assert [run.summary["threshold"]["calibrated_on"] for run in result.runs] == [
        str(tmp_path / f"null-{number}.idx") for number in (0, 1)
    ]
    best = min(rows_of(result).values(), key=lambda row: row["p_joint"])
    assert best["identity"] == "person-004"
    assert best["p_conformal"] == pytest.approx(1 / 103)
    assert result.joint["null_identities"] == 102


def write_real(real: Path, folder: Path) -> list[str]:
    """Write null/, cand/ and queries/: 130 and 30 people, one photo each; six of the latter, compressed anew, as queries.

    Returns:
        The six.
    """
    rng = np.random.default_rng(3)
    with tarfile.open(real / "faces" / "lfw-dev-00.tar") as tar:
        first: dict[str, tarfile.TarInfo] = {}
        members = {member.name: member for member in tar.getmembers()}
        for member_name, member in members.items():
            if member_name.endswith(".json"):
                label = json.load(tar.extractfile(member))["identity"]  # type: ignore[arg-type]
                first.setdefault(label, members[member_name.removesuffix(".json") + ".jpg"])
        people = sorted(first)
        chosen = [people[place] for place in rng.permutation(len(people))[:160].tolist()]
        for number, person in enumerate(chosen):
            data = tar.extractfile(first[person]).read()  # type: ignore[union-attr]
            path = folder / ("cand" if number < 30 else "null") / person / "photo.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
            if number < 6:
                (folder / "queries").mkdir(exist_ok=True)
                Image.open(io.BytesIO(data)).save(folder / "queries" / f"{person}.jpg", quality=40)
    samples = sorted((real / "generated" / "samples").rglob("*.jp*g"))
    for place, path in enumerate(samples[:: max(1, len(samples) // 20)][:20]):
        (folder / "queries" / f"generated-{place}.jpg").write_bytes(path.read_bytes())
    return sorted(chosen[:6])


@pytest.mark.real
def test_two_real_recognisers_name_planted_photos_together(real: Path, tmp_path: Path) -> None:
    planted = write_real(real, tmp_path)
    nets = [f"onnx:{real / 'models' / name}.onnx" for name in ("face-reid-0095", "mobileface-v2")]
    detector = str(real / "models" / "scrfd_500m_kps.onnx")
    for number, net in enumerate(nets):
        for name in ("cand", "null"):
            way = FaceOptions(embedder=net, detector=detector)
            build(tmp_path / f"{name}-{number}.idx", str(tmp_path / name), faces=way, sources=BY_FOLDER)

    result = scan_with_witnesses(
        str(tmp_path / "queries"),
        against=[str(tmp_path / f"cand-{number}.idx") for number in (0, 1)],
        null=[str(tmp_path / f"null-{number}.idx") for number in (0, 1)],
        embedders=nets,
        out=tmp_path / "run",
        options=ScanOptions(threshold=0.5),
        faces=FaceOptions(detector=detector),
    )

    rows = rows_of(result)
    assert sorted(name for name, row in rows.items() if row["q_joint"] <= 0.05) == planted
    assert all(rows[name]["agreement"] == 2 for name in planted)
    assert 0.1 < result.joint["correlation"][0][1] < 0.95
    queries = artefacts.read_table(tmp_path / "run" / "queries.parquet", "queries").to_pylist()
    shown = {Path(row["uri"]).stem: row["crop_hash"] for row in queries}
    index = open_index(tmp_path / "cand-0.idx")
    kept = dict(zip(index.column("identity").to_pylist(), index.column("crop_hash").to_pylist(), strict=True))
    sides = ([of[name] for name in planted] for of in (shown, kept))
    near = near_copies(*(pa.chunked_array([side], pa.binary(8)) for side in sides))
    assert near.sum() >= 5
