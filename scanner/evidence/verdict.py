"""What a run says, in one sentence, and which guards speak against saying it.

States: "named" (some identities are closer to the scanned faces than people known not to be in training), "none",
"undecided" (nobody could have been named, however close) and "inconclusive" (a guard says that the comparison means
nothing).  Only "none" and "named" are findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HUBS_BY_CHANCE = 3
"""So many flagged photos beyond twice the expected number are nothing yet."""
LARGE_CLUSTER = 0.1
"""Share of the scanned faces in one cluster from which the guard speaks."""


def guards_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the guards as {name, fired, blocks, says}; one that `blocks` makes the run inconclusive.

    Args:
        document: the parts of `evidence.json` that are worked out so far.
    """
    fits, hubs, clusters = document["fits"], document["hubs"], document["clusters"]
    null_fit, domain = fits["null_fit"], fits["domain_fit"]
    guards = [
        _guard(
            "null_fits", fired=null_fit["differ"], blocks=True,
            says=f"{'A' if null_fit['differ'] else 'No'} classifier tells the candidates' pictures from the null's "
            f"(AUC {null_fit['auc']:.2f}, 0.5 is chance, p = {null_fit['p_value']:.2g}).",
        )
    ]  # fmt: skip
    if domain is not None:
        guards.append(
            _guard(
                "scanned_like_null", fired=domain["differ"], blocks=False,
                says=f"A classifier tells the scanned faces from photos of the null with AUC {domain['auc']:.2f}; p- and "
                "q-values compare candidates with null people over the same scanned faces and stay valid, but a threshold "
                "calibrated on photos need not hold for these faces."
                if domain["differ"]
                else f"No classifier tells the scanned faces from photos of the null (AUC {domain['auc']:.2f}).",
            )
        )  # fmt: skip
    guards += [
        _guard(
            "hubs", fired=hubs["largest_is_hub"] or hubs["flagged"] > 2 * hubs["expected"] + HUBS_BY_CHANCE, blocks=False,
            says=f"{hubs['flagged']} of {count(hubs['photos'])} candidate photos are closer to all scanned faces than 99 % of null "
            f"photos are (flag hub; about {hubs['expected']:.0f} by chance). The most-hit photo takes "
            f"{100 * hubs['largest']:.1f} % of the clusters, the null's {100 * hubs['null_largest']:.1f} %.",
        ),
        _guard(
            "clusters", fired=clusters["largest"] > LARGE_CLUSTER * clusters["samples"] and clusters["largest"] > 1,
            blocks=False,
            says=f"{clusters['samples']} scanned faces show {clusters['clusters']} clusters of alike faces, the largest with "
            f"{clusters['largest']}: worth {clusters['effective_n']:.0f} independent faces.",
        ),
    ]  # fmt: skip
    return guards


def verdict_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Return {state, sentence}."""
    found = document["identities"]
    named, all_, level = found["below_level"], found["identities"], found["level"]
    rate = f"(false discovery rate {100 * level:g} %)"
    if any(guard["fired"] and guard["blocks"] for guard in document["guards"]):
        auc = document["fits"]["null_fit"]["auc"]
        sentence = (
            "Inconclusive: a classifier tells the candidates' pictures from those of the people known not to be in training "
            f"(AUC {auc:.2f}), so their scores cannot be compared."
        )
        return {"state": "inconclusive", "sentence": sentence}
    if named == 0 and found["fewest_nameable"] > 1:
        some = (
            f"unless at least {count(found['fewest_nameable'])} of {count(all_)}"
            if found["fewest_nameable"] <= all_
            else f"even if all {count(all_)}"
        )
        sentence = (
            f"Undecided: with {count(found['null_identities'])} people in the null, nobody is named {some} candidate identities "
            f"are given away together {rate}."
        )
        return {"state": "undecided", "sentence": sentence}
    if named == 0:
        sentence = (
            f"None of {count(all_)} candidate identities is closer to the scanned faces than people known not to be in training "
            f"{rate}{_seen(document['power'])}."
        )
        return {"state": "none", "sentence": sentence}
    verb = "is" if named == 1 else "are"
    sentence = (
        f"{count(named)} of {count(all_)} candidate identities {verb} closer to the scanned faces than people known not to be in "
        f"training {rate}{_modelled(found)}."
    )
    return {"state": "named", "sentence": sentence}


def count(value: int) -> str:
    """Return a number with its thousands set apart by thin spaces."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")


def _modelled(found: Mapping[str, Any]) -> str:
    """Return how many of the named need the fitted tail, as the end of a sentence."""
    without = found["below_level_conformal"]
    if without >= found["below_level"]:
        return ""
    return f"; by a fitted tail of the null, without it {count(without) if without else 'none'}"


def _seen(power: Mapping[str, Any] | None) -> str:
    """Return how small a leak would have been seen, as the end of a sentence."""
    if power is None:
        return ""
    if power["smallest"] is None:
        return f"; no leak rate would have been seen with probability {power['wanted']:g}"
    return (
        f"; had {100 * power['smallest']:.2g} % of them been given away as closely as another photo shows them, somebody would have "
        f"been named with probability {power['wanted']:g}"
    )


def _guard(name: str, *, fired: bool, blocks: bool, says: str) -> dict[str, Any]:
    return {"name": name, "fired": bool(fired), "blocks": blocks, "says": says}
