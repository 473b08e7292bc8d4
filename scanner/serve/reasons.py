"""Why a match has its verdict, in plain words and with the numbers that it rests on; claims no more than was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scanner.evidence.verdict import count
from scanner.report.page import expected_text
from scanner.serve.shelf import Run, plural

Row = Mapping[str, Any]
FLAG_SAYS = {
    "same_bytes": "The two files are the same, byte for byte: the scanned images hold the candidate's own picture.",
    "near_copy": "The two crops are nearly the same picture (perceptual hash), not only the same face.",
    "hub": "This photo lies close to everything that was scanned: its scores say less than others'.",
    "low_quality": "One of the two faces is small or was found with little certainty: its score is less sure.",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One step of the argument: what it is about, what it says, and whether it speaks for or against a leak ("" neither)."""

    about: str
    says: str
    side: str = ""


def headline_of(run: Run, match: Row) -> str:
    """Return what is said of a match in one sentence."""
    who = match["identity"] if match["identity"] is not None else f"Reference {match['reference_id']}"
    if run.state == "named" and is_named(run, match):
        return f"{who} is named: closer to the scanned faces than people known not to be in training."
    if run.state in {"named", "none"} and match["q_value"] is not None:
        return f"{who} matches but is not named: people known not to be in training come as close often enough."
    if run.evidence is not None and match["q_value"] is None:
        return f"{who} matches; how unusual that is, nobody weighed, since the reference has no identity."
    if run.state == "inconclusive":
        return f"{who} matches, and the run is inconclusive: its null cannot be compared with the candidates."
    if run.state == "undecided":
        return f"{who} matches, and the run is undecided: its null is too small to name anybody."
    return f"{who} matches; how unusual that is, nobody measured (the run has no null)."


def is_named(run: Run, row: Row) -> bool:
    """Return whether the run's verdict names the identity of a match or of a row of identities."""
    return run.level is not None and row["q_value"] is not None and bool(row["q_value"] <= run.level)


def reasons_of(run: Run, match: Row, identity: Row | None, joint: Row | None, null: Row | None) -> list[Reason]:
    """Return the argument, step by step.

    Args:
        run: the run.
        match: the row of `matches`.
        identity: its identity's row of `identities`; None without a null.
        joint: its identity's row of `joint`; None with one embedder.
        null: {photos, reached}: photos of the null, and how many of them come as close as this match.
    """
    return [
        *_of_score(run, match),
        *(() if identity is None or run.evidence is None else _of_null(run, identity, null)),
        *(() if joint is None or run.joint is None else _of_embedders(run, joint)),
        *_of_copy(match),
        *(() if run.evidence is None else _of_guards(run.evidence)),
    ]


def _of_score(run: Run, match: Row) -> Iterator[Reason]:
    threshold, results = run.summary["threshold"], run.summary["results"]
    value, point = threshold["value"], threshold["point"]
    closer = match["rank"] - 1
    place = (
        f"{plural(closer, 'reference')} {'is' if closer == 1 else 'are'} closer to it"
        if closer
        else "no reference is closer to it"
    )
    yield Reason(
        "Score", f"The cosine of the scanned face and the reference is {match['score']:.4f}; {place}. From {value:.4f} on a "
        "pair is a match.",
    )  # fmt: skip
    if point is None:
        yield Reason(
            "Threshold", "It was given by hand, so nobody knows how many pairs would match by chance.", side="against"
        )
        return
    low, high = point["fmr_interval"]
    yield Reason(
        "Threshold",
        f"It was calibrated: of {count(point['non_mated_pairs'])} pairs of different people {count(point['false_matches'])} "
        f"reach it, a false match rate of {point['fmr']:.2g} (95 % interval {low:.2g} to {high:.2g}).",
    )
    chance = results["false_matches_expected"]
    if chance is not None:
        yield Reason(
            "By chance",
            f"{count(results['comparisons'])} pairs were compared, so about {expected_text(chance)} of the run's "
            f"{plural(results['matches'], 'match', 'matches')} would be there by chance alone.",
        )


def _of_null(run: Run, identity: Row, null: Row | None) -> Iterator[Reason]:
    assert run.evidence is not None
    found = run.evidence["identities"]
    if null is not None:
        yield Reason(
            "Null",
            f"Of {plural(null['photos'], 'photo')} of people known not to be in training, {count(null['reached']) if null['reached'] else 'none'} "
            f"come{'' if null['reached'] > 1 else 's'} as close to any scanned face as this match.",
            side="against" if null["reached"] else "for",
        )
    yield Reason(
        "p-value",
        f"A null person is as close as this identity's best photo ({identity['best_score']:.4f}) with p = "
        f"{identity['p_value']:.2g}; without the fitted tail {identity['p_conformal']:.2g} (95 % interval {identity['p_low']:.2g} "
        f"to {identity['p_high']:.2g}), counted over {plural(found['null_identities'], 'person', 'people')} of the null and "
        f"{plural(identity['photos'], 'photo')} of this one.",
    )
    q, level = identity["q_value"], found["level"]
    named = bool(q <= level)
    yield Reason(
        "q-value",
        f"Were every one of the {plural(found['identities'], 'identity', 'identities')} at least as unusual as this one named, "
        f"about {100 * q:.2g} % of them would be named wrongly (q = {q:.2g}; under any dependence {identity['q_by']:.2g}). "
        f"The run names up to {100 * level:g} %, so this one is {'within' if named else 'beyond'} it.",
        side="for" if named else "against",
    )


def _of_embedders(run: Run, joint: Row) -> Iterator[Reason]:
    assert run.joint is not None
    counted = sum(bool(one["counted"]) for one in run.joint["embedders"])
    yield Reason(
        "Embedders",
        f"{joint['agreement']} of {counted} counted embedders name this identity alone; together q = {joint['q_joint']:.2g}.",
        side="for" if joint["agreement"] == counted else "against",
    )


def _of_copy(match: Row) -> Iterator[Reason]:
    for flag in match["flags"]:
        says = FLAG_SAYS.get(flag, f"Flag {flag}.")
        yield Reason(
            flag.replace("_", " ").capitalize(), says, side="against" if flag in {"hub", "low_quality"} else ""
        )
    if match["copy_score"] is not None:
        yield Reason("Copy", f"A copy-detection network gives the two pictures {match['copy_score']:.3f}.")


def _of_guards(evidence: Mapping[str, Any]) -> Iterator[Reason]:
    for guard in evidence["guards"]:
        if guard["fired"]:
            yield Reason(f"Guard {guard['name'].replace('_', ' ')}", guard["says"], side="against")
    if not any(guard["fired"] for guard in evidence["guards"]):
        yield Reason(
            "Guards", f"None of the {len(evidence['guards'])} guards speaks against the comparison.", side="for"
        )
