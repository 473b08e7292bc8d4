"""`scanner demo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say, talk


@click.command("demo")
@click.option(
    "--out", default="demo-run", show_default=True, type=click.Path(), metavar="FOLDER", help="Folder to make."
)
@click.option(
    "--people", type=click.IntRange(min=20), metavar="N", help="Identities in each candidate set.  [default: 350]"
)
@click.option("--seed", type=int, metavar="S", help="Which world to draw.  [default: 909]")
@click.option("--force", is_flag=True, help="Replace what is there.")
@talk_options
def command(out: str, people: int | None, seed: int | None, force: bool, **given: Any) -> int:  # noqa: FBT001 - click passes flags
    """Draw people, plant leaks among generated images, run the whole road, and compare with the truth.

    Then tell a generator that memorised its training people from one that did not, by 300 samples of each.

    Nothing is downloaded and nobody real is shown.

    \b
    scanner demo
    scanner demo --out /tmp/demo --seed 7
    """
    from scanner.world.demo import World, run_demo

    quiet = quiet_value(given)
    chosen = {name: value for name, value in (("people", people), ("seed", seed)) if value is not None}
    with talk(quiet=quiet) as progress:
        result, outcome = run_demo(out, world=World(**chosen), force=force, progress=progress)
    expected = outcome.false_pairs_expected
    say(
        f"\nplanted leaks     {outcome.planted:5d}\n"
        f"  found           {outcome.found:5d}   matched to the person they show\n"
        f"  missed          {outcome.missed:5d}\n"
        f"falsely flagged   {outcome.false_images:5d}   images that match somebody they do not show "
        f"({outcome.false_pairs} pairs; {expected:.1f} expected by chance)\n"
        f"identities named  {outcome.named:5d}   closer than outsiders at a false discovery rate of 5 %; "
        f"{outcome.named_rightly} of them were planted\n"
        f"report            {result.folder / 'report.html'}",
        quiet=quiet,
    )
    for name, told in outcome.generators.items():
        seen = (
            ""
            if told.leak_seen is None
            else f"  of the candidates {100 * told.leak_seen:.2g} % given away would have shown\n"
        )
        trained = f"{told.members} of them" if name == "leaking" else "none of them"
        say(
            f"\n{name} generator, trained on {trained}\n"
            f"  candidates named {told.named:4d}, {told.named_rightly} of them rightly\n{seen}"
            f"  report           {told.report}",
            quiet=quiet,
        )
    if outcome.generators:
        say(
            f"\ngo on with\n  scanner check {out}/world/set-a/person-00003 --run {out}/run-leaking\n"
            f"  scanner audit {out}/world/audit/audit.toml --out {out}/audit\n  scanner report verify {out}/run-leaking",
            quiet=quiet,
        )
    answer({"out": out, "report": str(result.folder / "report.html"), **asdict(outcome)})
    return 0
