"""The ground-truth test bed: what it calls known must be so, and the same seed must give the same bytes."""

import itertools
import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.membership import faces, quick
from benchmarks.membership.audits import write_sweeps
from benchmarks.membership.bed import NON_MEMBER_PEOPLE, make
from benchmarks.membership.dcgan import DcganPlan, train_dcgan
from benchmarks.membership.decoder import fit_latents, load_generator, prior_latents, save_generator
from benchmarks.membership.faces import Crowd, draw_crowd
from benchmarks.membership.glo import GloPlan, train_glo
from benchmarks.membership.grid import GRID, Row
from benchmarks.membership.tars import write_photos
from benchmarks.membership.vae import VaePlan, train_vae
from scanner.sources import open_sources

NARROW = (32, 24, 16)
TRAINERS = [
    (train_glo, GloPlan(passes=128, latent=4, widths=NARROW)),
    (train_vae, VaePlan(passes=128, latent=4, widths=NARROW)),
    (train_dcgan, DcganPlan(passes=64, latent=4, widths=NARROW)),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def few(cache):
    """Six people, four photos each."""
    return draw_crowd(Crowd(0, 6, range(4)), cache)


def flat(photos):
    return photos.reshape(-1, *photos.shape[2:])


def pairs(crowd):
    return set(itertools.product(crowd.numbers, crowd.photos))


def test_no_photo_that_is_asked_with_was_in_training_and_no_non_member_ever():
    for row in GRID:
        trained = set().union(*(pairs(crowd) for crowd in row.training))
        assert not trained & pairs(row.members), row.name
        people = {number for number, _ in trained}
        assert not people & set(NON_MEMBER_PEOPLE.numbers), row.name
        assert not set(row.members.numbers) & set(NON_MEMBER_PEOPLE.numbers), row.name
        assert row.trained_on_members == (set(row.members.numbers) <= people), row.name
    reference = next(row for row in GRID if row.name == "reference")
    for row in GRID:
        assert not set(reference.training[0].numbers) & set(row.members.numbers), row.name


def test_one_identity_has_the_share_that_the_row_says():
    for share, name in ((0.01, "often-1"), (0.05, "often-5"), (0.20, "often-20")):
        row = next(row for row in GRID if row.name == name)
        rest, often = row.training
        photos = [crowd.people * len(crowd.photos) for crowd in (rest, often)]
        assert photos[1] / sum(photos) == share
        assert row.members.first == often.first


def test_photos_depend_on_their_numbers_alone(few, cache):
    alone = draw_crowd(Crowd(3, 1, range(2, 4)), cache)
    assert np.array_equal(alone[0], few[3, 2:])
    assert np.array_equal(draw_crowd(Crowd(0, 6, range(4)), cache), few)  # as read from the cache


@pytest.mark.parametrize(("train", "plan"), TRAINERS)
def test_same_seed_same_bytes_and_every_sample_depends_on_its_number_alone(few, tmp_path, train, plan):
    first, second, other = (list(train(flat(few), plan, seed=seed, stops=(64,))) for seed in (3, 3, 4))
    assert [passes for passes, _ in first] == [64, plan.passes] if plan.passes > 64 else [64]
    made = first[-1][1].sample(6, 5)
    assert np.array_equal(made, second[-1][1].sample(6, 5))
    assert np.array_equal(made[:2], first[-1][1].sample(2, 5))
    assert not np.array_equal(made, other[-1][1].sample(6, 5))
    assert not np.array_equal(made, first[-1][1].sample(6, 6))
    save_generator(first[-1][1], tmp_path / "generator.safetensors")
    assert np.array_equal(load_generator(tmp_path / "generator.safetensors").sample(6, 5), made)


def test_a_checkpoint_is_not_trained_on(few):
    trained = train_glo(flat(few), TRAINERS[0][1], seed=0, stops=(32,))
    _, early = next(trained)
    before = early.sample(2, 0)
    _, late = list(trained)[-1]
    assert np.array_equal(early.sample(2, 0), before)
    assert not np.array_equal(late.sample(2, 0), before)


def test_latents_keep_mean_and_covariance_at_every_bandwidth():
    rng = np.random.default_rng(0)
    codes = (rng.standard_normal((60, 3)) @ rng.standard_normal((3, 3)) + 5).astype(np.float32)
    for bandwidth in (0.2, 1.0):
        drawn = np.stack([fit_latents(codes, bandwidth).draw(i, 1) for i in range(8000)])
        assert np.allclose(drawn.mean(0), codes.mean(0), atol=0.12)
        assert np.allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.1, atol=0.15)
    exact = np.stack([fit_latents(codes, 0.0).draw(i, 1) for i in range(50)])
    assert np.abs(exact[:, None] - codes).max(-1).min(1).max() < 1e-5
    truncated = replace(prior_latents(3), spread=0.3)
    assert np.isclose(np.stack([truncated.draw(i, 1) for i in range(4000)]).std(), 0.3, atol=0.02)


def test_a_row_is_written_as_the_audit_reads_it_and_its_people_are_told_from_strangers(cache, tmp_path):
    crowd, held_out = Crowd(0, 6, range(4)), Crowd(0, 6, range(1000, 1002))
    plan = GloPlan(passes=6_000, latent=8, bandwidth=0.2, widths=(64, 48, 24), batch=16)
    row = Row("tiny", "six people", True, (crowd,), held_out, plan, stops=(320,), samples=60)
    strangers = Crowd(faces.NON_MEMBERS, 40, range(1000, 1002))
    write_photos(tmp_path / "non_members.tar", (strangers, draw_crowd(strangers, cache)))
    make(row, tmp_path, cache, seed=0)
    write_sweeps(tmp_path)
    found, early = (
        quick.measure(tmp_path / name, quick.read_labelled(tmp_path / "non_members.tar"))
        for name in ("tiny", "tiny-at-00320")
    )
    assert found["auc"] > 0.95
    assert found["auc"] > early["auc"]
    assert found["coverage"] > early["coverage"]
    assert found["samples_from_real_auc"] < early["samples_from_real_auc"]
    folder = tmp_path / "tiny"
    entries = [item.identity for item in open_sources([str(folder / "members.tar")]).entries()]
    assert entries == [faces.person_name(n) for n in range(6) for _ in range(2)]
    audit = tomllib.loads((folder / "audit.toml").read_text())
    assert (folder / audit["people"]["non_members"]).exists()
    assert (folder / audit["generator"][0]["training"]).exists()
    truth = json.loads((folder / "truth.json").read_text())
    assert truth["passes"] == plan.passes - plan.passes % plan.batch


def test_area_in_pixels_sees_a_copy(few):
    photos = flat(few)
    match = quick.pixel_match(photos, photos[::2])
    assert np.abs(match[::2]).max() < 0.05
    slow = [-min(((a.astype(float) - b) ** 2).mean() for b in photos[::2].astype(float)) for a in photos]
    assert np.allclose(match, slow, atol=0.05)
