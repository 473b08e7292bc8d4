"""The exceptions of this library, one tree.

    IndexesError
    ├── VectorError      vectors of a wrong dtype, shape, length or value
    ├── FormatError      a file or folder that is broken, foreign or of a newer format
    ├── MismatchError    two sound things that do not belong together (fingerprint, dimension)
    ├── LockedError      another process is writing this index
    ├── TooManyHits      a search would return more than its limit
    ├── MemoryTooSmall   the memory allowance holds no engine
    ├── SealError        a key that is missing, wrong, or open to others
    ├── UnknownIdError   an id that the index never gave out, or that was erased
    └── DiskFullError    no room to write; what was there before is intact (also an OSError)

Every message says what happened, where, what was got and expected, and what to do. No message holds
a vector's values.
"""


class IndexesError(Exception):
    """Base of everything that this library raises on purpose."""


class VectorError(IndexesError):
    """Vectors that are not float32 unit rows."""


class FormatError(IndexesError):
    """Something on disk is broken, foreign, or newer than this version."""


class MismatchError(IndexesError):
    """Two sound things that do not belong together."""


class LockedError(IndexesError):
    """Another writer holds the index."""


class TooManyHits(IndexesError):
    """A search would return more hits than its limit."""


class MemoryTooSmall(IndexesError):
    """The memory allowance holds no engine for these references."""


class SealError(IndexesError):
    """An encrypted file without its key, or keys that cannot be used."""


class UnknownIdError(IndexesError):
    """An id that is not in the index."""


class DiskFullError(IndexesError, OSError):
    """No room to write. The file that was there before is intact."""
