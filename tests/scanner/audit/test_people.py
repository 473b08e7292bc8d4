"""Hygiene of the two sides, and planted copies, on a handful of photos."""

import numpy as np
import pytest
from audit_world import draw_people, photos_of

from scanner.audit.people import Side, plant, sort_people
from scanner.audit.sources import Faces
from scanner.errors import CalibrationError

RNG = np.random.default_rng(0)


def faces(letter: str, photos: list[int], *, first: int = 0) -> Faces:
    """One person for each entry, with so many photos."""
    vectors = np.concatenate([photos_of(RNG, draw_people(RNG, 1), count) for count in photos])
    names = tuple(f"{letter}{first + person:03d}" for person, count in enumerate(photos) for _ in range(count))
    marks = tuple((f"{letter}-{first}-{row}",) for row in range(len(vectors)))
    return Faces(vectors, names, marks, "net", {})


def with_marks(source: Faces, marks: dict[int, str]) -> Faces:
    changed = tuple((marks[row], *own) if row in marks else own for row, own in enumerate(source.marks))
    return Faces(source.vectors, source.identities, changed, source.fingerprint, source.counts)


def test_everybody_is_seen_through_as_many_photos_as_the_poorest_has():
    people = sort_people(faces("m", [3] * 20 + [2]), faces("n", [5] * 100), used=[], photos=None, seed=0, what="g")

    assert people.photos == 2
    assert np.bincount(people.members.codes[people.members.through(2)]).tolist() == [2] * 21
    assert np.bincount(people.others.codes[people.others.through(2)]).tolist() == [2] * 100


def test_who_has_fewer_than_asked_for_is_left_out_and_counted():
    people = sort_people(faces("m", [3] * 20 + [2]), faces("n", [5] * 100), used=[], photos=3, seed=0, what="g")

    assert people.members.left_out["too_few_photos"] == 2
    assert people.members.names == tuple(f"m{person:03d}" for person in range(20))


def test_every_photo_that_is_left_out_is_counted_once_by_its_reason():
    members = with_marks(faces("m", [4] * 25), {0: "used", 5: "both", 9: "twice", 10: "twice"})
    members = Faces(members.vectors, (*members.identities[:-1], None), members.marks, "net", {})
    others = with_marks(faces("n", [2] * 110), {3: "both"})
    used = with_marks(faces("x", [1]), {0: "used"})

    people = sort_people(members, others, used=[used], photos=None, seed=0, what="g")

    assert people.members.left_out == {
        "no_identity": 1, "in_samples_or_training": 1, "on_both_sides": 1, "duplicate": 1, "too_few_photos": 0,
    }  # fmt: skip
    assert people.others.left_out["on_both_sides"] == 1
    assert len(people.members.codes) == 96
    assert people.photos == 1  # the non-member whose other photo was also a member's


def test_the_order_of_a_persons_photos_is_drawn_by_the_seed_alone():
    source, others = faces("m", [6] * 20), faces("n", [1] * 100)
    first, again, other = (
        sort_people(source, others, used=[], photos=1, seed=seed, what="g").members for seed in (1, 1, 2)
    )

    assert first.rank.tolist() == again.rank.tolist() != other.rank.tolist()
    assert sorted(first.rank[:6].tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_nested_number_of_photos_keeps_the_smaller_one():
    side = sort_people(faces("m", [4] * 20), faces("n", [1] * 100), used=[], photos=None, seed=0, what="g").members

    assert set(side.through(2).tolist()) < set(side.through(3).tolist()) < set(side.through(4).tolist())


def test_too_few_people_say_what_was_left_out():
    members = faces("m", [2] * 22 + [1] * 3)

    with pytest.raises(CalibrationError) as caught:
        sort_people(with_marks(members, {0: "u"}), faces("n", [2] * 50), used=[], photos=2, seed=0, what="glo-20")
    assert str(caught.value) == (
        "glo-20 has 50 identities as non-members; at least 100 are needed. Photos left out: none. Name more people or ask "
        "for fewer photos each."
    )


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_planted_copies_are_the_best_of_the_other_photos_with_the_last_one(photos: int):
    counts = [1, 2, 3, 5] * 3
    source = faces("n", counts)
    codes = np.repeat(np.arange(len(counts)), counts)
    rank = np.concatenate([RNG.permutation(count) for count in counts])
    side = Side(source.vectors, codes, rank, tuple(map(str, range(len(counts)))), {})
    best = RNG.random(len(codes)).astype(np.float32)

    found = plant(side, photos).statistic(best)

    expected = []
    for person, count in enumerate(counts):
        if count < max(2, photos):
            continue
        rows = np.flatnonzero(codes == person)
        planted = rows[rank[rows] == count - 1][0]
        kept = [row for row in rows if rank[row] < min(photos, count - 1)]
        expected.append(max(max(best[row], float(source.vectors[row] @ source.vectors[planted])) for row in kept))
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_without_second_photos_nothing_is_planted():
    side = sort_people(faces("m", [1] * 20), faces("n", [1] * 100), used=[], photos=None, seed=0, what="g").others

    assert plant(side, 1).statistic(np.zeros(100, np.float32)).tolist() == []
    assert plant(side, 1).mated().tolist() == []
