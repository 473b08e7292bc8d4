"""GEN.toml: what it may say, what it may not, and what makes two generators different ones."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from scanner.errors import ModelError
from scanner.generators.description import open_generator, read_generator
from scanner.networks.tensors import write_tensors

sys.path.insert(0, str(Path(__file__).parent.parent / "jobs"))

from small_gen import write_generator

SHIPPED = Path(__file__).parents[3] / "scanner" / "world" / "generators"


@pytest.fixture(scope="module")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("sketch"))


def described(sketch: Path, tmp_path: Path, text: str, *, name: str = "gen.toml") -> Path:
    shutil.copy(sketch.with_suffix(".pt2"), tmp_path / "sketch.pt2")
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_the_shortest_description_and_the_same_as_json(sketch, tmp_path) -> None:
    document = {"generator": {"weights": "sketch.pt2"}, "latent": {"size": 4}}
    as_json = described(sketch, tmp_path, json.dumps(document), name="gen.json")

    short, same = open_generator(sketch, device="cpu"), open_generator(as_json, device="cpu")

    assert (short.name, short.shape_px, short.law.law) == ("sketch", (16, 16), "normal")
    assert short.fingerprint == same.fingerprint
    assert len(short.fingerprint) == 16
    assert "tmp" not in json.dumps(short.facts)


def test_every_problem_is_listed_with_its_key(sketch, tmp_path) -> None:
    path = described(
        sketch, tmp_path,
        '[generator]\nweight = "sketch.pt2"\n[latent]\nsize = 0\nlaw = "gauss"\n[output]\nrange = [1.0, 0.0]\n[outputs]\nx = 1\n',
    )  # fmt: skip

    with pytest.raises(ModelError) as caught:
        read_generator(path)

    lines = str(caught.value).splitlines()
    assert "has 6 problems" in lines[0]
    assert "  generator.weight: unknown key. Did you mean 'weights'?" in lines
    assert "  generator.weights: missing" in lines
    assert any(line.startswith("  latent.size: ") for line in lines)
    assert any("'normal', 'uniform' or 'truncated', got 'gauss'" in line for line in lines)
    assert any("range does not rise" in line for line in lines)
    assert "  outputs: unknown key. Did you mean 'output'?" in lines


def test_truncation_and_its_law_belong_together(sketch, tmp_path) -> None:
    path = described(sketch, tmp_path, '[generator]\nweights = "sketch.pt2"\n[latent]\nsize = 4\ntruncation = 0.7\n')

    with pytest.raises(ModelError, match='latent: truncation belongs to law = "truncated"'):
        read_generator(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gen.toml", b"[generator\n", "is no TOML"),
        ("gen.json", b"{", "is no JSON"),
        ("gen.toml", b"\xff\xfe", "is no TOML"),
        ("net.pt2", b"PK", "nothing says what its latents are"),
    ],
)
def test_what_is_no_description_is_refused(name, content, said, tmp_path) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ModelError, match=said):
        read_generator(tmp_path / name)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_generator(tmp_path / "absent.toml")


def test_other_weights_than_described_are_refused(sketch, tmp_path) -> None:
    text = f'[generator]\nweights = "sketch.pt2"\nsha256 = "{"0" * 64}"\n[latent]\nsize = 4\n'

    with pytest.raises(ModelError, match="other weights than were described"):
        open_generator(described(sketch, tmp_path, text), device="cpu")
    (tmp_path / "sketch.pt2").unlink()
    with pytest.raises(ModelError, match="Check the path of the weights"):
        open_generator(tmp_path / "gen.toml", device="cpu")


def test_the_fingerprint_is_of_all_that_changes_an_image_and_of_nothing_else(sketch, tmp_path) -> None:
    base = '[generator]\nweights = "sketch.pt2"\n{}[latent]\nsize = 4\n{}[output]\nrange = [0.0, {}]\n{}'
    variants = [
        ("", "", "1.0", ""), ("", 'law = "uniform"\n', "1.0", ""), ("", 'law = "truncated"\ntruncation = 0.5\n', "1.0", ""),
        ("", 'law = "truncated"\ntruncation = 0.6\n', "1.0", ""), ("", "", "1.1", ""), ("", "", "1.0", 'channel_order = "BGR"\n'),
    ]  # fmt: skip

    def fingerprint(variant):
        return open_generator(described(sketch, tmp_path, base.format(*variant)), device="cpu").fingerprint

    prints = [fingerprint(variant) for variant in variants]
    assert len(set(prints)) == len(variants)
    assert fingerprint(('name = "another"\n', "", "1.0", "")) == prints[0]


def test_a_pickle_is_refused_and_not_run(tmp_path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "weights.pt")
    (tmp_path / "gen.toml").write_text('[generator]\nweights = "weights.pt"\n[latent]\nsize = 2\n')

    with pytest.raises(ModelError, match="pickle"):
        open_generator(tmp_path / "gen.toml", device="cpu")


def test_a_factory_runs_only_when_its_package_is_trusted(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_nets.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef make():\n"
        "    return nn.Sequential(nn.Linear(3, 48), nn.Sigmoid(), nn.Unflatten(1, (3, 4, 4)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    net = nn.Sequential(nn.Linear(3, 48), nn.Sigmoid(), nn.Unflatten(1, (3, 4, 4)))
    write_tensors(tmp_path / "net.safetensors", dict(net.state_dict()), {})
    (tmp_path / "gen.toml").write_text(
        '[generator]\nweights = "net.safetensors"\nfactory = "my_nets:make"\n[latent]\nsize = 3\n'
    )

    with pytest.raises(ModelError, match="--trust my_nets"):
        open_generator(tmp_path / "gen.toml", device="cpu")
    assert "my_nets" not in sys.modules
    generator = open_generator(tmp_path / "gen.toml", device="cpu", trusted=["my_nets"])

    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(generator.images(z), net(z).detach())
    sys.modules.pop("my_nets")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_there_is_an_error(sketch) -> None:
    with pytest.raises(ModelError, match="--device cuda was asked for") as caught:
        open_generator(sketch, device="cuda")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["leaking", "innocent"])
def test_the_shipped_generators_open(name: str) -> None:
    generator = open_generator(SHIPPED / f"{name}.toml", device="cpu")

    assert (generator.name, generator.shape_px, generator.notes) == (name, (40, 40), ())
    assert generator.differentiable
    assert generator.network is not None
    assert generator.mapping is not None
