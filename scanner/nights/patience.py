"""Trying again when a source far away stops answering."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from scanner.errors import SourceStopped
from scanner.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often work is tried again, and after how long each time.

    Attributes:
        pauses_s: one pause a further try.
        sleep: waits for some seconds.
    """

    pauses_s: tuple[float, ...] = (5.0, 30.0, 120.0)
    sleep: Callable[[float], None] = time.sleep

    def call(self, work: Callable[[], T], progress: Progress) -> T:
        """Return what `work` returns; the last try's SourceStopped goes through."""
        for pause_s in self.pauses_s:
            try:
                return work()
            except SourceStopped as error:
                progress.note(f"{error} Trying again in {pause_s:.0f} s.")
                self.sleep(pause_s)
        return work()
