"""`scanner invert …`."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from typing import Any

import click

from scanner.cli import EXIT_DONE
from scanner.cli.counts import exit_code, listed, tell_inversions
from scanner.cli.options import (
    device_option,
    parse_landmarks,
    quiet_value,
    ray_option,
    seed_option,
    shard_images_option,
    source_options,
    source_values,
    talk_options,
    target_options,
    trust_option,
)
from scanner.cli.talk import answer, say, talk

OTHERS = {
    "features": ("scanner.cli.invert_features", "features"),
    "apply": ("scanner.cli.invert_features", "apply"),
}


class LazyGroup(click.Group):
    """Commands of other files are imported when they are called, or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        return [*super().list_commands(ctx), *OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command of this file, or import one."""
        if cmd_name in OTHERS:
            module, name = OTHERS[cmd_name]
            command = getattr(importlib.import_module(module), name)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)


@click.group("invert", cls=LazyGroup)
def command() -> None:
    """Run networks backwards: images to the latents that make them, features to the images they came from."""


@command.command("latent")
@click.argument("generator", type=click.Path(exists=True, dir_okay=False))
@click.argument("images", nargs=-1, required=True)
@click.argument("out", type=click.Path(file_okay=False))
@click.option(
    "--restarts",
    type=int,
    default=4,
    show_default=True,
    metavar="N",
    help="Starting points per image; the best result is kept, and one that is close enough ends the search.",
)
@click.option(
    "--steps",
    "steps_max",
    type=int,
    default=300,
    show_default=True,
    metavar="N",
    help="At most so many steps per restart.",
)
@click.option(
    "--method",
    type=click.Choice(["lbfgs", "adam", "adam+lbfgs"]),
    default="lbfgs",
    show_default=True,
    help="The optimiser.",
)
@click.option(
    "--draws",
    type=int,
    default=1024,
    show_default=True,
    metavar="N",
    help="Make so many images first, and begin at the nearest ones; 0 begins anywhere.",
)
@click.option(
    "--encoder",
    default="none",
    show_default=True,
    metavar="FILE|train|none",
    help="Begin at a learned guess: train it first on the generator's own samples, or read one that was trained.",
)
@click.option(
    "--encoder-steps",
    type=click.IntRange(min=1),
    default=1500,
    show_default=True,
    metavar="N",
    help="Length of that training.",
)
@click.option(
    "--space", type=click.Choice(["z", "w", "w+"]), default="z", show_default=True, help="Which latents are searched."
)
@click.option(
    "--tolerance",
    type=float,
    default=0.005,
    show_default=True,
    metavar="SHARE",
    help="Relative image error at which an image counts as re-created.",
)
@click.option(
    "--prior", type=float, default=0.0, show_default=True, metavar="WEIGHT", help="How much an unlikely latent costs."
)
@click.option("--identity", metavar="NET", help="A recogniser (.onnx or NET.toml) whose embeddings shall agree.")
@click.option(
    "--identity-weight", type=float, default=0.1, show_default=True, metavar="WEIGHT", help="How much they count."
)
@click.option(
    "--landmarks",
    metavar="X,Y,...",
    help="Where both eyes, the nose and both corners of the mouth lie in the generator's pictures, as ten shares of its sides: for --identity.",
)
@click.option("--features", metavar="NET.toml", help="A network whose features shall agree.")
@click.option(
    "--feature-weight", type=float, default=0.1, show_default=True, metavar="WEIGHT", help="How much they count."
)
@click.option(
    "--centre",
    type=float,
    default=1.0,
    show_default=True,
    metavar="SHARE",
    help="Take only this share of the middle of every picture, to frame photos as the generator frames its faces.",
)
@click.option(
    "--slots", type=click.IntRange(min=1), metavar="N", help="Images at once.  [default: as many as fit and pay]"
)
@click.option("--amp", is_flag=True, help="Run the networks in bfloat16.")
@click.option("--compile", "compiled", is_flag=True, help="Pass the generator through torch.compile.")
@shard_images_option
@device_option()
@seed_option("Of starting points and training.")
@trust_option
@click.option("--dry-run", is_flag=True, help="Open everything, measure for a moment, predict, write nothing.")
@source_options
@ray_option
@target_options
@talk_options
def latent(generator: str, images: tuple[str, ...], out: str, **given: Any) -> int:
    """Search the latent that makes each of IMAGES, many at once; write OUT with latents and reconstructions.

    \b
    scanner invert latent gen.toml photos/ inverted --encoder train
    scanner invert latent gen.toml 'generated:gen.toml?n=100' inverted --restarts 8 --device cuda
    scanner scan 'inverted/reconstructions-*.tar' --against people.idx --out run
    """
    from scanner.jobs.inverting.estimate import estimate
    from scanner.jobs.inverting.latent import invert_latent
    from scanner.jobs.inverting.options import InvertOptions
    from scanner.jobs.ray_workers import ray_workers

    quiet, sources = quiet_value(given), source_values(given)
    given.pop("embedded_by")
    resume, force, is_dry = given.pop("resume"), given.pop("force"), given.pop("dry_run")
    ray = given.pop("ray")
    options = InvertOptions(
        landmarks=parse_landmarks(given.pop("landmarks")), trusted=tuple(given.pop("trust")), **given
    )
    if is_dry:
        found = estimate(generator, images, options=options, sources=sources)
        say(found.sentence(), quiet=quiet)
        answer({"dry_run": True, **asdict(found)})
        return EXIT_DONE
    with talk(quiet=quiet) as progress, ray_workers(ray, progress) as workers:
        result = invert_latent(
            generator, images, out, options=options, sources=sources, resume=resume, force=force, workers=workers,
            progress=progress,
        )  # fmt: skip
    counts = result.counts
    say(
        f"{tell_inversions(counts, f'inverted ({listed(counts.statuses)})')}\n"
        f"{result.path}: relative image error {result.summary['relative_error']['median']:.4f} (median)",
        quiet=quiet,
    )
    answer({"out": str(result.path), "counts": asdict(counts), "summary": result.summary})
    return exit_code(counts)
