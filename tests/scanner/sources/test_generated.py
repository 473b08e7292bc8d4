"""A generator as a source: what every source promises, and what can be wrong with its name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.errors import ModelError, UsageError
from scanner.images import decode_rgb
from scanner.records import Item, Reason, Reject
from scanner.sources import ChainedSource, open_source, open_sources
from scanner.sources.generated import GeneratedSource, parse_spec

sys.path.insert(0, str(Path(__file__).parent.parent / "jobs"))

from small_gen import pictures, write_generator


@pytest.fixture(scope="module")
def gen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("gen"))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("poisoned"), limit=1.2)


def test_it_hands_over_the_images_of_the_seed(gen) -> None:
    source = open_source(f"generated:{gen}?n=70&seed=5")

    entries = list(source.entries())

    assert isinstance(source, GeneratedSource)
    assert source.count() == len(entries) == 70
    assert [entry.uri for entry in entries[:2]] == ["generated:sketch?seed=5#000000", "generated:sketch?seed=5#000001"]
    assert len({entry.uri for entry in entries}) == 70
    assert {entry.identity for entry in entries} == {None}
    for entry, expected in zip(entries, pictures(70, seed=5), strict=True):
        assert abs(decode_rgb(entry.data).astype(int) - expected).max() <= 1


def test_skipping_is_slicing_and_more_images_change_none(gen) -> None:
    entries = list(open_source(f"generated:{gen}?n=140&seed=1").entries())

    for count in (1, 63, 64, 65, 140):
        source = open_source(f"generated:{gen}?n={count}&seed=1")
        assert list(source.entries()) == entries[:count]
        for skip in (0, 1, 62, 64, 139, 140, 150):
            assert list(source.entries(skip=skip)) == entries[skip:count]


def test_what_it_says_of_itself_changes_with_what_it_makes(gen, poisoned) -> None:
    first = open_source(f"generated:{gen}?n=7&seed=1").describe()

    assert open_source(f"generated:{gen}?seed=1&n=7&device=cpu").describe() == first
    assert first["entries"] == 7
    others = [f"{gen}?n=8&seed=1", f"{gen}?n=7&seed=2", f"{poisoned}?n=7&seed=1"]
    assert first not in [open_source(f"generated:{other}").describe() for other in others]


def test_images_that_are_none_are_rejects(gen, poisoned) -> None:
    good = list(open_source(f"generated:{gen}?n=130").entries())
    found = list(open_source(f"generated:{poisoned}?n=130").entries())

    rejects = [entry for entry in found if isinstance(entry, Reject)]
    assert 0 < len(rejects) < 65
    assert {(reject.reason, reject.item_id) for reject in rejects} == {(Reason.NOT_FINITE, "")}
    assert [a for a, b in zip(good, found, strict=True) if isinstance(b, Item)] == [
        b for b in found if isinstance(b, Item)
    ]
    assert [a.uri for a in good] == [b.uri for b in found]


def test_it_stands_beside_other_sources(gen) -> None:
    both = open_sources([f"generated:{gen}?n=5&seed=1", f"generated:{gen}?n=4&seed=2"], bytes_max=10_000)

    assert isinstance(both, ChainedSource)
    entries = list(both.entries())
    assert both.count() == len({entry.uri for entry in entries}) == len({entry.item_id for entry in entries}) == 9
    assert list(both.entries(skip=6)) == entries[6:]


def test_the_limit_of_bytes_holds(gen) -> None:
    entries = list(open_source(f"generated:{gen}?n=3", bytes_max=50).entries())

    assert [entry.reason for entry in entries] == [Reason.TOO_LARGE_FILE] * 3


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("generated:", "names no generator"),
        ("generated:?n=3", "names no generator"),
        ("generated:gen.toml", "does not say how many images"),
        ("generated:gen.toml?seed=3", "does not say how many images"),
        ("generated:gen.toml?n=0", "n = '0' is no whole number from 1 on"),
        ("generated:gen.toml?n=-3", "n = '-3'"),
        ("generated:gen.toml?n=3.5", "n = '3.5'"),
        ("generated:gen.toml?n=", "n = ''"),
        ("generated:gen.toml?n=3&seed=-1", "seed = '-1' is no whole number from 0 on"),
        ("generated:gen.toml?n=3&sead=1", "there is no 'sead'. Did you mean 'seed'"),
        ("generated:gen.toml?n=3&x=1", "Known are n, seed, device, trust"),
        ("generated:gen.toml?n=3&n=4", "gives n twice"),
    ],
)
def test_a_wrong_name_is_explained(spec, said) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(spec)

    assert said in str(caught.value)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_spec_or_explained(text: str) -> None:
    try:
        found = parse_spec(f"generated:{text}")
    except UsageError:
        return
    assert found.count >= 1
    assert found.path


def test_what_is_trusted_and_the_device_are_handed_on(tmp_path) -> None:
    assert parse_spec("generated:a/b.toml?n=3&trust=x&device=cuda&trust=y").trusted == ("x", "y")
    with pytest.raises(ModelError, match="cannot be read"):
        open_source(f"generated:{tmp_path}/absent.toml?n=3")
