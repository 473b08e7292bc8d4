"""The split audit with real recognisers and photos: an exact inverse gives real people away, and relatives may not judge."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent / "scanner" / "audit"))

from split_world import ExactInverse, opened_with

from scanner.audit.split import split_audit
from scanner.errors import EmbedderMismatch
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.inversion.features.store import save_inverse
from scanner.networks.description import open_network
from scanner.progress import Silent

pytestmark = [pytest.mark.real, pytest.mark.slow]
CUTS = ("plus3_o", "fc5_bn_o")


@pytest.fixture
def toml(real: Path, tmp_path: Path) -> Path:
    """mobileface-v2 with an untrained inverse, 60 photos of LFW people."""
    network = open_network(real / "models" / "mobileface-v2.onnx")
    blocks, names = make_blocks(network, CUTS, layers_max=2)
    inverse = Inverse(network, blocks, names, make_modules(blocks, width=0.25, seed=0))
    save_inverse(inverse, tmp_path / "inverse", plan={"at": list(CUTS), "layers_max": 2, "width": 0.25})
    (tmp_path / "audit.toml").write_text(f"""
[embedder]
faces = "detect"
detector = "{real}/models/scrfd_500m_kps.onnx"
[split]
network = "{real}/models/mobileface-v2.onnx"
inverse = "inverse"
photos = "{real}/faces/lfw-dev-{{00..03}}.tar"
judges = ["onnx:{real}/models/face-reid-0095.onnx"]
fmr = [0.01]
max_photos = 60
""")
    return tmp_path / "audit.toml"


def test_real_people_are_recognised_through_an_exact_inverse(toml: Path, tmp_path: Path) -> None:
    found, _ = split_audit(opened_with(toml, ExactInverse), tmp_path / "work", seed=0, progress=Silent())

    assert found["photos"]["people_with_two"] >= 28
    for unit in found["units"]:
        entry = unit["judges"][0]
        assert entry["rates"]["type_1"][entry["headline"]]["value"] == 1.0
        assert entry["rates"]["type_2"]["original"]["value"] > 0.9
        assert unit["own"]["tar"]["value"] > 0.85


def test_the_attacked_recogniser_may_not_judge_itself(toml: Path) -> None:
    toml.write_text(toml.read_text().replace("face-reid-0095", "mobileface-v2"))

    with pytest.raises(EmbedderMismatch, match="is the attacked network mobileface-v2 itself"):
        opened_with(toml, ExactInverse)
