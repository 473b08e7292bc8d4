"""Dry runs: what is measured on the user's data, what is worked out, and that nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, files_of, opened, photos_of, write_tar
from machine_profile import profile_of

from scanner import costs
from scanner.errors import UsageError
from scanner.jobs.indexing.build import BuildOptions
from scanner.jobs.measuring.profile import write_profile
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.estimate import Estimate, estimate, estimate_build, estimate_embed
from scanner.jobs.scanning.options import ScanOptions
from scanner.progress import Silent

DIM = 128
MEASURED = "measured just now on a little of it, so good to a factor of about two"


def embed_cost(spec: Path, **options: Any) -> Estimate:
    given = {
        "faces": FACES,
        "sources": BY_FOLDER,
        "keep_crops": False,
        "profile": None,
        "progress": Silent(),
        **options,
    }
    return estimate_embed([str(spec)], **given)


def build_cost(spec: Path, options: BuildOptions | None = None, **given: Any) -> Estimate:
    given = {"faces": FACES, "sources": BY_FOLDER, "profile": None, "progress": Silent(), **given}
    return estimate_build([str(spec)], options=options or BuildOptions(), **given)


@pytest.fixture
def other_machine(tmp_path: Path) -> Path:
    """A profile of a machine that is not this one, with the drawn recogniser's rates."""
    profile = profile_of(opened().fingerprint).model_copy(update={"cpu": "a fast one"})
    write_profile(tmp_path / "other.json", profile)
    return tmp_path / "other.json"


def test_embedding_is_measured_and_its_sizes_are_worked_out(people_folder: Path) -> None:
    before = files_of(people_folder)

    cost = embed_cost(people_folder)

    faces, writing = cost.stages
    assert (faces.name, faces.items, faces.unit, faces.basis) == ("faces", 20, "images", MEASURED)
    assert faces.items_per_s is not None
    assert faces.seconds == 20 / faces.items_per_s
    assert (writing.seconds, writing.basis) == (None, "no rate is known")  # nobody has measured this machine
    assert cost.seconds is None
    assert cost.disk_bytes == cost.work_bytes == costs.embeddings_bytes(20, DIM)
    assert cost.memory_bytes == costs.embedding_memory_bytes(20, cores=2, megapixels=112 * 112e-6)
    assert cost.sentence().splitlines()[-1] == (
        "in all not known; this machine has not been measured; `scanner doctor --bench` does it in 20 seconds"
    )
    assert files_of(people_folder) == before


def test_for_another_machine_nothing_is_measured_here(
    people_folder: Path, other_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.jobs.scanning.estimate.speed_of", None)  # calling it would fail
    profile = profile_of(opened().fingerprint)
    networks = profile.networks_of(opened().fingerprint, None)
    assert networks is not None

    cost = embed_cost(people_folder, profile=other_machine)

    each_ms = costs.image_ms(profile.rates(), networks, megapixels=112 * 112e-6, side_px=112)
    expected = 20 * each_ms * 1e-3 / profile.machine.cores + costs.writing_s(profile.rates(), 20)
    assert cost.seconds == pytest.approx(expected)
    assert cost.machine == f"predicted for another machine than this one: a fast one, {profile.machine.cores} cores"


def test_a_build_of_ready_embeddings_has_one_stage(tmp_path: Path, other_machine: Path) -> None:
    np.save(tmp_path / "ready.npy", np.eye(64, dtype=np.float32))

    cost = build_cost(tmp_path / "ready.npy", BuildOptions(dtype="float16"), profile=other_machine)

    (index,) = cost.stages
    assert (index.name, index.items) == ("index", 64)
    assert index.seconds == pytest.approx(costs.build(profile_of().rates(), 64, 64, value_bytes=2).seconds)
    assert (cost.disk_bytes, cost.work_bytes) == (costs.index_bytes(64, 64, value_bytes=2), 0)


def test_codes_and_crops_cost_disk(people_folder: Path) -> None:
    plain = build_cost(people_folder)
    coded = build_cost(people_folder, BuildOptions(codec="always"))
    crops = build_cost(people_folder, BuildOptions(with_crops=True))

    assert plain.disk_bytes is not None
    assert coded.disk_bytes == plain.disk_bytes + 20 * costs.code_bytes_of(DIM)
    assert crops.disk_bytes is not None
    assert crops.disk_bytes > 10 * plain.disk_bytes
    assert coded.memory_bytes >= plain.memory_bytes


def test_a_scan_measures_both_its_stages(people_index: Path, generated_folder: Path) -> None:
    cost = estimate(
        [str(generated_folder)], against=[str(people_index)], options=ScanOptions(threshold=0.5), faces=FaceOptions(),
        sources=SourceOptions(), progress=Silent(),
    )  # fmt: skip

    assert [(stage.name, stage.items, stage.basis) for stage in cost.stages] == [
        ("faces", 10, MEASURED),
        ("search", 10, MEASURED),
    ]
    assert (cost.references, cost.engines) == (20, ("exact",))
    assert cost.seconds == sum(stage.seconds or 0.0 for stage in cost.stages)
    assert cost.document()["seconds"] == cost.seconds
    assert cost.document()["stages"][1]["seconds"] == cost.stages[1].seconds


def test_a_tar_does_not_say_how_many_it_holds_so_it_is_guessed(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "people.tar", photos_of(range(30), range(2)))

    cost = embed_cost(tar, sources=SourceOptions())

    assert not cost.counted
    assert cost.images == pytest.approx(60, rel=0.1)
    assert cost.sentence().startswith("the number of images is a guess from the size of the first ones")


def test_a_profile_that_is_broken_is_refused(people_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text("{}")

    with pytest.raises(UsageError, match="has 3 problems"):
        embed_cost(people_folder, profile=tmp_path / "machine.json")
