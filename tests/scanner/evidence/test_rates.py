"""Identification rates against their slow twins (every sub-gallery tried) and against truth (drawn people)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from scanner.errors import CalibrationError
from scanner.evidence.calibration import ScoreCounts, operating_point
from scanner.evidence.det import det_points, one_to_many, roc_points, size_curve
from scanner.evidence.one_to_many import Searches, searches_of
from scanner.evidence.rates import beta_interval, beyond, clear_share, fnir, fpir, fpir_of_fmr


def draw_people(rng: np.random.Generator, people: int, photos: int = 3, *, pull: float = 0.5) -> NDArray[np.float32]:
    """Draw (people, photos, 12) unit vectors: people around a common direction, photos of uneven quality."""
    means = rng.normal(size=(people, 1, 12))
    means[..., 0] += pull
    noise = 0.6 * rng.normal(size=(people, photos, 12)) * rng.gamma(2, 0.5, size=(people, photos, 1))
    photo = means + noise
    return (photo / np.linalg.norm(photo, axis=-1, keepdims=True)).astype(np.float32)


def search_all(vectors: NDArray[np.float32], *, floor: float = -1.0) -> Searches:
    """Search every photo among everybody's first photo, all at once."""
    people, photos, dim = vectors.shape
    person = np.repeat(np.arange(people), photos).astype(np.int32)
    scores = vectors.reshape(-1, dim) @ vectors[:, 0].T
    scores[np.arange(len(person)), person] = -9.0
    search, reference = np.nonzero(scores >= max(floor, -2.0))
    mated = np.einsum("pmd,pd->pm", vectors[:, 1:], vectors[:, 0]).ravel()
    return searches_of(
        person, scores[search, reference], search.astype(np.int32), reference.astype(np.int32), mated=mated,
        mated_person=np.repeat(np.arange(people), photos - 1).astype(np.int32), people=people, floor=floor,
    )  # fmt: skip


def fpir_by_hand(vectors: NDArray[np.float32], cut: float, size: int) -> float:
    """Try every sub-gallery of every search."""
    people, photos, _ = vectors.shape
    wrong = []
    for person in range(people):
        others = [other for other in range(people) if other != person]
        for photo in range(photos):
            found = [float(vectors[person, photo] @ vectors[other, 0]) >= cut for other in others]
            wrong += [any(chosen) for chosen in combinations(found, size)]
    return float(np.mean(wrong))


@pytest.mark.parametrize("size", [1, 2, 4, 6])
@pytest.mark.parametrize("cut", [0.2, 0.4, 0.55])
def test_fpir_is_the_average_over_every_sub_gallery(size: int, cut: float) -> None:
    vectors = draw_people(np.random.default_rng(1), 7)

    searches = search_all(vectors)
    found = np.bincount(searches.search[: searches.reaching(cut)], minlength=21)

    by_hand = pytest.approx(fpir_by_hand(vectors, cut, size), abs=1e-12)
    assert searches.fpir_at(cut, size=size).value == by_hand
    assert fpir(found, gallery=6, size=size).value == by_hand
    assert searches.rising(size)[searches.reaching(cut) - 1] == by_hand


def test_no_sub_gallery_is_clear_when_too_few_others_are_left() -> None:
    assert clear_share(np.array([0, 3, 5, 6]), gallery=6, size=2).tolist() == pytest.approx([1.0, 0.2, 0.0, 0.0])


def test_a_larger_gallery_is_extrapolated_and_says_so() -> None:
    over = np.array([0] * 90 + [1] * 10)

    at, larger = fpir(over, gallery=50, size=50), fpir(over, gallery=50, size=150)

    assert (at.value, at.extrapolated, at.errors, at.trials) == (0.1, False, 10, 100)
    assert larger.extrapolated
    assert larger.value == pytest.approx(1 - 0.9**3)
    assert larger.low == pytest.approx(1 - (1 - at.low) ** 3)
    assert larger.high == pytest.approx(1 - (1 - at.high) ** 3)


def test_the_known_figure_of_half_a_million_references() -> None:
    assert fpir_of_fmr(1e-6, 500_000) == pytest.approx(0.393, abs=5e-4)
    assert beyond(fpir_of_fmr(1e-6, 500_000), gallery=500_000, size=1) == pytest.approx(1e-6)


def test_fnir_is_the_share_below_and_the_threshold_itself_is_found() -> None:
    rate = fnir(np.array([0.4, 0.5, 0.6, 0.7], np.float32), cut=0.5)

    assert (rate.value, rate.errors, rate.trials) == (0.25, 1, 4)


def test_without_a_single_error_the_interval_rests_on_people_and_not_on_searches() -> None:
    rate = fpir(np.zeros(1000, np.int64), gallery=50, size=50, cluster=np.arange(1000) // 100)

    assert rate.low == 0.0
    assert rate.high == pytest.approx(1 - 0.05 ** (1 / 10), rel=0.3)


def test_searches_of_one_cluster_count_as_one() -> None:
    over = np.repeat(np.arange(100) < 20, 10).astype(np.int64)

    loose = fpir(over, gallery=9, size=9)
    tied = fpir(over, gallery=9, size=9, cluster=np.repeat(np.arange(100), 10))

    assert (tied.high - tied.low) / (loose.high - loose.low) == pytest.approx(10**0.5, rel=0.05)
    single = beta_interval(20, 100)
    assert (tied.low, tied.high) == pytest.approx(single, abs=0.005)


@pytest.mark.parametrize("clusters", [1, 2])
def test_clusters_that_all_say_the_same_are_not_taken_for_certainty(clusters: int) -> None:
    """Their variance is 0 but for rounding, which once made an interval without any width."""
    rate = fpir(np.full(90, 6), gallery=200, size=61, cluster=np.arange(90) % clusters)

    errors = rate.value * clusters
    assert rate.value == pytest.approx(1 - clear_share(np.array(6), gallery=200, size=61))
    assert (rate.low, rate.high) == pytest.approx(beta_interval(errors, clusters))
    assert rate.high - rate.low > 0.15


def test_the_variance_is_the_one_that_dyads_added_up_by_hand_have() -> None:
    vectors = draw_people(np.random.default_rng(2), 12)
    searches, cut, size = search_all(vectors), 0.5, 4
    scores = np.einsum("pmd,rd->pmr", vectors, vectors[:, 0])
    hit = (scores >= cut) & (np.arange(12)[:, None, None] != np.arange(12))
    found = hit.sum(-1)
    clear = clear_share(np.arange(13), gallery=11, size=size)
    wrong = 1 - clear[found]
    moved, pairs = np.zeros(12), np.zeros((12, 12))
    for person, photo in np.ndindex(12, 3):
        moved[person] += (wrong[person, photo] - wrong.mean()) / 36
        for reference in np.flatnonzero(hit[person, photo]):
            last = clear[found[person, photo] - 1] - clear[found[person, photo]]
            moved[reference] += last / 36
            pairs[min(person, reference), max(person, reference)] += last / 36
    moved -= moved.mean()

    variance, _ = searches._variance(
        wrong.ravel() - wrong.mean(),
        np.concatenate([[0], clear[:-1] - clear[1:]])[found.ravel()[searches.search[: searches.reaching(cut)]]],
    )

    assert variance == pytest.approx(max((moved**2).sum() * 12 / 11 - (pairs**2).sum(), (pairs**2).sum()))


@pytest.mark.slow
@pytest.mark.parametrize(("people", "size", "wanted"), [(60, 6, 0.03), (100, 10, 0.03), (100, 99, 0.1), (100, 99, 0.3)])
def test_intervals_cover_the_truth_as_often_as_they_say(people: int, size: int, wanted: float) -> None:
    """Also when searches and references are the same people, where searches alone as clusters do not."""
    rng = np.random.default_rng([7, people, size])
    worlds = [search_all(draw_people(rng, 2500, 1), floor=0.6) for _ in range(4)]
    cut = float(np.mean([world.threshold_at(wanted, size=size) for world in worlds]))
    truth = float(np.mean([world.fpir_at(cut, size=size).value for world in worlds]))
    covered, one_sided, runs = 0, 0, 400
    for _ in range(runs):
        searches = search_all(draw_people(rng, people), floor=0.55)
        rate = searches.fpir_at(cut, size=size)
        covered += rate.low <= truth <= rate.high
        found = np.bincount(searches.search[: searches.reaching(cut)], minlength=len(searches.person))
        plain = fpir(found, gallery=searches.gallery, size=size, cluster=searches.person)
        one_sided += plain.low <= truth <= plain.high

    assert 0.93 - 0.01 <= covered / runs <= 0.97 + 0.01  # 400 runs know the coverage to about 0.01
    assert one_sided < covered


@pytest.mark.parametrize("size", [10, 100, 149, 600])
def test_the_threshold_is_the_lowest_at_the_wanted_rate(size: int) -> None:
    searches = search_all(draw_people(np.random.default_rng(3), 150))

    cut = searches.threshold_at(0.2, size=size)

    assert searches.fpir_at(cut, size=size).value <= 0.2
    below = searches.score[searches.reaching(cut)]
    assert cut - 2e-6 <= below < cut
    assert searches.fpir_at(float(below), size=size).value > 0.2


def test_the_rate_asked_for_holds_on_other_people() -> None:
    """Thresholds from drawn people, measured on others; the mean over worlds has no large bias."""
    measured: dict[tuple[int, float], list[float]] = {(10, 0.05): [], (100, 0.05): [], (149, 0.2): [], (400, 0.3): []}
    within = []
    for run in range(40):
        rng = np.random.default_rng([11, run])
        ours, others = search_all(draw_people(rng, 150), floor=0.4), search_all(draw_people(rng, 150), floor=0.4)
        for (size, wanted), rates in measured.items():
            point = ours.point(wanted, size=size)
            found = others.fpir_at(point.threshold, size=size)
            rates.append(found.value)
            within.append(point.fpir.low <= found.value <= point.fpir.high)
            assert point.fpir.low <= wanted <= point.fpir.high or point.fpir.value < wanted

    for (_, wanted), rates in measured.items():
        assert np.mean(rates) == pytest.approx(wanted, rel=0.15)
    # An interval holds another sample's estimate less often than the truth: normally in 83 of 100.
    assert 0.7 < np.mean(within) < 0.95


def test_the_interval_of_the_threshold_holds_that_of_other_people() -> None:
    within = []
    worlds = [search_all(draw_people(np.random.default_rng([13, run]), 150), floor=0.4) for run in range(60)]
    points = [world.point(0.1, size=50) for world in worlds]
    truth = float(np.median([point.threshold for point in points]))
    within = [point.threshold_interval[0] <= truth <= point.threshold_interval[1] for point in points]

    assert all(p.threshold_interval[0] <= p.threshold <= p.threshold_interval[1] for p in points)
    assert np.mean(within) >= 0.85
    assert np.mean([p.threshold_interval[1] - p.threshold_interval[0] for p in points]) < 0.2


def test_false_matches_and_the_rate_of_pairs_are_what_counting_gives() -> None:
    vectors = draw_people(np.random.default_rng(4), 60)
    searches = search_all(vectors)

    point = searches.point(0.3, size=20)

    scores = np.einsum("pmd,rd->pmr", vectors, vectors[:, 0])
    hit = (scores >= point.threshold) & (np.arange(60)[:, None, None] != np.arange(60))
    fmr = hit.sum() / (180 * 59)
    assert point.false_matches_per_1000 == pytest.approx(1000 * 20 * fmr)
    assert point.fpir_by_fmr == pytest.approx(1 - (1 - fmr) ** 20)
    assert point.fpir_by_fmr > point.fpir.value  # scores cluster by person
    assert point.fnir is not None
    mates = np.einsum("pmd,pd->pm", vectors[:, 1:], vectors[:, 0])
    assert point.fnir.value == pytest.approx((mates < point.threshold).mean())


def test_no_threshold_is_named_for_a_rate_that_none_has() -> None:
    """People under two labels score 1 with themselves: the threshold 1 would let all of them go wrong."""
    photos = np.repeat(draw_people(np.random.default_rng(9), 30, photos=1), 2, axis=0)

    with pytest.raises(CalibrationError) as caught:
        search_all(photos).threshold_at(0.2, size=40)

    assert str(caught.value) == (
        "No threshold has FPIR 0.2 among 40 references: 60 of 60 searches find somebody else with score 1. Either people stand "
        "in the calibration set under several identities, or the embedder gives everybody the same vector."
    )
    assert search_all(photos).supported_cuts([0.2], size=40) == []


def test_a_set_of_a_few_photos_is_not_told_to_ask_for_certainty() -> None:
    with pytest.raises(CalibrationError) as caught:
        search_all(draw_people(np.random.default_rng(9), 3, photos=1)).threshold_at(0.5, size=2)

    assert str(caught.value).endswith("Name a labelled set of about 8 photos (with more people in proportion).")


def test_a_set_too_small_for_the_rate_says_what_would_do() -> None:
    searches = search_all(draw_people(np.random.default_rng(5), 40))

    with pytest.raises(CalibrationError) as caught:
        searches.threshold_at(0.01, size=500_000)

    assert "at least 10 are needed. Name a labelled set of about " in str(caught.value)
    assert ", or a gallery of at most 4, or ask for an FPIR of " in str(caught.value)


@pytest.mark.parametrize("wanted", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(wanted: float) -> None:
    with pytest.raises(CalibrationError, match="lies between 0 and 1"):
        search_all(draw_people(np.random.default_rng(5), 10)).threshold_at(wanted, size=5)


def test_below_the_pairs_that_were_kept_nothing_is_claimed() -> None:
    searches = search_all(draw_people(np.random.default_rng(6), 60), floor=0.7)

    with pytest.raises(CalibrationError, match="is not known"):
        searches.fpir_at(0.69, size=10)
    with pytest.raises(CalibrationError, match="Ask for a smaller FPIR"):
        searches.threshold_at(0.9, size=5)
    assert searches.fpir_at(0.7, size=10).value > 0


def test_curves_fall_as_they_should_and_agree_with_their_points() -> None:
    searches = search_all(draw_people(np.random.default_rng(8), 150))

    curve = det_points(searches, size=100)

    false_positive, missed = [p.fpir.value for p in curve], [p.fnir.value for p in curve]
    assert len(curve) > 10
    assert false_positive == sorted(false_positive)
    assert missed == sorted(missed, reverse=True)
    assert curve[0].fpir.errors >= 10
    for point in curve:
        assert point.fpir == searches.fpir_at(point.threshold, size=100)
        assert point.fnir.value == np.mean(searches.mated < point.threshold)


def test_roc_points_are_the_rates_of_all_pairs() -> None:
    rng = np.random.default_rng(9)
    others, mates = rng.normal(0, 0.15, 5000).clip(-1, 1), rng.normal(0.5, 0.15, 800).clip(-1, 1)
    non_mated, mated = ScoreCounts(), ScoreCounts()
    non_mated.add(others)
    mated.add(mates)

    curve = roc_points(non_mated, mated)

    assert len(curve) > 10
    for point in curve:
        assert point.fmr == np.mean(others >= point.threshold)
        assert point.tar == np.mean(mates >= point.threshold)
    assert [p.fmr for p in curve] == sorted(p.fmr for p in curve)
    assert roc_points(non_mated, ScoreCounts()) == ()


def test_everything_at_once_skips_what_the_set_cannot_support() -> None:
    searches = search_all(draw_people(np.random.default_rng(10), 100))
    non_mated, mated = ScoreCounts(), ScoreCounts()
    non_mated.add(searches.score)
    mated.add(searches.mated)
    points = [operating_point(non_mated, mated, fmr=0.01)]
    names = [f"person {code}" for code in range(100)]

    found = one_to_many(
        searches, fpir=0.1, gallery_sizes=[10, 99, 10**6], operating_points=points, non_mated=non_mated, mated=mated,
        names=names,
    )  # fmt: skip

    assert [point.gallery_size for point in found.points] == [10, 99]
    assert len(found.skipped) == 1
    assert "among 1000000 references" in found.skipped[0]
    assert found.sizes == (size_curve(searches, points[0].threshold, fmr=points[0].fmr, sizes=[10, 99, 10**6]),)
    by_size = [row.fpir.value for row in found.sizes[0].sizes]
    assert by_size == sorted(by_size)
    assert [row.fpir.extrapolated for row in found.sizes[0].sizes] == [False, False, True]
    best = found.closest[0]
    top = {names[searches.person[searches.search[0]]], names[searches.reference[0]]}
    assert ({best.first, best.second}, best.score) == (top, searches.score[0])
    assert len({(p.first, p.second) for p in found.closest}) == 10


def test_too_few_people_are_refused() -> None:
    with pytest.raises(CalibrationError, match="need at least 3 identities"):
        search_all(draw_people(np.random.default_rng(1), 2))
