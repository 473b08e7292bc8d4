"""`scanner key …`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say, talk

if TYPE_CHECKING:
    from indexes.keys import Key

_FILE = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


@click.group("key")
def command() -> None:
    """Keys with which vectors and crops are encrypted: make them, change them.

    The key file is named by the variable SCANNER_KEY_FILE, never on a command line of a job.

    \b
    scanner key new scanner.key
    scanner key rotate indexes/ runs/
    """


@command.command("new")
@_FILE
@talk_options
def new_command(file: Path, **given: Any) -> int:
    """Make a key file with one key; nothing that is there is overwritten."""
    from indexes.keys import new_key, write_key_file
    from scanner.errors import UsageError

    if file.exists():
        raise UsageError(f"{file} is there already. To put a new key before the old ones: scanner key add {file}")
    if not file.parent.is_dir():
        raise UsageError(f"There is no folder {file.parent}. Make it, or name another file.")
    keys = [new_key()]
    write_key_file(file, keys)
    return _tell(file, keys, quiet=quiet_value(given))


@command.command("add")
@_FILE
@talk_options
def add_command(file: Path, **given: Any) -> int:
    """Put a new key first in a key file: it writes from now on, the old ones still read."""
    from indexes.keys import add_key

    return _tell(file, add_key(file), quiet=quiet_value(given))


@command.command("forget")
@_FILE
@talk_options
def forget_command(file: Path, **given: Any) -> int:
    """Leave only the first key in a key file; rotate first, or what the others wrote is lost."""
    from indexes.keys import read_key_file, write_key_file

    keys = read_key_file(file)[:1]
    write_key_file(file, keys)
    return _tell(file, keys, quiet=quiet_value(given))


@command.command("rotate")
@click.argument("roots", metavar="ROOT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say which keys the files have; change nothing.")
@talk_options
def rotate_command(roots: tuple[Path, ...], *, dry_run: bool, **given: Any) -> int:
    """Encrypt what is below folders again with the newest key; also what was written before there was a key.

    Stop the jobs that write there first.  Killed in the middle, the same command finishes it.
    """
    from scanner.jobs.sealing import rotate

    quiet = quiet_value(given)
    with talk(quiet=quiet) as progress:
        done = rotate(roots, progress=progress, dry_run=dry_run)
    for path in done.temporary:
        say(f"left alone, a file of a job that is at work or was killed: {path}", quiet=quiet)
    say(f"{done.sealed} files were encrypted with the key {done.key}", quiet=quiet)
    answer({"key": done.key, "found": done.found, "sealed": done.sealed, "temporary": len(done.temporary)})
    return 0


@command.command("open")
@click.argument("sealed", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@talk_options
def open_command(sealed: Path, out: Path, **given: Any) -> int:
    """Write what is in an encrypted file to OUT, for other programs; OUT is not encrypted."""
    from indexes.atomic import atomic_path
    from indexes.sealed import open_file
    from scanner.errors import UsageError

    if out.exists():
        raise UsageError(f"{out} is there already. Name another file.")
    with open_file(sealed) as source, atomic_path(out) as temporary:
        temporary.touch(mode=0o600)
        with temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    say(f"{out} written", quiet=quiet_value(given))
    answer({"file": str(out), "bytes": out.stat().st_size})
    return 0


def _tell(file: Path, keys: Sequence[Key], *, quiet: bool) -> int:
    ids = [key.id.hex() for key in keys]
    say(
        f"{file} holds {len(ids)} key{'s' * (len(ids) > 1)}, {ids[0]} first. Keep a copy where the data is not.",
        quiet=quiet,
    )
    answer({"file": str(file), "keys": ids})
    return 0
