"""`[split]`: alone or beside generators, every key, every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner.audit.check import sources_of
from scanner.audit.config import read_config
from scanner.audit.split_config import DefenceSection, SplitSection
from scanner.errors import UsageError

SPLIT = '[split]\nnetwork = "n.toml"\ninverse = "inv"\nphotos = "p.tar"\njudges = ["drawn"]\n'
PEOPLE = '[people]\nmembers = "m.tar"\nnon_members = "n.tar"\n[[generator]]\nname = "g"\nsamples = "s.tar"\n'


def read(folder: Path, text: str):
    (folder / "audit.toml").write_text(text)
    return read_config(folder / "audit.toml")


def test_split_stands_alone_or_beside_generators(tmp_path: Path) -> None:
    alone, both = read(tmp_path, SPLIT), read(tmp_path, PEOPLE + SPLIT)

    assert alone.split is not None
    assert alone.split == both.split == SplitSection(network="n.toml", inverse="inv", photos="p.tar", judges=("drawn",))
    assert alone.document()["people"] is None
    assert (alone.generator, sources_of(alone)) == ((), [])
    assert sources_of(both) == ["m.tar", "n.tar", "s.tar"]
    assert alone.sha256() != both.sha256()


def test_defences_and_gate_are_read(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        SPLIT + 'fmr = [1e-3]\ncuts = ["a", "b"]\nmatch_rate_max = 0.05\ngate_cuts = ["b"]\nconfidence = 0.9\n'
        '[[split.defence]]\nkind = "quantise"\nvalues = [4, 8]\n',
    )

    assert config.split is not None
    assert config.split.defence == (DefenceSection(kind="quantise", values=(4.0, 8.0)),)
    assert (config.split.match_rate_max, config.split.gate_cuts, config.split.confidence) == (0.05, ("b",), 0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[split]\nnetwork = "n"\ninverse = "i"\n', "split.photos: missing"),
        (SPLIT + "fmrs = [0.1]\n", r"split.fmrs: unknown key. Did you mean 'fmr'\?"),
        (SPLIT + "fmr = [0.0]\n", r"split.fmr\[1\]: input should be greater than 0"),
        (SPLIT + "fmr = [0.1, 0.1]\n", "0.1 stands there twice"),
        (SPLIT + '[[split.defence]]\nkind = "noise"\nvalues = [-1]\n', "values of noise are above 0 .* got -1"),
        (
            SPLIT + '[[split.defence]]\nkind = "quantise"\nvalues = [2.5]\n',
            "whole numbers of bits from 1 to 16, got 2.5",
        ),
        (SPLIT + '[[split.defence]]\nkind = "drop"\nvalues = [1]\n', "shares between 0 and 1, got 1"),
        (SPLIT.replace('"drawn"', "") + "match_rate_max = 0.1\n", "there is no judge: name judges"),
        (SPLIT + 'gate_cuts = ["a"]\n', "gate_cuts is for the gate, and there is none"),
        (
            SPLIT + 'cuts = ["a"]\nmatch_rate_max = 0.1\ngate_cuts = ["b"]\n',
            "gate_cuts names b, which is not among cuts",
        ),
        (SPLIT + "[gate]\nleak_rate_max = 0.1\n", "split. has match_rate_max for its gate"),
        ("[audit]\nseed = 1\n", "people: missing"),
        (PEOPLE.partition("[[")[0] + "generator = []\n" + SPLIT, "generator"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)
