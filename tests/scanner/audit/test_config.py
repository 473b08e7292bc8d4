"""AUDIT.toml: every key, every problem at once, with the nearest right name."""

from pathlib import Path

import pytest

from scanner.audit.config import place_of, read_config
from scanner.audit.recovery_config import RecoverySection
from scanner.errors import UsageError
from scanner.evidence.gate import Policy

SMALL = """
[people]
members = "m.tar"
non_members = "n.tar"
[[generator]]
name = "g"
samples = "s.tar"
"""
WHOLE = """
[audit]
seed = 7
[embedder]
spec = "drawn"
faces = "aligned"
detector = "det.onnx"
device = "cpu"
embedded_by = "net"
used_by_generator = true
[people]
members = "m.tar"
non_members = "n.idx"
identity_from = "folder"
photos = 2
[[generator]]
name = "glo-20"
samples = "s3://bucket/s.tar"
members = "m2.tar"
reference = "r.tar"
training = "t.tar"
shares = "shares.csv"
identities = 20
step = 1.5
model = "gen.toml"
reference_model = "ref.toml"
[[generator]]
name = "glo-50"
samples = "/s.tar"
[attack]
k = 3
folds = 4
[sweep]
samples = [100, 300]
photos = [1, 2]
[gate]
leak_rate_max = 0.02
confidence = 0.9
fpr = 0.05
power_min = 0.7
[recovery]
images_max = 50
restarts = 3
steps = 100
space = "w"
encoder = true
centre = 0.6
scan = true
seed = 5
"""


def written(folder: Path, text: str) -> Path:
    (folder / "audit.toml").write_text(text)
    return folder / "audit.toml"


def test_every_key_is_read(tmp_path: Path):
    config = read_config(written(tmp_path, WHOLE))

    assert config.audit.seed == 7
    faces = config.faces(tmp_path)
    assert (faces.embedder, faces.faces, faces.device) == ("drawn", "aligned", "cpu")
    assert faces.detector == str(tmp_path / "det.onnx")
    assert config.sources().identity_from == "folder"
    assert config.people.photos == 2
    assert [generator.name for generator in config.generator] == ["glo-20", "glo-50"]
    assert config.generator[0].model_dump() == {
        "name": "glo-20", "samples": "s3://bucket/s.tar", "members": "m2.tar", "reference": "r.tar", "training": "t.tar",
        "shares": "shares.csv", "identities": 20, "step": 1.5, "model": "gen.toml", "reference_model": "ref.toml",
    }  # fmt: skip
    assert (config.attack.k, config.attack.folds) == (3, 4)
    assert (config.sweep.samples, config.sweep.photos) == ((100, 300), (1, 2))
    assert config.gate is not None
    assert config.gate.policy() == Policy(0.02, 0.9, 0.05, 0.7)
    assert config.recovery == RecoverySection(
        images_max=50, restarts=3, steps=100, space="w", encoder=True, centre=0.6, scan=True, seed=5
    )


def test_what_is_left_out_has_the_documented_defaults(tmp_path: Path):
    config = read_config(written(tmp_path, SMALL))

    assert (config.audit.seed, config.attack.k, config.attack.folds) == (0, 5, 5)
    assert (config.people.identity_from, config.people.photos, config.gate) == ("labels", None, None)
    assert read_config(written(tmp_path, SMALL + "[gate]\nleak_rate_max = 0.01")).gate.policy() == Policy(0.01)


def test_paths_are_relative_to_the_file(tmp_path: Path):
    assert place_of("a/b.tar", tmp_path) == str(tmp_path / "a/b.tar")
    assert place_of("/a/b.tar", tmp_path) == "/a/b.tar"
    assert place_of("s3://a/b.tar", tmp_path) == "s3://a/b.tar"
    assert place_of("generated:gen.toml?n=30", tmp_path) == f"generated:{tmp_path}/gen.toml?n=30"
    assert place_of("generated:/a/gen.toml?n=30", tmp_path) == "generated:/a/gen.toml?n=30"


def test_all_problems_are_listed_at_once(tmp_path: Path):
    text = """
[audit]
sed = 3
[embeder]
spec = "drawn"
[embedder]
faces = "alined"
[people]
members = "m.tar"
[[generator]]
name = "a b"
sample = "x"
[[generator]]
name = "g"
samples = "x"
[attack]
k = "five"
[gate]
leak_rate_max = 2
"""

    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, text))

    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'audit.toml'} has 9 problems:",
        "  audit.sed: unknown key. Did you mean 'seed'?",
        "  embedder.faces: input should be 'detect', 'aligned' or 'whole', got 'alined'. Did you mean 'aligned'?",
        "  people.non_members: missing",
        "  generator[1].name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$', got 'a b'",
        "  generator[1].samples: missing",
        "  generator[1].sample: unknown key. Did you mean 'samples'?",
        "  attack.k: input should be a valid integer, unable to parse string as an integer, got 'five'",
        "  gate.leak_rate_max: input should be less than 1, got 2",
        "  embeder: unknown key. Did you mean 'embedder'?",
        "Nothing was done. Mend the file and try again.",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            SMALL.replace("[[generator]]", "[generator]"),
            "generator: write it as [[generator]], once for each generator",
        ),
        (SMALL.partition("[[")[0], "generator: missing"),
        (SMALL + '[[generator]]\nname = "g"\nsamples = "t.tar"', "generator: two generators are called g: give each"),
        ("[people", "is no TOML"),
        (
            SMALL + "[zzz]",
            "zzz: unknown key. Known here: audit, embedder, people, generator, attack, sweep, gate, recovery",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str, tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, text))

    assert why in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "audit.toml")


def test_the_hash_is_of_the_meaning_not_of_the_layout(tmp_path: Path):
    small = read_config(written(tmp_path, SMALL)).sha256()

    assert read_config(written(tmp_path, "# a note\n" + SMALL + "[attack]\nk = 5\n")).sha256() == small
    assert read_config(written(tmp_path, SMALL + "[attack]\nk = 6\n")).sha256() != small
