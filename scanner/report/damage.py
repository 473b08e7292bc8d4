"""Folders that somebody has edited or cut: what then goes wrong while a page is made is a sentence, not a bug of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from jinja2 import TemplateError

from scanner.errors import ArtefactError

BROKEN = (pa.ArrowException, TemplateError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What working with a folder that somebody has edited may end in."""


@contextmanager
def damage_explained(folder: Path) -> Iterator[None]:
    """Within the block, what `BROKEN` names is an ArtefactError about the folder."""
    try:
        yield
    except BROKEN as error:
        raise ArtefactError(
            f"{folder} cannot be shown: what its files say does not fit together ({type(error).__name__}: {error}). "
            "Copy the folder again from where it was made, or make it again."
        ) from error
