"""`scanner report query`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say
from scanner.errors import UsageError
from scanner.quantities import parse_bytes

if TYPE_CHECKING:
    from scanner.report.database import Stream

TABLE_ROWS_MAX = 200


@click.command("query")
@click.argument("words", nargs=-1, metavar='RUN... ["SQL"]')
@click.option("--question", "-q", "name", metavar="NAME", help="Ask a ready question instead of SQL; see --list.")
@click.option(
    "--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of the question, or $NAME in SQL."
)
@click.option("--list", "list_them", is_flag=True, help="List the ready questions and their parameters.")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json", "parquet"]),
              help="Form of the answer.  [default: what --out ends in; else table on a terminal, csv otherwise]")  # fmt: skip
@click.option(
    "--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write the answer to a file, not to stdout."
)
@click.option("--memory", default="1GiB", show_default=True, metavar="BYTES", help="The most that the query may hold.")
@click.option("--spill", type=click.Path(exists=True, file_okay=False), metavar="FOLDER",
              help="Where what does not fit may lie for a while.  [default: nowhere; such a query is an error]")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="Of the query.")
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="SECONDS",
              help="Give up after so long.")  # fmt: skip
@talk_options
def command(
    words: tuple[str, ...],
    name: str | None,
    given: tuple[str, ...],
    list_them: bool,  # noqa: FBT001 - click passes flags
    form: str | None,
    out: str | None,
    memory: str,
    spill: str | None,
    threads: int,
    time_limit: float,
    **talk: Any,
) -> int:
    """Ask runs: SQL over their tables, or a ready question.

    RUN is a run folder, or a folder of them.  SQL is one SELECT as DuckDB speaks it, over the tables runs, matches,
    identities, joint, queries, photos, rejects, evidence and nights (docs/querying.md lists their columns).  It reads the
    runs' tables and nothing else: no other file, no network.

    \b
    scanner report query run "SELECT identity, max(score) FROM matches GROUP BY ALL"
    scanner report query runs/ --question top-identities --set top=5
    scanner report query run "FROM matches WHERE score > 0.6" --out close.parquet
    """
    quiet = quiet_value(talk)
    if list_them:
        return _list(quiet=quiet)
    paths, sql = _told(words, name)
    form = form or _form_of(out)
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal. Add --out FILE.")
    if form == "table" and out is not None:
        raise UsageError(
            "A table is for the terminal. Give --out a name that ends in .csv, .json or .parquet, or --format."
        )
    from scanner.report.database import Database
    from scanner.report.questions import question

    values: dict[str, Any] = _values(given)
    if name is not None:
        asked = question(name)
        sql, values = asked.sql, asked.values(values)
    limits: dict[str, Any] = {
        "memory_bytes": parse_bytes(memory),
        "threads": threads,
        "time_limit_s": time_limit,
        "spill": spill,
    }
    with (
        Database(paths, **limits) as database,
        database.stream(sql, values or None) as found,
    ):
        if out is not None:
            rows = _to_file(found, Path(out), form)
            say(f"{out}: {rows} rows", quiet=quiet)
            answer({"out": out, "format": form, "rows": rows, "columns": found.schema.names, "runs": database.labels})
        elif form == "table":
            _show(found, quiet=quiet)
        else:
            _to_stdout(found, form)
    return 0


def _told(words: Sequence[str], name: str | None) -> tuple[Sequence[str], str]:
    """Return the runs, and the SQL where no ready question is asked."""
    paths = words if name is not None else words[:-1]
    if paths and (name is not None or not _is_there(words[-1])):
        for path in paths:
            if not _is_there(path):
                raise UsageError(
                    f"There is no run {path!r}. Give run folders first, then the SQL in quotes as one word."
                    if name is None
                    else f"There is no run {path!r}. Beside --question only run folders are given."
                )
        return paths, "" if name is not None else words[-1]
    raise UsageError('Give run folders and then SQL in quotes, as in `scanner report query run "SELECT count(*) FROM matches"`, '
                     "or --question NAME. `scanner report query --list` lists the questions.")  # fmt: skip


def _is_there(word: str) -> bool:
    try:
        return Path(word).is_dir()
    except OSError:  # SQL may be longer than any path
        return False


def _form_of(out: str | None) -> str:
    if out is None:
        return "table" if sys.stdout.isatty() else "csv"
    form = Path(out).suffix.removeprefix(".").lower()
    if form not in {"csv", "json", "parquet"}:
        raise UsageError(
            f"{out}: the name does not say in which form to write. Let it end in .csv, .json or .parquet, or add --format."
        )
    return form


def _values(given: Sequence[str]) -> dict[str, str]:
    values = {}
    for one in given:
        name, is_set, value = one.partition("=")
        if not is_set or not name:
            raise UsageError(f"--set {one}: a name and a value are expected, as in --set top=5.")
        values[name] = value
    return values


def _to_stdout(found: Stream, form: str) -> None:
    from scanner.report.answers import write_answer

    try:
        write_answer(found, sys.stdout.buffer, form)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # `| head` has seen enough; what is still buffered must not be tried again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_file(found: Stream, path: Path, form: str) -> int:
    from indexes.atomic import atomic_path
    from scanner.report.answers import write_answer

    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)  # who was found is nobody else's business
        with temporary.open("wb") as file:
            return write_answer(found, file, form)


def _show(found: Stream, *, quiet: bool) -> None:
    """Print the first rows as a table, or one below the other where they are too wide for the terminal."""
    from rich.console import Console
    from rich.text import Text

    from scanner.report.answers import plain_rows

    every = (row for batch in found.batches for row in plain_rows(batch))
    rows = [[_shown(value) for value in row] for row in islice(every, TABLE_ROWS_MAX + 1)]
    shown, names = rows[:TABLE_ROWS_MAX], found.schema.names
    numbers = [str(field.type).startswith(("int", "uint", "float", "double", "decimal")) for field in found.schema]
    console = Console(file=sys.stdout)
    if sum(max(map(len, column)) + 2 for column in zip(names, *shown, strict=True)) <= 1.5 * console.width:
        console.print(_table(names, numbers, shown))
    else:
        widest = max(map(len, names))
        for number, row in enumerate(shown, 1):
            lines = (f"{name:<{widest}}  {value}" for name, value in zip(names, row, strict=True))
            console.print(Text("\n".join((f"-- row {number}", *lines))), soft_wrap=True)
    if len(rows) > TABLE_ROWS_MAX:
        say(
            f"These are the first {TABLE_ROWS_MAX} rows. LIMIT and OFFSET show others, --out FILE keeps all.",
            quiet=quiet,
        )


def _table(names: Sequence[str], numbers: Sequence[bool], rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, is_number in zip(names, numbers, strict=True):
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    # Names of files come from whoever made the pictures: no escape sequence of theirs reaches the terminal.
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


def _list(*, quiet: bool) -> int:
    from scanner.report.questions import questions

    for question in questions().values():
        say(f"{question.name}\n    {question.asks}", quiet=quiet)
        for one in question.parameters:
            default = "" if one.required or one.default is None else f"  [default: {one.default}]"
            say(f"    --set {one.name}=...  {one.text}{default}", quiet=quiet)
    listed = [
        {"name": question.name, "asks": question.asks, "parameters": [one.name for one in question.parameters]}
        for question in questions().values()
    ]
    answer({"questions": listed})
    return 0
