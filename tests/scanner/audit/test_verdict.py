"""One sentence for all generators: the worst of the gates, or what was measured."""

from typing import Any

import pytest

from scanner.audit.verdict import verdict_of


def entry(name: str, state: str | None = None, *, named: int = 0, nameable: int = 1, **power: Any) -> dict[str, Any]:
    return {
        "name": name,
        "gate": None if state is None else {"state": state, "sentence": f"{name} says {state}."},
        "guard": {"differ": False, "says": ""},
        "evidence": {"below_level": named, "level": 0.05, "null_identities": 300, "fewest_nameable": nameable},
        "people": {"members": {"identities": 40}},
        "power": {"unknown": "", "smallest": 0.0312, "wanted": 0.8, **power},
    }


@pytest.mark.parametrize(
    ("states", "state", "sentence"),
    [
        (["pass"], "pass", "g0 says pass."),
        (["inconclusive"], "inconclusive", "g0 says inconclusive."),
        (["pass", "pass"], "pass", "Pass: 2 of 2 generators give away at most what is tolerated (g0, g1)."),
        (["pass", "inconclusive"], "inconclusive", "Inconclusive: 1 of 2 generators cannot be judged (g1)."),
        (
            ["fail", "inconclusive", "fail"],
            "fail",
            "Fail: 2 of 3 generators give away more people than is tolerated (g0, g2).",
        ),
    ],
)
def test_the_worst_gate_speaks(states: list[str], state: str, sentence: str):
    generators = [entry(f"g{number}", own) for number, own in enumerate(states)]

    assert verdict_of(generators, used_by_generator=False) == {"state": state, "sentence": sentence}


@pytest.mark.parametrize(
    ("generator", "sentence"),
    [
        (
            entry("g", named=1),
            "1 of 40 member identities is closer to the generator's samples than people known not to be in training (false "
            "discovery rate 5 %).",
        ),
        (
            entry("g"),
            "None of 40 member identities is closer to the generator's samples than people known not to be in training (false "
            "discovery rate 5 %); a leak of 3.1 % of them would have been seen with probability 0.8.",
        ),
        (
            entry("g", smallest=None),
            "None of 40 member identities is closer to the generator's samples than people known not to be in training (false "
            "discovery rate 5 %); no leak rate would have been seen with probability 0.8.",
        ),
        (
            entry("g", nameable=3),
            "Undecided: with 300 non-members, fewer than 3 of 40 members could not have been named, however close (false "
            "discovery rate 5 %).",
        ),
        (
            entry("g", nameable=41),
            "Undecided: with 300 non-members, even all 40 members could not have been named, however close (false discovery "
            "rate 5 %).",
        ),
    ],
)
def test_without_a_gate_the_sentence_says_what_was_measured(generator: dict[str, Any], sentence: str):
    assert verdict_of([generator], used_by_generator=False) == {"state": "measured", "sentence": sentence}


def test_without_a_gate_the_generator_with_most_names_speaks():
    found = verdict_of([entry("clean"), entry("leaky", named=7)], used_by_generator=True)

    assert found["sentence"].startswith(
        "7 of 40 member identities are closer to the samples of leaky than people known"
    )
    assert found["sentence"].endswith("The generator was trained with this embedder, so this says less.")


def test_a_guard_makes_a_measurement_inconclusive():
    blocked = entry("g", named=9)
    blocked["guard"] = {"differ": True, "says": "they differ"}

    assert verdict_of([blocked], used_by_generator=False) == {
        "state": "inconclusive",
        "sentence": "Inconclusive: they differ.",
    }
