"""Train the demo's inverse of the drawn recogniser: from its features at three depths back to the face, without a photo.

    python -m tools.make_demo_inverse --work /tmp/inverse        # half an hour of one core; resumes from --work

Run from the repository root.  It is what `scanner invert features scanner/world/models/drawn-face-128.onnx` makes, with
the plan below, and with the weights in half precision.  Into `scanner/world/split/inverse` go `inverse.safetensors`
and `inverse.json`.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import asdict
from pathlib import Path

import torch

from scanner.inversion.features.store import save_inverse
from scanner.inversion.features.stream import ProceduralStream
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.description import open_network

WORLD = Path(__file__).resolve().parent.parent / "scanner" / "world"
NETWORK = WORLD / "models" / "drawn-face-128.onnx"
OUT = WORLD / "split" / "inverse"
CUTS = ("block_14_relu", "block_7_relu", "embedding")
PLAN = DciPlan(at=CUTS, steps=1500, batch=16, width=0.5)


def main() -> None:
    """Train, and write in half precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints, outside the repository")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    network = open_network(NETWORK)
    height, width = network.input_shape[1:]
    stream = ProceduralStream((height, width), seed=1)
    began = time.monotonic()
    inverse = train_inverse(
        network,
        stream,
        plan=PLAN,
        work=args.work,
        look=lambda step, _: print(step, round(time.monotonic() - began), flush=True),
    )
    light = copy.copy(inverse)
    light.modules = copy.deepcopy(inverse.modules)
    for weights in light.modules.parameters():
        weights.data = weights.data.half()
    account = {
        "licence": "Apache-2.0",
        "made_by": "python -m tools.make_demo_inverse",
        "network_path": "../../models/drawn-face-128.onnx",
        "stream": stream.describe(),
        "precision": "half",
    }
    save_inverse(light, args.out, plan=asdict(PLAN), account=account)


if __name__ == "__main__":
    main()
