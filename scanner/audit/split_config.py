"""`[split]` of AUDIT.toml: a network that is cut in two, an attack on its features, and who judges what is re-created."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from scanner.documents import Section

_Text = Annotated[str, Field(min_length=1)]
_Rate = Annotated[float, Field(gt=0.0, lt=1.0)]
_BITS_MAX = 16


class DefenceSection(Section):
    """`[[split.defence]]`: what is done to the features before a stranger sees them.

    Attributes:
        kind: "noise" (normal), "quantise" (even steps over each channel's range), "drop" (channels set to 0).
        values: strengths: deviation of the noise in units of each channel's own; bits; share of channels.
    """

    kind: Literal["noise", "quantise", "drop"]
    values: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _strengths_make_sense(self) -> Self:
        wrong = [value for value in self.values if not _fits(self.kind, value)]
        if wrong:
            wanted = {
                "noise": "above 0 (1 = as much as the features themselves vary)",
                "quantise": f"whole numbers of bits from 1 to {_BITS_MAX}",
                "drop": "shares between 0 and 1",
            }[self.kind]
            raise ValueError(f"values of {self.kind} are {wanted}, got {', '.join(f'{value:g}' for value in wrong)}")
        return self


def _fits(kind: str, value: float) -> bool:
    if kind == "quantise":
        return value == int(value) and 1 <= value <= _BITS_MAX
    return value > 0.0 if kind == "noise" else 0.0 < value < 1.0


class SplitSection(Section):
    """`[split]`: what a stranger can re-create from the features of a network, cut by cut.

    Attributes:
        network: the network that is split: NET.toml, or an .onnx file with its JSON.
        inverse: the folder that `scanner invert features` made for it.
        photos: labelled pictures; `[embedder]` says how faces are found in them.
        judges: embedders that the attack never saw; may be left out for a classifier.
        fmr: false match rates at which recognition is counted; the first is the one of the curve and of the gate.
        cuts: names; left out, all cuts of the inverse.
        max_photos: at most so many photos, two of a person where there are two, drawn by the seed.
        identity_from: as `--identity-from`.
        class_names: for a classifier: the labels in order of its outputs, for its accuracy.
        perceptual: a network whose features give the perceptual gap; left out, no such column.
        pictures: true puts originals and re-created pictures on the page.  Faces are biometric data.
        match_rate_max: of the gate: at most this share of people's photos may be recognised.
        confidence: of each bound of the gate.
        gate_cuts: where the network will be cut; left out, every audited cut must hold.
        defence: see `DefenceSection`.
    """

    network: _Text
    inverse: _Text
    photos: _Text
    judges: tuple[_Text, ...] = ()
    fmr: tuple[_Rate, ...] = Field(default=(1e-2, 1e-3), min_length=1)
    cuts: tuple[_Text, ...] | None = Field(default=None, min_length=1)
    max_photos: int = Field(default=500, ge=10)
    identity_from: Literal["labels", "folder", "name"] = "labels"
    class_names: tuple[_Text, ...] = ()
    perceptual: _Text | None = None
    pictures: bool = False
    picture_rows: PositiveInt = Field(default=5, le=20)
    match_rate_max: _Rate | None = None
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    gate_cuts: tuple[_Text, ...] | None = Field(default=None, min_length=1)
    defence: tuple[DefenceSection, ...] = ()

    @field_validator("judges", "fmr", "cuts", "gate_cuts", "class_names")
    @classmethod
    def _each_once(cls, values: tuple[object, ...] | None) -> tuple[object, ...] | None:
        twice = sorted({str(value) for value in values or () if (values or ()).count(value) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return values

    @model_validator(mode="after")
    def _gate_fits(self) -> Self:
        if self.match_rate_max is not None and not self.judges:
            raise ValueError("match_rate_max is a rate of recognition, and there is no judge: name judges")
        if self.gate_cuts is not None and self.match_rate_max is None:
            raise ValueError("gate_cuts is for the gate, and there is none: give match_rate_max")
        strange = [name for name in self.gate_cuts or () if self.cuts is not None and name not in self.cuts]
        if strange:
            raise ValueError(f"gate_cuts names {', '.join(strange)}, which is not among cuts")
        return self
