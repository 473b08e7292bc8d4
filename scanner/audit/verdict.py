"""What an audit says in one sentence: the gate's word where there is a gate, else what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MARK = " The generator was trained with this embedder, so this says less."


def verdict_of(generators: Sequence[Mapping[str, Any]], *, used_by_generator: bool) -> dict[str, str]:
    """Return {state, sentence} of all generators together.

    "fail" as soon as one fails, "pass" only when all pass, "inconclusive" otherwise; "measured" without a gate, unless
    members and non-members are pictures of two kinds: then nothing can be said at all.

    Args:
        generators: their entries in `audit.json`.
        used_by_generator: the embedder was used in training a generator, so that it sees what it is meant to see.
    """
    gates = [generator["gate"] for generator in generators]
    state, sentence = _measured(generators) if gates[0] is None else _judged(generators)
    return {"state": state, "sentence": sentence + (MARK if used_by_generator else "")}


def _judged(generators: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    states = [generator["gate"]["state"] for generator in generators]
    state = "fail" if "fail" in states else "inconclusive" if "inconclusive" in states else "pass"
    if len(generators) == 1:
        return state, generators[0]["gate"]["sentence"]
    names = [generator["name"] for generator, own in zip(generators, states, strict=True) if own == state]
    all_ = len(generators)
    verb = {"fail": "give away more people than is tolerated", "pass": "give away at most what is tolerated"}.get(
        state, "cannot be judged"
    )
    one = {"fail": "gives away more people than is tolerated", "pass": "gives away at most what is tolerated"}.get(
        state, "cannot be judged"
    )
    word = state.capitalize()
    return state, f"{word}: {len(names)} of {all_} generators {one if len(names) == 1 else verb} ({', '.join(names)})."


def _measured(generators: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    blocked = [generator for generator in generators if generator["guard"]["differ"]]
    if blocked:
        return "inconclusive", f"Inconclusive: {blocked[0]['guard']['says']}."
    worst = max(generators, key=lambda generator: generator["evidence"]["below_level"])
    found, members = worst["evidence"]["below_level"], worst["people"]["members"]["identities"]
    rate = f"(false discovery rate {100 * worst['evidence']['level']:.0f} %)"
    where = f"the samples of {worst['name']}" if len(generators) > 1 else "the generator's samples"
    nameable = worst["evidence"]["fewest_nameable"]
    if found == 0 and nameable > 1:
        some = f"fewer than {nameable} of {members}" if nameable <= members else f"even all {members}"
        return "measured", (
            f"Undecided: with {worst['evidence']['null_identities']} non-members, {some} members could not have been named, "
            f"however close {rate}."
        )
    if found == 0:
        return "measured", (
            f"None of {members} member identities is closer to {where} than people known not to be in training "
            f"{rate}{_seen(worst['power'])}."
        )
    verb = "is" if found == 1 else "are"
    return "measured", (
        f"{found} of {members} member identities {verb} closer to {where} than people known not to be in training {rate}."
    )


def _seen(power: Mapping[str, Any]) -> str:
    """Return how small a leak would have been seen, as the end of a sentence."""
    if power["unknown"]:
        return "; how small a leak would have been seen is not known"
    if power["smallest"] is None:
        return f"; no leak rate would have been seen with probability {power['wanted']:g}"
    return (
        f"; a leak of {100 * power['smallest']:.2g} % of them would have been seen with probability {power['wanted']:g}"
    )
