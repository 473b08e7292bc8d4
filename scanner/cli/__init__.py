"""The command line: argv in, talk on stderr, data on stdout, exit codes.

One file a command, imported when it is called, so that `scanner --help` answers at once.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import sys
import traceback
from collections.abc import Sequence

import click

from scanner._version import __version__

COMMANDS = {
    "demo": ("scanner.cli.demo", "Everything on a small drawn world with known truth; writes a report."),
    "index": ("scanner.cli.index", "Build, add to, erase from and check indexes of candidate data sets."),
    "embed": ("scanner.cli.embed", "Faces of a source to embeddings (Parquet), resumable."),
    "scan": ("scanner.cli.scan", "The main job: search images against indexes, write a run folder with a report."),
    "run": ("scanner.cli.run", "A nightly job: take in what is new, compare what never met, say what changed."),
    "status": ("scanner.cli.status", "How far a nightly job is, and what its last night found."),
    "generate": ("scanner.cli.generate", "Sample a generator: images by seed, in shards, resumable."),
    "invert": ("scanner.cli.invert", "Networks backwards: images to latents, features to images."),
    "audit": ("scanner.cli.audit", "Identity membership audit of generators, and the release gate."),
    "check": ("scanner.cli.check", "Was this person, or were these works, in training? A few photos against a run."),
    "calibrate": ("scanner.cli.calibrate", "Thresholds at wanted false match rates, from labelled faces."),
    "report": (
        "scanner.cli.report",
        "Show a finished run, ask it questions, compare runs, make its page again, or verify it.",
    ),
    "serve": ("scanner.cli.serve", "Look at runs in a browser: a local web application."),
    "erase": ("scanner.cli.erase", "Erase a person, picture or source everywhere, and prove it; or what is too old."),
    "key": ("scanner.cli.key", "Keys that encrypt vectors and crops on disk: make them, change them."),
    "doctor": ("scanner.cli.doctor", "What is installed, which models are found, which device."),
}
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM = (
    "\nNothing that was finished is lost. Make room, then give the same command with --resume where it has that option."
)
EXIT_DONE, EXIT_USAGE, EXIT_BUG, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 0, 2, 3, 4, 130


class LazyCommands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" The commands are {', '.join(COMMANDS)}."
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="scanner")
def cli() -> None:
    """Show whether a face generator gives away the people it was trained on.

    Generated faces are embedded and searched against indexes of candidate data sets; matches are flagged with the
    error rate that they were decided at.  A match says "closer than unrelated people are", never who somebody is.

    \b
    scanner demo
    scanner index build people.idx photos/ --embedder insightface:buffalo_l --identity-from folder
    scanner scan generated/ --against people.idx --out run --fmr 1e-4 --calibrate-on people.idx
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code.

    0 done · 1 an audit whose gate fails or cannot say, a run that does not verify, a diff whose gate says no · 2 usage, configuration or bad input · 3 a bug of ours · 4 done, but part of a source could not be read ·
    130 interrupted.
    """
    from indexes.errors import IndexesError
    from scanner.cli.talk import shown
    from scanner.errors import ScannerError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(args=words, prog_name="scanner", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return _interrupted(words)
    except click.ClickException as error:
        error.show(file=sys.stderr)
        return EXIT_USAGE
    except ScannerError as error:
        click.echo(shown(f"error: {error}"), err=True)
        return error.exit_code
    except (IndexesError, OSError) as error:
        said = str(error) if isinstance(error, IndexesError) else _refused(error)
        room = _NO_ROOM if isinstance(error, OSError) and error.errno in _FULL else ""
        click.echo(f"{shown(f'error: {said}')}{room}", err=True)
        return EXIT_USAGE
    except Exception:  # noqa: BLE001 - the last line of defence says that the fault is ours
        traceback.print_exc()
        click.echo(
            "error: this is a bug of the scanner, not of your input. Please report it with the lines above.", err=True
        )
        return EXIT_BUG
    return code if isinstance(code, int) else EXIT_DONE


def _refused(error: OSError) -> str:
    """Say what the system refused, where, and what to do."""
    place = f"{error.filename}: {error.strerror}." if error.filename and error.strerror else str(error)
    if error.errno in _FORBIDDEN:
        return f"{place} This account may not use it. Change its owner or mode (ls -ld shows them), or choose another place."
    return place


def _interrupted(words: Sequence[str]) -> int:
    if words[:1] in (["scan"], ["embed"], ["audit"], ["generate"]) or words[:2] in (
        ["index", "build"],
        ["index", "add"],
        ["index", "dedupe"],
        ["invert", "latent"],
        ["invert", "features"],
        ["invert", "apply"],
    ):
        click.echo(
            "interrupted: what was finished is kept; the same command with --resume goes on from there.", err=True
        )
    elif words[:1] == ["run"]:
        click.echo("interrupted: what was finished is kept; the same command goes on from there.", err=True)
    else:
        click.echo("interrupted.", err=True)
    return EXIT_INTERRUPTED
