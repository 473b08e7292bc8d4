"""One axis of a figure: from values to places, linear or logarithmic, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN_POWERS = 4
"""Powers of ten up to here are written out."""
_LOG_MIN = 1e-100
"""What is smaller counts as 0 on a log axis: no rate is, and room around it would underflow."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps `low` to `start` and `high` to `end` (figure units); a log axis needs low > 0."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        *,
        log: bool,
        start: float,
        end: float,
        given: tuple[float, float] | None = None,
        air: float = 0.0,
    ) -> Axis:
        """Return the axis that holds all values that it can show.

        Args:
            values: in the units of the axis; those that are not finite, or not above 0 on a log axis, do not count.
            log: logarithmic.
            start: place of the lower end in figure units.
            end: place of the upper end.
            given: ends to take instead of those of the values.
            air: share of the span to leave free at both ends; none below 0 where no value is.
        """
        shown = [v for v in values if math.isfinite(v) and (v > _LOG_MIN or not log)]
        low, high = given or (min(shown, default=0.1 if log else 0.0), max(shown, default=1.0))
        if low == high:
            low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
        if given is None and air:
            span = math.log10(high / low) if log else high - low
            wider = (
                (low * 10 ** (-air * span), high * 10 ** (air * span)) if log else (low - air * span, high + air * span)
            )
            low, high = (max(wider[0], 0.0) if low >= 0 else wider[0], wider[1])
        return cls(low, high, start, end, log)

    def can(self, value: float) -> bool:
        """Return whether the scale knows the value, inside its ends or not."""
        return math.isfinite(value) and (value > _LOG_MIN or not self.log)

    def holds(self, value: float) -> bool:
        """Return whether the value lies between the ends."""
        return self.can(value) and self.low <= value <= self.high

    def __call__(self, value: float) -> float:
        """Return the place of a value, never beyond an end."""
        at = min(max(value, self.low), self.high)
        low, high, at = (math.log(v) for v in (self.low, self.high, at)) if self.log else (self.low, self.high, at)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 2)

    def ticks(self, about: int) -> tuple[Tick, ...]:
        """Return round values between the ends, `about` so many."""
        values = _log_values(self.low, self.high, about) if self.log else _linear_values(self.low, self.high, about)
        digits = max((_digits(v) for v in values), default=0)
        return tuple(Tick(self(v), power_text(v) if self.log else _group(v, digits)) for v in values)


def _linear_values(low: float, high: float, about: int) -> list[float]:
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(step * i, digits) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_values(low: float, high: float, about: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = range(first, last + 1)
    if len(decades) > about:
        return [10.0**e for e in decades if e % math.ceil(len(decades) / about) == 0]
    factors = (1, 2, 5) if len(decades) * 3 <= about + 1 else (1,)
    some = [f * 10.0**e for e in range(first - 1, last + 1) for f in factors]
    inside = [v for v in some if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else _linear_values(low, high, min(about, 4))


def _digits(value: float) -> int:
    """Return how many decimals a tick of a linear axis needs."""
    text = f"{value:.10f}".rstrip("0")
    return len(text) - text.index(".") - 1


def _group(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace(",", "\N{THIN SPACE}")


def power_text(value: float) -> str:
    """Return a value of a log axis as text: 0.01, 5 000, 10⁻⁵, 2·10⁶."""
    power = math.floor(math.log10(value) + 1e-9)
    factor = round(value / 10.0**power, 6)
    if -_PLAIN_POWERS < power <= _PLAIN_POWERS:
        return _group(value, 0) if value >= 1000 else f"{value:g}"  # noqa: PLR2004
    ten = f"10{str(power).translate(_SUPERSCRIPT)}"
    return ten if factor == 1 else f"{factor:g}·{ten}"
