"""TOML and JSON that people write: read into models, or refused with every problem as a line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import PositiveInt, ValidationError, model_validator

from scanner.documents import Section, parse_document, read_document
from scanner.errors import ModelError


class Wheel(Section):
    spokes: PositiveInt
    tyre: Literal["slick", "knobby"] = "slick"


class Brake(Section):
    kind: str = "rim"
    force: float | tuple[float, float] = 1.0


class Bicycle(Section):
    brake: Brake | None = None
    wheel: tuple[Wheel, ...] = ()

    @model_validator(mode="after")
    def _rolls(self) -> Bicycle:
        if len(self.wheel) > 3:
            raise ValueError("[[wheel]] stands there too often: three at most")
        return self


def read(folder: Path, text: str, *, name: str = "bicycle.toml") -> Bicycle:
    (folder / name).write_text(text, "utf-8")
    return read_document(folder / name, Bicycle, error=ModelError, described_in="docs/bicycles.md")


def refused(folder: Path, text: str, *, name: str = "bicycle.toml") -> list[str]:
    with pytest.raises(ModelError) as caught:
        read(folder, text, name=name)
    return str(caught.value).replace(str(folder / name), "FILE").splitlines()


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml = '[brake]\nkind = "disc"\nforce = [1, 2]\n[[wheel]]\nspokes = 28\n'
    json = '{"brake": {"kind": "disc", "force": [1, 2]}, "wheel": [{"spokes": 28}]}'

    assert read(tmp_path, toml) == read(tmp_path, json, name="bicycle.JSON")
    assert parse_document(tmp_path / "bicycle.toml") == parse_document(tmp_path / "bicycle.JSON")


def test_a_section_stays_as_it_was_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(tmp_path, "").brake = None  # type: ignore[misc]


def test_every_problem_is_a_line_with_its_key(tmp_path: Path) -> None:
    text = (
        '[brake]\nkid = "disc"\nforce = [1, nan]\n[[wheel]]\nspokes = 0\ntyre = "slik"\n[[wheel]]\nrim = 3\n[saddle]\n'
    )

    assert refused(tmp_path, text) == [
        "FILE has 8 problems:",
        "  brake.force: input should be a valid number",
        "  brake.force[2]: input should be a finite number, got nan",
        "  brake.kid: unknown key. Did you mean 'kind'?",
        "  wheel[1].spokes: input should be greater than 0, got 0",
        "  wheel[1].tyre: input should be 'slick' or 'knobby', got 'slik'. Did you mean 'slick'?",
        "  wheel[2].spokes: missing",
        "  wheel[2].rim: unknown key. Known here: spokes, tyre.",
        "  saddle: unknown key. Known here: brake, wheel.",
        "Mend the file and try again.",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[wheel]\nspokes = 28\n", "  wheel: write it as [[wheel]], once for each wheel"),
        ("[[wheel]]\nspokes = 28\n" * 4, "  [[wheel]] stands there too often: three at most"),
    ],
)
def test_a_single_problem_is_one(tmp_path: Path, text: str, line: str) -> None:
    assert refused(tmp_path, text) == ["FILE has a problem:", line, "Mend the file and try again."]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.toml", b"[brake", "is no TOML: .* Texts stand in quotes, sections in brackets."),
        ("a.json", b"{", "is no JSON: "),
        ("a.toml", b"\xff\xfe", "is no TOML: .*utf-8"),
        ("a.json", b"[" * 100_000, "is no JSON: its brackets are nested too deeply"),
        ("a.toml", b"x = " + b"[" * 100_000, "is no TOML: "),
        ("a.toml", b"x = " + b"{a=" * 100_000, "is no TOML: "),
        ("a.toml", b"a." * 50_000 + b"a = 1", "is no TOML: a key has more than 50 parts"),
        ("a.toml", b"[" + b"'a' . " * 50_000 + b"a]", "is no TOML: a key has more than 50 parts"),
        ("a.toml", b"x = {" + b'"a".' * 50_000 + b"a = 1}", "is no TOML: a key has more than 50 parts"),
        ("a.toml", b"x = " + b"9" * 10_000, "is no TOML: "),
        (
            "a.toml",
            b"\n".join(b"k%d = 1" % n for n in range(1000)),
            "has 100[0-9] problems:(\n.*){100}\n  and 90[0-9] more",
        ),
        ("a.json", b"[1]", "has a problem:\n  input should be a valid dictionary"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ModelError, match=says):
        read_document(tmp_path / name, Bicycle, error=ModelError, described_in="docs/bicycles.md")


def test_a_file_that_is_not_there_is_said_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_document(tmp_path / "a.toml", Bicycle, error=ModelError, described_in="docs/bicycles.md")

    assert str(caught.value) == (
        f"{tmp_path / 'a.toml'} cannot be read: No such file or directory. Name a file as described in docs/bicycles.md."
    )
