"""The templates of the pages: escaping on, unknown names refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def read_template(name: str, **filters: Callable[..., Any]) -> Template:
    """Return a template of `templates/` with these filters; translated once in a process, which takes most of a page's time."""
    environment = Environment(
        loader=PackageLoader("scanner.report", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(filters)
    return environment.get_template(name)
