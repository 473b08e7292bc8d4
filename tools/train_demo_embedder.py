"""Train the demo embedder on drawn people and test it on people it never saw.

    python -m tools.train_demo_embedder --cache /tmp/drawn-faces
    python -m tools.train_demo_embedder --judge --cache /tmp/drawn-faces
    python -m tools.train_demo_embedder --smoke --cache /tmp/c --out /tmp/o

Run from the repository root with torch installed. It draws what the cache lacks, trains
(resuming from a checkpoint in the cache), measures, and writes three files to `--out`:
`drawn-face-128.onnx`, its `.json` card and its `.training.json` record. `--judge` does the
same for `drawn-judge-64.onnx`, a second, narrower network of other first weights: it judges
what is re-created from the first one's features.
World 1 is for training, world 2 for the test, world 3 for watching progress.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tools.demo_embedder_faces import Crowd, drawing_fingerprint, read_crowd
from tools.demo_embedder_net import DemoEmbedder, pair_loss, write_onnx
from tools.demo_embedder_record import measure, read_record, write_card, write_record
from tools.demo_embedder_score import accept_rates, unit_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train and test on, and for how long."""

    train: Crowd
    watch: Crowd
    test: Crowd
    wide: Crowd
    name: str = "drawn-face-128"
    seed: int = 1
    widths: tuple[int, int, int] = (32, 64, 128)
    dim: int = 128
    steps: int = 1500
    people_per_step: int = 128
    crowd_per_cell: int = 4  # people of a step come in groups this large that look alike
    alike_from: float = 0.4  # share of the steps after which groups are formed
    peak_rate: float = 3e-3
    weight_decay: float = 0.02
    scale: float = 20.0
    margin: float = 0.12


FULL = Plan(
    train=Crowd(world_seed=1, people=10_000, photos=6),
    watch=Crowd(world_seed=3, people=200, photos=4),
    test=Crowd(world_seed=2, people=1000, photos=4),
    wide=Crowd(world_seed=2, people=10_000, photos=2),
)
JUDGE = replace(
    FULL,
    train=Crowd(world_seed=1, people=5_000, photos=6),
    name="drawn-judge-64",
    seed=2,
    widths=(24, 48, 64),
    dim=64,
    steps=1000,
)
SMOKE = Plan(
    train=Crowd(1, 40, 3),
    watch=Crowd(3, 10, 2),
    test=Crowd(2, 20, 3),
    wide=Crowd(2, 30, 2),
    widths=(8, 8, 8),
    steps=6,
    people_per_step=16,
)


def main(argv: list[str] | None = None) -> int:
    """Draw, train, export, measure."""
    args = _parser().parse_args(argv)
    plan = SMOKE if args.smoke else JUDGE if args.judge else FULL
    plan = plan if args.steps is None else replace(plan, steps=args.steps)
    torch.set_num_threads(args.threads)
    torch.manual_seed(plan.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{plan.name}.onnx"
    if args.test_only:
        _test(plan, path, read_record(path), args)
        return 0

    faces = read_crowd(plan.train, args.cache, processes=args.processes)
    watched = read_crowd(plan.watch, args.cache, processes=args.processes)
    model, spent_s = train(plan, faces, watched, args.cache / f"{_key(plan)}.pt")

    write_onnx(model.eval(), path)
    write_card(path, dim=plan.dim)
    facts = {"plan": asdict(plan), "training_s": round(spent_s), "trained_on_drawing": drawing_fingerprint()}
    _test(plan, path, facts | {"torch": torch.__version__}, args)
    return 0


def _test(plan: Plan, path: Path, facts: dict[str, object], args: argparse.Namespace) -> None:
    tested, wide = (read_crowd(crowd, args.cache, processes=args.processes) for crowd in (plan.test, plan.wide))
    measured = measure(path, tested, wide)
    write_record(path, facts | {"tested_on_drawing": drawing_fingerprint(), "measured": measured})
    print(json.dumps(measured))


def train(
    plan: Plan, faces: NDArray[np.uint8], watched: NDArray[np.uint8], checkpoint: Path
) -> tuple[DemoEmbedder, float]:
    """Train, or go on from `checkpoint`.

    Args:
        plan: sizes, rates and seed.
        faces: uint8 RGB (people, photos, 56, 56, 3) to learn from.
        watched: the same of other people, for the progress lines only.
        checkpoint: read if it is there, written every 100 steps.

    Returns:
        The network and the seconds spent in all its runs.
    """
    model = DemoEmbedder(plan.widths, dim=plan.dim).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=plan.weight_decay)
    first, spent_s = _resume(checkpoint, model, optimizer)
    began = time.monotonic() - spent_s
    neighbours: NDArray[np.int64] | None = None
    for step in range(first, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = _rate(plan, step)
        # Each step has its own generator, so a resumed run repeats an unbroken one.
        rng = np.random.default_rng([plan.seed, step])
        if step >= plan.alike_from * plan.steps and (neighbours is None or step % 150 == 0):
            neighbours = _look_alikes(model, faces, plan.crowd_per_cell)
        batch = _vary(_choose(plan, faces, neighbours, rng), rng)
        model.train()
        loss = pair_loss(model(batch), scale=plan.scale, margin=plan.margin)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if (step + 1) % 100 == 0 or step + 1 == plan.steps:
            spent_s = time.monotonic() - began
            _write_checkpoint(checkpoint, model, optimizer, step + 1, spent_s)
            rate = accept_rates(_embed(model, watched), (1e-3,))[0].true_accept_rate
            note = f"step {step + 1} loss {loss.item():.3f} watched TAR@1e-3 {rate:.4f}"
            print(f"{note} {spent_s:.0f} s", file=sys.stderr, flush=True)
    return model, spent_s


def _rate(plan: Plan, step: int) -> float:
    """Warm up for the first 6 % of the steps, then follow a half cosine to zero."""
    done = step / plan.steps
    if done < 0.06:
        return plan.peak_rate * (done + 1 / plan.steps) / 0.06
    return plan.peak_rate * 0.5 * (1 + float(np.cos(np.pi * (done - 0.06) / 0.94)))


def _choose(
    plan: Plan,
    faces: NDArray[np.uint8],
    neighbours: NDArray[np.int64] | None,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Choose two photos of each person of a step: uint8 (2 * people_per_step, 56, 56, 3)."""
    people, photos = faces.shape[:2]
    if neighbours is None:
        chosen = rng.choice(people, plan.people_per_step, replace=False)
    else:
        seeds = rng.permutation(people)
        chosen = np.array(list(dict.fromkeys(neighbours[seeds].ravel()))[: plan.people_per_step])
    shots = np.argsort(rng.random((len(chosen), photos)), axis=1)[:, :2]
    return faces[chosen[:, None], shots].reshape(-1, *faces.shape[2:])


def _look_alikes(model: DemoEmbedder, faces: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Find each person's nearest people by their mean vectors: (people, count), self first."""
    vectors = _embed(model, faces[:, :2]).mean(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, 2.0)
    return np.argsort(-scores, axis=1)[:, :count]


def _vary(crops_rgb_u8: NDArray[np.uint8], rng: np.random.Generator) -> torch.Tensor:
    """Vary crops beyond their drawing: shift, colour, a patch hidden. Float32 NCHW, [-1, 1]."""
    n, high, wide, _ = crops_rgb_u8.shape
    padded = np.pad(crops_rgb_u8, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    moved = np.empty_like(crops_rgb_u8)
    for row, (down, across) in enumerate(rng.integers(0, 3, size=(n, 2))):
        moved[row] = padded[row, down : down + high, across : across + wide]
        if rng.random() < 0.2:
            top, left = rng.integers(0, (high - 8, wide - 8))
            tall, broad = rng.integers(6, 18, size=2)
            moved[row, top : top + tall, left : left + broad] = rng.integers(0, 256, size=3)
    batch = moved.astype(np.float32) / 127.5 - 1.0
    gain = np.exp(0.08 * rng.standard_normal((n, 1, 1, 1)) + 0.04 * rng.standard_normal((n, 1, 1, 3)))
    batch = batch * gain.astype(np.float32)
    batch += 0.06 * rng.standard_normal((n, 1, 1, 3), dtype=np.float32)
    return torch.from_numpy(batch).permute(0, 3, 1, 2)


def _embed(model: DemoEmbedder, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embed uint8 (people, photos, 56, 56, 3): unit float32 (people, photos, dim)."""
    people, photos = faces.shape[:2]
    model.eval()
    rows = faces.reshape(-1, *faces.shape[2:])
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            batch = rows[start : start + 256].astype(np.float32) / 127.5 - 1.0
            vectors.append(model(torch.from_numpy(batch).permute(0, 3, 1, 2)).numpy())
    return unit_rows(np.concatenate(vectors)).reshape(people, photos, -1)


def _key(plan: Plan) -> str:
    """Name a checkpoint by plan and drawing: another plan never resumes this one."""
    described = json.dumps(asdict(plan), sort_keys=True) + drawing_fingerprint()
    return f"checkpoint-{hashlib.sha256(described.encode()).hexdigest()[:12]}"


def _write_checkpoint(
    path: Path, model: DemoEmbedder, optimizer: torch.optim.Optimizer, step: int, spent_s: float
) -> None:
    partial = path.with_suffix(".tmp")
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"step": step, "spent_s": spent_s}, partial)
    partial.replace(path)


def _resume(path: Path, model: DemoEmbedder, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), float(state["spent_s"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_demo_embedder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out = _HERE.parent / "scanner" / "world" / "models"
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="drawn crops and checkpoint")
    parser.add_argument(
        "--out", type=Path, default=out, metavar="DIR", help="where the model goes (default: the package)"
    )
    parser.add_argument("--judge", action="store_true", help="train the second network instead")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: the plan's)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="torch threads (default: %(default)s)")
    parser.add_argument(
        "--processes", type=int, default=2, metavar="N", help="drawing processes (default: %(default)s)"
    )
    parser.add_argument("--test-only", action="store_true", help="test the model in --out again, and renew its record")
    parser.add_argument("--smoke", action="store_true", help="a few people and steps: checks the path, not the result")
    return parser


if __name__ == "__main__":
    sys.exit(main())
