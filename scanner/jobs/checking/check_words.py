"""What `scanner check` answers, in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scanner.evidence.guards import TwoSample
from scanner.evidence.persons import Of, PowerPoint, SetEvidence

WANTED = 0.8


@dataclass(frozen=True, slots=True)
class Judgement:
    """`state` is "closer", "not closer", "undecided" or "inconclusive"; `why` says why it is one of the last two."""

    state: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Notes:
    """What was found about the photos.

    Attributes:
        copies: photos left out because they are as good as another one.
        scanned: photos left out because they are the very same file as a scanned face.
        in_null: null people left out because one of their photos is the very same file as one of these.
        in_candidates: photos that are the very same file as one of the candidates.
    """

    copies: int = 0
    scanned: int = 0
    in_null: int = 0
    in_candidates: int = 0

    def sentences(self) -> list[str]:
        """Return a sentence for each thing that was found."""
        found = [
            (self.copies, "photos are as good as another one and were left out: a copy is no further witness."),
            (
                self.scanned,
                "photos are the very same file as a scanned face and were left out: somebody put them among the scanned "
                "files, which says nothing about a generator.",
            ),
            (self.in_null, "people of the null have one of these very files and were left out of it."),
            (self.in_candidates, "photos are the very same file as one in the candidate data set."),
        ]
        return [f"{number} {says}" for number, says in found if number]


def judge(found: SetEvidence, evidence: Mapping[str, Any], kind: TwoSample | None, *, level: float) -> Judgement:
    """Decide what may be said.

    Args:
        found: p-values of the photos.
        evidence: the run's `evidence.json`.
        kind: whether the photos are told from the null's.
        level: p-value that counts.
    """
    if evidence["verdict"]["state"] == "inconclusive":
        return Judgement("inconclusive", f"the run itself is: {evidence['verdict']['sentence']}")
    if kind is not None and kind.differ:
        why = (
            f"a classifier tells these photos from those of the null (AUC {kind.auc:.2f}, p = {kind.p_value:.2g}), so their "
            "scores cannot be compared; use a null of the same kind, for instance works of the same hands that were "
            "made after the training or never published"
        )
        return Judgement("inconclusive", why)
    if found.p_value <= level:
        return Judgement("closer")
    if found.floor > level and found.tail_refused:
        why = f"with {found.null_identities} people in the null no p-value could be below {found.floor:.2g}"
        return Judgement("undecided", why)
    return Judgement("not closer")


def words(
    judgement: Judgement,
    found: SetEvidence | None,
    power: Sequence[PowerPoint],
    notes: Notes,
    *,
    of: Of,
    level: float,
    compared: bool,
) -> tuple[str, tuple[str, ...]]:
    """Return the answer in one sentence, and what it means and does not mean, a paragraph each."""
    if found is None:
        return f"Inconclusive: {judgement.why}.", tuple(notes.sentences())
    who = _who(found)
    p = f"p = {found.p_value:.2g}"
    sentence = {
        "closer": f"{who} closer to the scanned faces than unrelated people known not to be in training are ({p}).",
        "not closer": f"{who} not shown to be closer to the scanned faces than people known not to be in training are ({p}, limit "
        f"{level:g}).",
        "undecided": f"Undecided: {judgement.why}.",
        "inconclusive": f"Inconclusive: {judgement.why}.",
    }[judgement.state]
    said = [_numbers(found)]
    if judgement.state == "closer":
        said.append(
            f"If they were not in training, so small a value would be seen in at most {100 * level:g} of 100 checks. It does not "
            "say who anybody is, nor that these very photos were used: another photo, a relative or a look-alike in "
            "training has the same effect. Who checks many sets must divide the level by their number."
        )
    else:
        said.append("This is no proof of absence: a leak too weak for this check looks just like none.")
    said += _power_words(power, found, level)
    said.append(_conditions(of, compared=compared))
    return sentence, (*said, *notes.sentences())


def _percent(share: float) -> str:
    """Return a share as a percentage of two digits; 100 is 100, not 1e+02."""
    return f"{float(f'{100 * share:.2g}'):g}"


def _who(found: SetEvidence) -> str:
    if found.of == "person":
        return "This photo's person is" if found.photos == 1 else f"These {found.photos} photos of one person are"
    return "This photo is" if found.photos == 1 else f"These {found.photos} photos are"


def _numbers(found: SetEvidence) -> str:
    low, high = found.effect.low, found.effect.high
    without = f"without a modelled tail p = {found.p_counted:.2g}, never below {found.floor:.2g}"
    if found.tail_refused:
        without = f"never below {found.floor:.2g}; no tail is modelled: {found.tail_refused}"
    left = (
        f" {found.photos} photos make {found.groups} sets of {found.used}, as many as enough null people have; this is the "
        f"closest set, and its p-value is multiplied by {found.groups}." * (found.groups > 1)
    )
    if found.photos > found.used * found.groups:
        left += (
            f" {found.photos - found.used * found.groups} further photos were left out: the null is too small for them."
        )
    if found.of == "person":
        return (
            f"{100 * found.effect.value:.3g} % of {found.null_identities} people not in training are as close with as many "
            f"photos (95 % interval {_percent(low)} to {_percent(high)} %; {without}).{left}"
        )
    return (
        f"One of these photos is closer than one of {found.null_identities} people not in training with probability "
        f"{found.effect.value:.2f} (95 % interval {low:.2f} to {high:.2f}; 0.5 = no difference; {without})."
    )


def _power_words(power: Sequence[PowerPoint], found: SetEvidence, level: float) -> list[str]:
    if not power:
        return ["How small a leak would have been seen is not known: nobody in the null has a second photo."]
    said = []
    for leaking in sorted({round(point.leaking, 1) for point in power}, reverse=True):
        curve = [point for point in power if round(point.leaking, 1) == leaking]
        here = max(
            (point for point in curve if point.photos <= found.used), key=lambda point: point.photos, default=None
        )
        enough = next((point.photos for point in curve if point.reached.value >= WANTED), None)
        what = "a leak as close as another photo of the person" if found.of == "person" else (
            f"a leak of {100 * leaking:g} % of the works, each as close as another photo of the same person or work"
        )  # fmt: skip
        if here is not None:
            said.append(
                f"With {here.photos} photo{'s' * (here.photos > 1)}, {what} has p <= {level:g} with probability "
                f"{here.reached.value:.2f} (95 % interval {here.reached.low:.2f} to {here.reached.high:.2f})."
            )
        need = (
            f"{enough} {'is' if enough == 1 else 'are'} enough"
            if enough is not None
            else f"not even {curve[-1].photos} are enough"
        )
        said.append(f"For a probability of {WANTED:g}, {need} ({what}).")
    said.append("A generator that blurs what it copies leaks less visibly than that.")
    return said


def _conditions(of: Of, *, compared: bool) -> str:
    if of == "person":
        return (
            "This holds when the photos are like those of the null (camera, crop, size); with photos of one person that "
            "cannot be tested."
        )
    if compared:
        return "No classifier tells the photos from those of the null, as this needs. It also needs photos that are independent."
    return (
        "This holds when the photos are independent of each other and like those of the null; whether they are was not "
        "tested, which needs ten photos and --null INDEX."
    )
