"""What can go wrong, as one tree.

ScannerError                  something the user can mend; `cli` prints it and exits with `exit_code`
├── UsageError                wrong option, wrong configuration, wrong combination        (exit 2)
├── SourceError               a source that cannot be opened, is empty, or is not what it says
│   ├── SourceEmpty           one that is not there, or has not one entry
│   └── SourceStopped         one far away that does not answer, and may do so later
├── ModelError                a detector or recogniser that is missing, broken or not allowed
├── EmbedderMismatch          vectors of two embedders were about to be compared
├── CalibrationError          too few pairs to give the threshold that was asked for
├── ArtefactError             a file of ours that is broken, foreign or from a newer version
├── QueryError                SQL over reports that is wrong, not allowed, or goes beyond a limit
├── RunMismatch               `--resume` of a run whose inputs or options have changed
├── WorkerError               workers on other machines that are not there, do not see the same, or are lost too often
└── NothingScanned            the run ended without one face: never a success

A message has four parts: what happened, what was found and what was expected, where, what to do.
Anything else that is raised is a bug (exit 3).  Bad *items* are no errors: they are counted as
rejects, with a reason code (see `scanner.records.Reason`).
"""

from __future__ import annotations


class ScannerError(Exception):
    """Base of everything that the user can mend."""

    exit_code = 2


class UsageError(ScannerError):
    """A wrong option, key or combination."""


class SourceError(ScannerError):
    """A source cannot be opened, is empty, or is not what it says."""


class SourceEmpty(SourceError):
    """There is nothing where a source should be, or not one entry in it."""


class SourceStopped(SourceError):
    """A source far away does not answer; it may do so later."""


class ModelError(ScannerError):
    """A network file is missing, broken, or does not do what was asked."""


class EmbedderMismatch(ScannerError):
    """Vectors made by two different embedders were about to be compared."""


class CalibrationError(ScannerError):
    """The pairs at hand cannot support the threshold that was asked for."""


class ArtefactError(ScannerError):
    """A file of ours is broken, foreign, or written by a newer version."""


class QueryError(ScannerError):
    """SQL over reports is wrong, asks for what is not allowed, or goes beyond a limit."""


class RunMismatch(ScannerError):
    """A run cannot be resumed because its inputs or options have changed."""


class NothingScanned(ScannerError):
    """Not one face came out of the source."""


class WorkerError(ScannerError):
    """Workers on other machines are not there, do not see what this one sees, or are lost too often."""
