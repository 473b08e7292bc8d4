"""Test an exported demo embedder, and write its card and its training record."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from tools.demo_embedder_net import INPUT_NAME, OUTPUT_NAME
from tools.demo_embedder_score import accept_rates, rank_one, unit_rows

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_BATCH = 64
_ROUNDS = 8


def measure(onnx_path: Path, tested: NDArray[np.uint8], wide: NDArray[np.uint8]) -> dict[str, object]:
    """Test an exported network on people it never saw, and time it on one core.

    Args:
        onnx_path: the network, with the halving of its input in front.
        tested: uint8 RGB (people, photos, 56, 56, 3): all pairs give the accept rates.
        wide: the same with 2 photos of many people: the second looks for the first.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    wide_vectors = _embed(session, wide)
    return {
        "accept_rates": [point.as_dict() for point in accept_rates(_embed(session, tested))],
        "rank_one": rank_one(wide_vectors[:, 0], wide_vectors[:, 1]),
        "rank_one_people": len(wide),
        "faces_per_s_one_thread": _pace(session),
    }


def _embed(session: onnxruntime.InferenceSession, halved: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = halved.reshape(-1, *halved.shape[2:])
    vectors = []
    for start in range(0, len(rows), _BATCH):
        # The cache holds halves; doubling each pixel makes crops with the same halves.
        whole = rows[start : start + _BATCH].repeat(2, axis=1).repeat(2, axis=2)
        crops = whole.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1.0
        vectors.append(session.run([OUTPUT_NAME], {INPUT_NAME: crops})[0])
    return unit_rows(np.concatenate(vectors)).reshape(*halved.shape[:2], -1)


def _pace(session: onnxruntime.InferenceSession) -> int:
    crops = np.zeros((_BATCH, 3, 112, 112), dtype=np.float32)
    session.run(None, {INPUT_NAME: crops})
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        session.run(None, {INPUT_NAME: crops})
    return round(_ROUNDS * _BATCH / (time.perf_counter() - began))


def write_card(onnx_path: Path, *, dim: int) -> None:
    """Write the card that tells an embedder how to feed the network, beside it."""
    card = {
        "sha256": hashlib.sha256(onnx_path.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "input_size": [112, 112],
        "channel_order": "RGB",
        "mean": [127.5, 127.5, 127.5],
        "scale": 1 / 127.5,
        "output": OUTPUT_NAME,
        "pooling": None,
        "dim": dim,
    }
    _write_json(onnx_path.with_suffix(".json"), card)


def write_record(onnx_path: Path, facts: dict[str, object]) -> None:
    """Write how the network came to be and how well it does, beside it."""
    _write_json(onnx_path.with_suffix(".training.json"), facts)


def read_record(onnx_path: Path) -> dict[str, object]:
    """Read what `write_record` wrote."""
    record: dict[str, object] = json.loads(onnx_path.with_suffix(".training.json").read_text(encoding="utf-8"))
    return record


def _write_json(path: Path, content: dict[str, object]) -> None:
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
