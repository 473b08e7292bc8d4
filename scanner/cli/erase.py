"""`scanner erase …`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say, talk
from scanner.errors import UsageError

_WANTED = ("identity", "uri", "item_id", "source")
_RULES = ("keep_nights", "older_than", "keep_crops_nights", "crops_older_than")
_SHOWN = 20
_NAMES_SHOWN = 5
_NOTHING_FOUND = "nothing was found: it is gone already, or written otherwise here (capitals, spaces and zeros count)"


@click.command("erase")
@click.argument("root", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--identity", multiple=True, metavar="LABEL", help="Everything of this identity; more than once.")
@click.option("--uri", multiple=True, metavar="URI", help="The picture at this place, under all its names.")
@click.option("--item-id", multiple=True, metavar="HASH", help="The picture with these bytes (column item_id).")
@click.option("--source", multiple=True, metavar="PLACE", help="Every picture in this folder, archive or bucket.")
@click.option("--everywhere", is_flag=True, help="Do it: in every index, run, table, page and cache at and below ROOT.")
@click.option(
    "--verify", is_flag=True, help="Only search, and change nothing; with --everywhere this is done at the end."
)
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@click.option("--request", metavar="NUMBER", help="Your number for the request; never write who asked.")
@click.option(
    "--keep-nights", type=int, metavar="N", help="Of a nightly job: remove runs older than the N newest nights."
)
@click.option("--older-than", metavar="AGE", help="Of a nightly job: remove runs of nights older than 90d, 12w or 48h.")
@click.option("--keep-crops-nights", type=int, metavar="N", help="The same for crops alone.")
@click.option("--crops-older-than", metavar="AGE", help="The same for crops alone.")
@talk_options
def command(root: tuple[str, ...], **given: Any) -> int:
    """Erase a person, a picture or a source from everything at and below ROOT, prove it, and leave a record.

    \b
    scanner erase state/ --identity p-17 --everywhere --request 2026-044
    scanner erase state/ --identity p-17 --verify
    scanner erase state/ --keep-nights 30 --crops-older-than 14d --dry-run
    """
    wanted, rules = any(given[name] for name in _WANTED), any(given[name] is not None for name in _RULES)
    if wanted == rules:
        raise UsageError(
            "Say either whom or what to erase (--identity, --uri, --item-id, --source), or how much of a nightly job is kept "
            "(--keep-nights, --older-than, --keep-crops-nights, --crops-older-than)."
        )
    return _retain(root, given) if rules else _erase(root, given)


def _erase(root: tuple[str, ...], given: dict[str, Any]) -> int:
    from scanner.erasing import Erasure, Wanted, erase_everywhere, search_everywhere

    quiet = quiet_value(given)
    wanted = Wanted(given["identity"], given["uri"], given["item_id"], given["source"])
    if not (given["everywhere"] or given["verify"] or given["dry_run"]):
        raise UsageError(
            "What is erased cannot be brought back. Pass --everywhere to do it, --dry-run to see how much it is, or --verify to "
            "search only."
        )
    if given["verify"] and not given["everywhere"]:
        found = search_everywhere(root, wanted)
        _tell(found, "nothing is found", quiet=quiet)
        answer({**found.document(), "found": len(found.left)})
        return 1 if found.left else 4 if found.unreadable else 0

    def now() -> datetime:
        return datetime.now(UTC)

    with talk(quiet=quiet) as progress:
        done: Erasure = erase_everywhere(
            root, wanted, clock=now, request=given["request"], dry_run=given["dry_run"], progress=progress
        )
    word = "would be erased" if given["dry_run"] else "erased"
    say(f"{word}: " + (", ".join(f"{n} {name}" for name, n in done.counts.items()) or "nothing"), quiet=quiet)
    is_left = "" if given["dry_run"] else "nothing is left"
    _tell(done, is_left if done.counts else _NOTHING_FOUND, quiet=quiet)
    if done.receipt is not None:
        say(f"record: {', '.join(str(path) for path in done.records)}\nreceipt (keep it with the request): {done.receipt}",
            quiet=quiet)  # fmt: skip
    answer({**done.document(), "dry_run": given["dry_run"]})
    return 0 if done.complete else 4


def _tell(done: Any, nothing: str, *, quiet: bool) -> None:
    """Say what is left, what could not be read, and what is not ours."""
    for line in done.left:
        say(f"still there: {line}", quiet=quiet)
    for path, why in done.unreadable.items():
        say(f"not looked at: {path}: {why}", quiet=quiet)
    if done.alike:
        names = ", ".join(done.alike[:_NAMES_SHOWN]) + (", …" if len(done.alike) > _NAMES_SHOWN else "")
        many = "1 name holds" if len(done.alike) == 1 else f"{len(done.alike)} names hold"
        say(f"look yourself: {many} the label in a longer word, and may be the person's or not: {names}. "
            "Erase what is with --uri.", quiet=quiet)  # fmt: skip
    for path, count in list(done.unknown.items())[:_SHOWN]:
        say(f"not ours, not touched: {count} file{'s' if count > 1 else ''} in {path}", quiet=quiet)
    if len(done.unknown) > _SHOWN:
        say(f"not ours, not touched: files in {len(done.unknown) - _SHOWN} more folders", quiet=quiet)
    if nothing and not done.left:
        say(nothing, quiet=quiet)


def _retain(root: tuple[str, ...], given: dict[str, Any]) -> int:
    from scanner.erasing.retention import Retention, retain

    quiet = quiet_value(given)
    rules = Retention(
        given["keep_nights"], _age(given["older_than"]), given["keep_crops_nights"], _age(given["crops_older_than"])
    )
    now, found = datetime.now(UTC), {}
    for state in root:
        done = retain(Path(state), rules, now=now, dry_run=given["dry_run"])
        word = "would go" if given["dry_run"] else "removed"
        say(
            f"{state}: {len(done.runs)} runs and crops of {len(done.crops)} runs {word}, {done.bytes} bytes",
            quiet=quiet,
        )
        found[state] = done.document()
    answer({"states": found, "dry_run": given["dry_run"]})
    return 0


def _age(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]+)([hdw])", text.strip())
    if match is None:
        raise UsageError(f"{text!r} is no age. Write it as 90d, 12w or 48h.")
    return timedelta(**{{"h": "hours", "d": "days", "w": "weeks"}[match[2]]: int(match[1])})
