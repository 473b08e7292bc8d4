"""`scanner demo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.options import force_option, quiet_value, seed_option, talk_options
from scanner.cli.talk import answer, say, talk

if TYPE_CHECKING:
    from scanner.world.demo import Outcome


@click.command("demo")
@click.option(
    "--out", default="demo-run", show_default=True, type=click.Path(), metavar="FOLDER", help="Folder to make."
)
@click.option(
    "--people", type=click.IntRange(min=20), metavar="N", help="Identities in each candidate set.  [default: 350]"
)
@seed_option("Which world to draw.  [default: 909]", metavar="S", default=None)
@force_option
@talk_options
def command(out: str, people: int | None, seed: int | None, force: bool, **given: Any) -> int:  # noqa: FBT001 - click passes flags
    """Draw people, plant leaks among generated images, run the whole road, and compare with the truth.

    Then tell a generator that memorised its training people from one that did not, by 300 samples of each and by how
    well each re-creates its training photos; and show what the features of a split recogniser give away.

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
    _say_generators(outcome, quiet=quiet)
    _say_split(outcome, f"{out}/world/split/audit/report.html", quiet=quiet)
    if outcome.generators:
        say(
            f"\ngo on with\n  scanner check {out}/world/set-a/person-00003 --run {out}/run-leaking\n"
            f"  scanner audit {out}/world/audit/audit.toml --out {out}/audit\n  scanner report verify {out}/run-leaking\n"
            f"  scanner generate {out}/world/generators/leaking.toml {out}-faces -n 1000 --seed 1",
            quiet=quiet,
        )
    say(f"\nlook at the runs at http://127.0.0.1:8642 with\n  scanner serve {out} --open", quiet=quiet)
    answer({"out": out, "report": str(result.folder / "report.html"), **asdict(outcome)})
    return 0


def _say_generators(outcome: Outcome, *, quiet: bool) -> None:
    """Say what became of the two trained generators."""
    for name, told in outcome.generators.items():
        back = outcome.rewound[name]
        trained = f"{told.members} of the candidates" if name == "leaking" else "none of the candidates"
        seen = "" if told.leak_seen is None else f"; a leak of {100 * told.leak_seen:.2g} % of them would have shown"
        say(
            f"\n{name} generator, trained on {trained}\n"
            f"  its samples      {told.named:5d}   candidates named, {told.named_rightly} of them rightly{seen}\n"
            f"  run backwards    {back.training_error:5.3f}   median error of {back.photos} training photos, "
            f"{back.outsiders_error:.3f} of outsiders'; p = {back.ks_p:.2g}",
            quiet=quiet,
        )
        if back.training_matched is not None:
            say(
                f"    re-created     {back.training_matched:5d}   training photos match another photo of the person, "
                f"{back.outsiders_matched} of outsiders'",
                quiet=quiet,
            )
        say(f"  report           {told.report}", quiet=quiet)


def _say_split(outcome: Outcome, report: str, *, quiet: bool) -> None:
    """Say what the features of the split recogniser give away."""
    from scanner.world.split_network import FMR

    say(
        "\nrecogniser cut in two, photos re-created from its features without ever seeing a photo; judged by another network\n"
        f"  cut after        PSNR      match the photo   another photo of the person (false match rate {100 * FMR:g} %)",
        quiet=quiet,
    )
    for cut in outcome.split:
        say(
            f"  {cut.layers:2d} layers        {cut.psnr_db:4.1f} dB   {100 * cut.same_photo:14.0f} %   {100 * cut.other_photo:.0f} %",
            quiet=quiet,
        )
    say(f"  report           {report}", quiet=quiet)
