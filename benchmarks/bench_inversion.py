"""How fast do images become latents, against one image at a time, and how surely?

    python benchmarks/bench_inversion.py --generator GEN.toml --out benchmarks/results/bench_inversion_vae
    python benchmarks/bench_inversion.py --pt2 decoder.pt2 --latent 10 --size 64     # torch and numpy alone
    python benchmarks/bench_inversion.py --builtin --device cuda

The other side is the usual projector: one image, one start at the mean of the law, a fixed number of Adam's steps with the
rate ramp of the StyleGAN2 projector (Karras et al. 2020), our own re-implementation of that recipe without its noise terms
(the generators here have no noise inputs).  Both sides invert the same samples of the generator itself, in one process, in
turns, on the same device with the same number of threads.  `--builtin` builds a convolutional generator in code, so that
a bare machine with a GPU needs no file.

Equal final loss: our images/s are those of the whole run that reached a median loss at or below the projector's.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from scanner.generators.generator import Conventions, Generator, ToImages
from scanner.generators.latents import LatentLaw
from scanner.generators.sample import exact_arithmetic
from scanner.inversion.batch import Evaluator
from scanner.inversion.encoder import EncoderPlan, train_encoder
from scanner.inversion.latent import Account, LatentPlan, Recovered, invert_latents, objective_of

SEED = 11
CLOSE = 0.01


class Builtin(nn.Module):
    """A DCGAN-like decoder, 128 numbers to 64x64, 3.6 M random weights: for rates, not for quality."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.dense = nn.Linear(128, 256 * 16)
        sides = [(256, 256), (256, 128), (128, 64), (64, 3)]
        self.ups = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in sides)
        with torch.no_grad():
            for layer in (self.dense, *self.ups):
                weights = layer.weight
                # Numbers that meet in one output: all of a dense layer's inputs; 2x2 places of each channel for these strides.
                fan = weights.shape[1] if weights.dim() == 2 else 4 * weights.shape[0]
                weights.copy_(torch.randn(weights.shape, generator=random) * (2 / fan) ** 0.5)
                # Not 0: at the mean of the law every unit would stand on its kink, without a gradient.
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=random) * 0.2)

    def forward(self, z: Tensor) -> Tensor:
        """Return images01."""
        x = torch.relu(self.dense(z)).reshape(-1, 256, 4, 4)
        for i, up in enumerate(self.ups):
            x = up(x) if i == 3 else torch.relu(up(x))
        return torch.sigmoid(x)


def open_any(given: argparse.Namespace) -> Generator:
    """Open what was named."""
    device = torch.device(given.device)
    if given.generator:
        from scanner.generators.description import open_generator

        return open_generator(Path(given.generator), device=given.device)
    if given.pt2:
        module: nn.Module = torch.export.load(given.pt2).module()
        name, law, side = Path(given.pt2).stem, LatentLaw(given.latent), given.size
    else:
        module, name, law, side = Builtin(), "builtin", LatentLaw(128), 64
    module = module.to(device).requires_grad_(requires_grad=False)
    clipped, free = (ToImages(module, Conventions(), clip=clip).to(device) for clip in (True, False))
    return Generator(
        name=name, fingerprint="0" * 16, law=law, shape_px=(side, side), module=clipped, unclipped=free, synthesis=clipped,
        unclipped_synthesis=free, mapping=None, differentiable=True, batch_max=None, device=device,
        device_reason="asked", value_range=(0.0, 1.0),
    )  # fmt: skip


def finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def project(generator: Generator, image: Tensor, *, steps: int, rate: float) -> tuple[Tensor, float]:
    """Return latent and loss of one image by the usual recipe: batch 1, a fixed number of steps, the last point.

    Rate ramp: up over the first 5 %, down by half a cosine over the last 25 %.
    """
    z = torch.zeros(1, generator.law.size, device=generator.device, requires_grad=True)
    adam = torch.optim.Adam([z], lr=rate, betas=(0.9, 0.999))
    target = image[None].to(generator.device)
    for step in range(steps):
        t = step / steps
        down = min(1.0, (1.0 - t) / 0.25)
        adam.param_groups[0]["lr"] = rate * (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, t / 0.05)
        loss = (generator.unclipped(z) - target).square().mean()  # what is clipped has no gradient
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
    with torch.no_grad():
        final = (generator.module(z) - target).square().mean()
    return z.detach(), float(final)


def timed(work: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """Return what `work` gives, and its seconds."""
    clock = clock_of(device)
    finish(device)
    started = clock()
    found = work()
    finish(device)
    return found, clock() - started


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return processor seconds for one thread on a CPU, which other work on the machine does not lengthen; else the wall's."""
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def product_rate(device: torch.device) -> float:
    """Return FLOP/s of a float32 matrix product of 2048, the best of a few."""
    a = torch.randn(2048, 2048, device=device)
    best = min(timed(lambda: [a @ a for _ in range(3)], device)[1] for _ in range(4))
    return 3 * 2 * 2048**3 / best


def forward_flops(generator: Generator) -> float:
    """Return FLOPs of one image forward, counted by PyTorch."""
    z = torch.zeros(2, generator.law.size, device=generator.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        generator.unclipped(z)
    return counter.get_total_flops() / 2


def step_rates(generator: Generator, images: Tensor, *, batches: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return image-steps/s (forward, backward, loss) at every batch size, in rounds that take turns."""
    objective = objective_of(generator, LatentPlan())
    found: dict[int, list[float]] = {batch: [] for batch in batches}
    for _ in range(3):
        for batch in batches:
            shown = images[torch.arange(batch) % len(images)].to(generator.device)
            target = {
                **objective.target(shown),
                "label": torch.zeros(batch, dtype=torch.int64, device=generator.device),
            }
            z = torch.randn(batch, generator.law.size, device=generator.device)
            evaluator = Evaluator(objective, piece=batch, account=Account())
            try:
                with exact_arithmetic():
                    evaluator.gradient(z, target)
                    count, spent = 0, 0.0
                    while spent < seconds:
                        spent += timed(
                            lambda e=evaluator, z=z, t=target: [e.gradient(z, t) for _ in range(3)], generator.device
                        )[1]
                        count += 3
            except torch.OutOfMemoryError:
                continue
            found[batch].append(batch * count / spent)
    flops = 2 * forward_flops(generator)
    return [
        {
            "batch": batch,
            "image_steps_per_s": round(statistics.median(rates), 1),
            "gflop_per_s": round(statistics.median(rates) * flops / 1e9, 2),
        }
        for batch, rates in found.items()
        if rates
    ]


def summary(found: list[Recovered], seconds: float, account: Account, same: int) -> dict[str, Any]:
    """Return what a run of ours came to; `..._same` are of the first `same` images, which the projector had as well."""
    errors = torch.tensor([one.relative_error for one in found])
    losses = torch.tensor([one.pixel_mse for one in found])
    return {
        "images": len(found),
        "seconds": round(seconds, 3),
        "images_per_s": round(len(found) / seconds, 3),
        "steps_per_image": round(sum(one.steps for one in found) / len(found), 1),
        "restarts_per_image": round(sum(one.restarts for one in found) / len(found), 2),
        "median_mse": float(losses.median()),
        "mean_mse": float(losses.mean()),
        "median_mse_same": float(losses[:same].median()),
        "mean_mse_same": float(losses[:same].mean()),
        "within_1_percent_same": round(float((errors[:same] <= CLOSE).float().mean()), 4),
        "median_relative_error": round(float(errors.median()), 5),
        "within_1_percent": round(float((errors <= CLOSE).float().mean()), 4),
        "statuses": dict(Counter(one.status for one in found)),
        **account.describe(),
    }


def ours(
    generator: Generator, images: Tensor, plan: LatentPlan, encoder: Any = None, *, same: int | None = None
) -> dict[str, Any]:
    """Invert all images with our road; its starting images are part of its time."""
    account = Account()
    found, seconds = timed(
        lambda: list(invert_latents(generator, iter(images), plan=plan, encoder=encoder, account=account)),
        generator.device,
    )
    return summary(found, seconds, account, same or len(found))


def against_the_loop(
    generator: Generator, images: Tensor, given: argparse.Namespace, encoder: Any
) -> list[dict[str, Any]]:
    """Compare with the projector at several lengths: equal steps; and equal final loss, without and with a learned start."""
    rows = []
    for steps in given.projector_steps:
        chosen = images[: given.projector_images]
        results, loop_s = timed(
            lambda s=steps, c=chosen: [project(generator, i, steps=s, rate=given.rate) for i in c], generator.device
        )
        losses = torch.tensor([loss for _, loss in results])
        loop_rate = len(chosen) / loop_s
        same = LatentPlan(
            method="adam", restarts=1, draws=0, steps_max=steps, rate=given.rate, tolerance=0.0, patience=10**9,
            slots=given.slots,
        )  # fmt: skip
        count = max(given.equal_steps_images, len(chosen))
        mean = torch.zeros(generator.law.size, device=generator.device)  # where the projector begins
        equal_steps = ours(generator, images[:count], same, lambda x, z=mean: z.expand(len(x), -1), same=len(chosen))
        norms = images.flatten(1).norm(dim=1) / images[0].numel() ** 0.5
        errors = losses.sqrt() / norms[: len(chosen)]
        row = {
            "projector_steps": steps,
            "projector": {
                "images": len(chosen), "images_per_s": round(loop_rate, 4), "image_steps_per_s": round(loop_rate * steps, 1),
                "median_mse": float(losses.median()), "mean_mse": float(losses.mean()),
                "within_1_percent": round(float((errors <= CLOSE).float().mean()), 4),
            },
            "equal_steps": equal_steps,
            "ratio_at_equal_steps": round(equal_steps["images_per_s"] / loop_rate, 2),
        }  # fmt: skip
        # Every image is brought below the projector's median error, relative to its own norm.
        wanted = 0.9 * float(errors.median())
        for name, guess in (("no_learned_start", None), ("learned_start", encoder)):
            if name == "learned_start" and encoder is None:
                continue
            plan = LatentPlan(
                restarts=given.restarts,
                draws=given.draws,
                tolerance=wanted,
                steps_max=given.steps_max,
                slots=given.slots,
            )
            run = ours(generator, images, plan, guess, same=len(chosen))
            for which in ("median_mse", "mean_mse"):
                run[f"is_{which}_equal_or_lower"] = run[f"{which}_same"] <= row["projector"][which]
            row[name] = run
            row[f"ratio_{name}"] = round(run["images_per_s"] / loop_rate, 2)
        rows.append(row)
        print(
            json.dumps({k: row[k] for k in row if k.startswith("ratio") or k == "projector"}),
            file=sys.stderr,
            flush=True,
        )
    return rows


def recovery(generator: Generator, images: Tensor, given: argparse.Namespace, encoder: Any) -> dict[str, Any]:
    """Return how many of the generator's own images are made again within 1 %."""
    rows = {}
    for name, guess in (("no_learned_start", None), ("learned_start", encoder)):
        if name == "learned_start" and encoder is None:
            continue
        plan = LatentPlan(
            restarts=given.recovery_restarts,
            draws=given.recovery_draws,
            tolerance=CLOSE / 2,
            steps_max=given.steps_max,
            slots=given.slots,
        )
        rows[name] = ours(generator, images, plan, guess)
        print(json.dumps({name: rows[name]}), file=sys.stderr, flush=True)
    return rows


def page(document: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    m = document["machine"]
    lines = [
        f"# Images to latents: {document['generator']}",
        "",
        f"{m['device']}, {m['cpu']}, {m['threads']} threads of {m['cores']} cores, {m['clock']}, load {m['load_1min']} at the start and "
        f"{document['load_1min_after']} at the end; torch {m['torch']}. All ratios are of this run.",
        f"One step of one image (forward and backward) is {document['mflop_per_image_step']} MFLOP; a float32 matrix product runs at "
        f"{document['product_gflop_per_s']} GFLOP/s here, so {document['image_steps_per_s_at_product_rate']} image-steps/s is the limit.",
        "",
        "| batch | image-steps/s | GFLOP/s | of the product's rate |",
        "|---|---|---|---|",
        *(
            f"| {r['batch']} | {r['image_steps_per_s']} | {r['gflop_per_s']} | {r['of_product_rate']:.0%} |"
            for r in document["step_rates"]
        ),
        "",
        f"Encoder trained in {document['encoder_s']} s on the generator's own samples; that time is not in the rates below.",
        "",
        "| samples made again | within 1 % | median error | steps an image | restarts | slots full | images/s |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} ({r['images']}) | {r['within_1_percent']:.1%} | {r['median_relative_error']:.2%} | {r['steps_per_image']} "
            f"| {r['restarts_per_image']} | {r['utilisation']:.0%} | {r['images_per_s']} |"
            for name, r in (document["recovery"] or {}).items()
        ),
        "",
        "Losses and shares below are of the same images for both sides.",
        "",
        "| against one image at a time | images/s | x loop | median MSE | mean MSE | within 1 % | steps an image |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["against_the_loop"]:
        loop, steps = row["projector"], row["projector_steps"]
        figures = f"{loop['median_mse']:.2e} | {loop['mean_mse']:.2e} | {loop['within_1_percent']:.0%} | {steps}"
        lines.append(f"| projector, {steps} steps, {loop['images']} images | {loop['images_per_s']} | 1 | {figures} |")
        for name in ("equal_steps", "no_learned_start", "learned_start"):
            if name in row:
                ratio, r = row["ratio_at_equal_steps" if name == "equal_steps" else f"ratio_{name}"], row[name]
                figures = f"{r['median_mse_same']:.2e} | {r['mean_mse_same']:.2e} | {r['within_1_percent_same']:.0%}"
                lines.append(
                    f"| ours, {name.replace('_', ' ')} | {r['images_per_s']} | {ratio} | {figures} | {r['steps_per_image']} |"
                )
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--generator", help="GEN.toml")
    which.add_argument("--pt2", help="a torch.export file; with --latent and --size")
    which.add_argument("--builtin", action="store_true")
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--images", type=int)
    parser.add_argument("--projector-images", type=int, default=8)
    parser.add_argument("--equal-steps-images", type=int)
    parser.add_argument("--projector-steps", type=int, nargs="*", default=[200, 1000])
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--draws", type=int, default=1024)
    parser.add_argument("--recovery-images", type=int)
    parser.add_argument("--recovery-restarts", type=int, default=8)
    parser.add_argument("--recovery-draws", type=int, default=4096)
    parser.add_argument("--steps-max", type=int, default=300)
    parser.add_argument("--slots", type=int)
    parser.add_argument("--encoder-steps", type=int, default=1500)
    parser.add_argument("--batches", type=int, nargs="*")
    parser.add_argument("--seconds", type=float, default=1.0, help="per batch size and round")
    parser.add_argument("--out", type=Path, help="results go to OUT.json")
    given = parser.parse_args()
    is_cuda = given.device == "cuda"
    sizes = {"images": (256, 2048), "equal_steps_images": (64, 2048), "recovery_images": (512, 2048)}
    for name, (on_cpu, on_cuda) in sizes.items():
        if getattr(given, name) is None:
            setattr(given, name, on_cuda if is_cuda else on_cpu)
    given.batches = given.batches or [2**k for k in range(13 if is_cuda else 9)]
    return given


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a reader must know; from the standard library and torch alone."""
    cpu = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu[0] if cpu else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "clock": "processor time" if clock_of(device) is time.process_time else "wall time",
        "load_1min": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
    }


def main() -> None:
    """Measure, print, and keep what was asked for."""
    given = parse()
    if given.threads:
        torch.set_num_threads(given.threads)
    generator = open_any(given)
    device = generator.device
    count = max(given.images, given.recovery_images)
    drawn = generator.law.draw(SEED, 0, count)
    with torch.no_grad():
        parts = [generator.images(torch.from_numpy(drawn.values[at : at + 64])).cpu() for at in range(0, count, 64)]
    samples = torch.cat(parts)
    before = machine(device)
    rate, flops = product_rate(device), 2 * forward_flops(generator)
    rates = step_rates(generator, samples, batches=given.batches, seconds=given.seconds)
    for row in rates:
        row["of_product_rate"] = round(row["gflop_per_s"] * 1e9 / rate, 3)
        print(json.dumps(row), file=sys.stderr, flush=True)
    encoder, encoder_s = None, 0.0
    if given.encoder_steps:
        encoder, encoder_s = timed(
            lambda: train_encoder(generator, plan=EncoderPlan(steps=given.encoder_steps)), device
        )
        print(f"encoder: {encoder_s:.1f} s", file=sys.stderr, flush=True)
    document = {
        "generator": generator.name,
        "machine": before,
        "load_1min_after": None,
        "options": {k: v for k, v in vars(given).items() if k not in ("out", "generator", "pt2")},
        "mflop_per_image_step": round(flops / 1e6, 2),
        "product_gflop_per_s": round(rate / 1e9, 1),
        "image_steps_per_s_at_product_rate": round(rate / flops, 1),
        "step_rates": rates,
        "encoder_s": round(encoder_s, 1),
        "recovery": recovery(generator, samples[: given.recovery_images], given, encoder)
        if given.recovery_images
        else None,
        "against_the_loop": against_the_loop(generator, samples[: given.images], given, encoder),
    }
    document["load_1min_after"] = round(os.getloadavg()[0], 2)
    text = json.dumps(document, indent=2, sort_keys=True)
    if given.out:
        given.out.with_suffix(".json").write_text(text + "\n")
        given.out.with_suffix(".md").write_text(page(document))
    print(json.dumps(document, sort_keys=True))


if __name__ == "__main__":
    main()
