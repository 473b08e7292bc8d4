"""`scanner audit`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options, target_options
from scanner.cli.talk import answer, say, talk
from scanner.errors import UsageError

EXIT_ALLOWED, EXIT_REFUSED = 0, 1


@click.command("audit")
@click.argument("toml", type=click.Path(), metavar="AUDIT.toml")
@click.option("--out", type=click.Path(), metavar="AUDIT", help="Folder to make.")
@click.option(
    "--check", is_flag=True, help="Look at the file and its sources, say what the audit would cost, and stop."
)
@target_options
@talk_options
def command(toml: str, out: str | None, **given: Any) -> int:
    """Attack generators with photos of people who were in training, and of others who were not; or a split network.

    AUDIT.toml names both, the generators' samples, and what a release tolerates (docs/guide.md, Audit).  The audit writes
    a score an identity, how well each score tells members from non-members, and a page.  With [split] it re-creates photos
    from a network's features and says at which cut a person is still recognised (docs/split.md).  With a gate the exit
    code is 0 only when every gate passes, and 1 when one fails or cannot say.

    \b
    scanner audit AUDIT.toml --check
    scanner audit AUDIT.toml --out audit
    """
    quiet = quiet_value(given)
    if given["check"]:
        return _check(Path(toml), quiet=quiet)
    if out is None:
        raise UsageError("Where to write is missing: --out AUDIT names the folder to make. --check needs none.")
    from scanner.audit.audit import audit

    with talk(quiet=quiet) as progress:
        result = audit(toml, out=out, resume=given["resume"], force=given["force"], progress=progress)
    for generator in result.document["generators"]:
        say(_line(generator), quiet=quiet)
        if generator["gate"] is not None and len(result.document["generators"]) > 1:
            say(f"  {generator['gate']['sentence']}", quiet=quiet)
    for line in _cuts(result.document.get("split")):
        say(line, quiet=quiet)
    say(f"{result.document['verdict']['sentence']}\nreport: {result.folder / 'report.html'}", quiet=quiet)
    answer(
        {
            "audit": str(result.folder),
            **result.document["verdict"],
            "policy_sha256": result.document["policy_sha256"],
            "generators": [_short(generator) for generator in result.document["generators"]],
            "split": _split(result.document.get("split")),
        }
    )
    return EXIT_ALLOWED if result.allows else EXIT_REFUSED


def _check(toml: Path, *, quiet: bool) -> int:
    from scanner.audit.check import estimate_audit
    from scanner.audit.config import read_config

    config = read_config(toml)
    cost = estimate_audit(config, toml.parent)
    say(cost.sentence(), quiet=quiet)
    answer({**asdict(cost), "policy_sha256": config.sha256()})
    return EXIT_ALLOWED


def _line(generator: dict[str, Any]) -> str:
    """Return one score of a generator in one line: the same for all, for the best of several is too good by chance."""
    name = "best_match"
    rates = generator["scores"][name]
    auc, hits = rates["auc"], rates["tpr_1"]
    return (
        f"{generator['name']}: {name} AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f}), "
        f"TPR {hits['value']:.2f} ({hits['low']:.2f} to {hits['high']:.2f}) at FPR 1 %; "
        f"{generator['evidence']['below_level']} of {generator['people']['members']['identities']} members named"
    )


def _short(generator: dict[str, Any]) -> dict[str, Any]:
    """Return what scripts ask for first."""
    gate = generator["gate"]
    return {
        "name": generator["name"],
        "auc": {name: rates["auc"]["value"] for name, rates in generator["scores"].items()},
        "state": None if gate is None else gate["state"],
        "leak_rate": None if gate is None else [gate["leak_low"], gate["leak_rate"], gate["leak_high"]],
    }


def _undefended(split: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [] if split is None else [unit for unit in split["units"] if unit["defence"]["kind"] == "none"]


def _cuts(split: dict[str, Any] | None) -> list[str]:
    """Return a line a cut: how like the picture, and who recognises it."""
    lines = []
    for unit in _undefended(split):
        told = [
            f"{entry['judge']} {100 * at['value']:.0f} % ({100 * at['low']:.0f} to {100 * at['high']:.0f})"
            for entry in unit["judges"]
            if "headline" in entry and entry["fmr"] == unit["judges"][0]["fmr"]
            for at in [entry["rates"]["type_1"][entry["headline"]]]
        ]
        agreement = unit["own"].get("agreement")
        told += [] if agreement is None else [f"the network's class in {100 * agreement['value']:.0f} %"]
        psnr = unit["quality"]["psnr_db"]["mean"]
        lines.append(f"{unit['cut']}, {unit['layers']} layers: PSNR {psnr:.1f} dB; recognised by {', '.join(told)}")
    return lines


def _split(split: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what scripts ask for first."""
    if split is None:
        return None
    rates = {
        unit["cut"]: {
            entry["judge"]: entry["rates"]["type_1"][entry["headline"]]["value"]
            for entry in unit["judges"]
            if "headline" in entry and entry["fmr"] == unit["judges"][0]["fmr"]
        }
        for unit in _undefended(split)
    }
    return {"network": split["network"]["name"], **split["verdict"], "match_rates": rates}
