"""`scanner invert features` and `scanner invert apply`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli import EXIT_DONE
from scanner.cli.counts import exit_code, tell_inversions
from scanner.cli.options import (
    device_option,
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


@click.command("features")
@click.argument("network", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", type=click.Path(file_okay=False))
@click.option(
    "--at", multiple=True, metavar="CUT[,CUT...]", help="Where features leak.  [default: the end of every block]"
)
@click.option(
    "--layers-max", type=int, metavar="N", help="Weighted layers in a block, where no cuts are given.  [default: 2]"
)
@click.option("--steps", type=int, metavar="N", help="Steps of the training.  [default: 4000]")
@click.option("--images", type=click.IntRange(min=1), metavar="N", help="The same as images: steps times batch.")
@click.option("--batch", type=int, metavar="N", help="Images in a step.  [default: 32]")
@click.option("--rate", type=float, metavar="RATE", help="Highest learning rate.  [default: 0.003]")
@click.option(
    "--cycle",
    type=float,
    metavar="WEIGHT",
    help="Weight of cycle consistency; 0 leaves it out, as a baseline.  [default: 0.1]",
)
@click.option(
    "--width",
    type=float,
    metavar="X",
    help="Channels of an inverse module, as a multiple of its block's.  [default: 1]",
)
@click.option(
    "--synthesise",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Mix in N images that the network makes up itself.",
)
@click.option(
    "--real",
    multiple=True,
    metavar="SOURCE",
    help="Train with these real images instead: an upper bound, no data-free attack, and the manifest says so.",
)
@device_option()
@seed_option("Of weights and training images.")
@trust_option
@click.option("--dry-run", is_flag=True, help="Open everything, measure a few steps, predict, write nothing.")
@source_options
@target_options
@talk_options
def features(network: str, out: str, **given: Any) -> int:
    """Train the inverse of NETWORK without data: from the features at any cut back to the input, in one pass.

    \b
    scanner invert features resnet20.toml inverse
    scanner invert features recogniser.toml inverse --at plus1_o,plus3_o --steps 20000 --device cuda
    scanner invert features gen.toml inverse                 # a generator: image to latent
    """  # fmt: skip
    from scanner.jobs.inverting.features import estimate_training, invert_features

    quiet, sources = quiet_value(given), source_values(given)
    resume, force, is_dry = given.pop("resume"), given.pop("force"), given.pop("dry_run")
    given.pop("embedded_by")
    options = _options(given)
    if is_dry:
        found = estimate_training(network, options=options, sources=sources)
        say(found.sentence(), quiet=quiet)
        answer({"dry_run": True, **asdict(found)})
        return EXIT_DONE
    with talk(quiet=quiet) as progress:
        result = invert_features(
            network, out, options=options, sources=sources, resume=resume, force=force, progress=progress
        )
    cuts = [entry["name"] for entry in result.manifest["cuts"]]
    say(f"{result.path}: inverse of {result.manifest['network']['name']} at {', '.join(cuts)}", quiet=quiet)
    answer(
        {"out": str(result.path), "cuts": cuts, "data": result.manifest["data"], "stream": result.manifest["stream"]}
    )
    return EXIT_DONE


def _options(given: dict[str, Any]) -> Any:
    """Return the training's options; cuts may stand in one word with commas."""
    from scanner.errors import UsageError
    from scanner.jobs.inverting.feature_inputs import FeatureOptions, default_batch

    at = tuple(name.strip() for word in given.pop("at") for name in word.split(",") if name.strip())
    images = given.pop("images")
    if images is not None:
        if given["steps"] is not None:
            raise UsageError("--images and --steps say the same in two ways: pass one of them.")
        given["steps"] = max(1, round(images / max(1, given["batch"] or default_batch())))
    return FeatureOptions(at=at, real=tuple(given.pop("real")), trusted=tuple(given.pop("trust")), **given)


@click.command("apply")
@click.argument("inverse", type=click.Path(exists=True, file_okay=False))
@click.argument("images", nargs=-1, required=True)
@click.argument("out", type=click.Path(file_okay=False))
@click.option("--at", "cut", metavar="CUT", help="Where the features are taken.  [default: the deepest cut]")
@click.option(
    "--network",
    type=click.Path(exists=True, dir_okay=False),
    metavar="NET.toml",
    help="The network, where it is no longer at the path that the inverse remembers.",
)
@shard_images_option
@device_option()
@trust_option
@source_options
@ray_option
@target_options
@talk_options
def apply(inverse: str, images: tuple[str, ...], out: str, **given: Any) -> int:
    """Send IMAGES through the network up to a cut, and re-create them from what is there.

    \b
    scanner invert apply inverse photos/ recreated --at layer2.0
    scanner scan 'recreated/reconstructions-*.tar' --against people.idx --out run
    """  # fmt: skip
    from scanner.jobs.inverting.apply import apply_inverse
    from scanner.jobs.ray_workers import ray_workers

    quiet, sources = quiet_value(given), source_values(given)
    given.pop("embedded_by")
    with talk(quiet=quiet) as progress, ray_workers(given.pop("ray"), progress) as workers:
        result = apply_inverse(
            inverse, images, out, sources=sources, trusted=tuple(given.pop("trust")), workers=workers, progress=progress,
            **given,
        )  # fmt: skip
    say(
        f"{tell_inversions(result.counts, 're-created')}\n"
        f"{result.path}: PSNR {result.summary['psnr_db']['median']:.2f} dB (median)",
        quiet=quiet,
    )
    answer({"out": str(result.path), "counts": asdict(result.counts), "summary": result.summary})
    return exit_code(result.counts)
