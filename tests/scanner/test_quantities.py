"""Seconds and bytes in the unit that fits."""

from __future__ import annotations

import pytest

from scanner.quantities import bytes_words, time_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "not known"), (0.5, "0.50 s"), (12, "12 s"), (600, "10 min"), (20_000, "5.6 h"), (10**6, "11.6 days")],
)
def test_times_are_said_in_the_unit_that_fits(seconds: float | None, words: str):
    assert time_words(seconds) == words


def test_bytes_are_said_in_the_unit_that_fits():
    assert [bytes_words(n) for n in (2048, 3 << 20, 5 << 30, 3 << 40)] == [
        "2 KiB",
        "3.0 MiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
