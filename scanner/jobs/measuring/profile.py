"""The machine's profile: its rates in one JSON file, measured by `scanner doctor --bench`, read by dry runs and by jobs.

It holds no clock and nothing of anybody's data.  A file that is broken is refused with a sentence; a profile of another
machine is used only where the user names it.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from indexes.atomic import write_json
from scanner.documents import Section, read_document
from scanner.errors import UsageError
from scanner.jobs.options import cores
from scanner.rates import Machine, Networks

_Rate = Annotated[float, Field(gt=0)]


class _Strict(Section):
    model_config = ConfigDict(strict=True)


class MachineRates(_Strict):
    """See `scanner.rates.Machine`."""

    cores: int = Field(ge=1)
    ram_bytes: int = Field(ge=1)
    product_gflop_s: _Rate
    int8_gop_s: _Rate | None
    products_gb_s: _Rate | None
    memory_gb_s: _Rate
    disk_write_mb_s: _Rate
    disk_read_mb_s: _Rate
    hash_mb_s: _Rate
    decode_mpixel_s: _Rate
    item_ms: float = Field(ge=0)
    query_us: float = Field(ge=0)
    coded_query_us: float = Field(ge=0)
    row_us: float = Field(ge=0)
    codec_fit_s: float = Field(ge=0)


class NetworkRates(_Strict):
    """See `scanner.rates.Networks`; measured with the networks named.

    `detector` is the file's name, None where no face is looked for.
    """

    embedder: str
    fingerprint: str
    detector: str | None
    embed_ms: _Rate
    detect_320_ms: _Rate | None
    align_ms: _Rate

    def rates(self) -> Networks:
        """Return the networks."""
        return Networks(embed_ms=self.embed_ms, detect_320_ms=self.detect_320_ms, align_ms=self.align_ms)


class Profile(_Strict):
    """A machine's profile."""

    format: Literal["identity-leak-machine"] = "identity-leak-machine"
    format_version: Literal[1] = 1
    cpu: str
    machine: MachineRates
    networks: list[NetworkRates]

    def rates(self) -> Machine:
        """Return the machine."""
        return Machine(**self.machine.model_dump())

    def networks_of(self, fingerprint: str, detector: str | None) -> Networks | None:
        """Return the rates of an embedder with a detector (None: faces are given); None where they were not measured."""
        for known in self.networks:
            if (known.fingerprint, known.detector) == (fingerprint, detector):
                return known.rates()
        return None


@dataclass(frozen=True, slots=True)
class KnownMachine:
    """A profile, or none and why; `sentence` is for people. `foreign`: the user named a profile of another machine."""

    profile: Profile | None
    sentence: str
    foreign: bool = False


def default_path() -> Path:
    """Return where the profile lies unless the user says otherwise: in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "identity-leak-scanner" / "machine.json"


def cpu_model() -> str:
    """Return the processor's name."""
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        for line in listed.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile; the default folder is made.

    Raises:
        UsageError: no name for a profile, or no folder to write into.
    """
    check_profile_path(path)
    if path == default_path():
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, profile.model_dump(mode="json"))


def check_profile_path(path: Path) -> None:
    """Say why a profile cannot be written to `path`, if so, before anything is measured; raises UsageError."""
    if path.suffix != ".json":
        raise UsageError(f"{path} is no name for a machine's profile, which is read as JSON. Call it {path}.json.")
    if path.is_dir() or (path != default_path() and not path.parent.is_dir()):
        raise UsageError(f"No file can be written at {path}. Choose another place, in a folder that exists.")


def read_profile(path: Path) -> Profile:
    """Read a profile; raises UsageError with every problem where it is broken or of another version."""
    return read_document(
        path,
        Profile,
        error=UsageError,
        described_in="docs/performance.md",
        closing="Measure the machine again: scanner doctor --bench",
    )


def known_machine(path: Path | None = None) -> KnownMachine:
    """Return what is known of the machine to predict for.

    Args:
        path: a profile that the user names, of whatever machine; None for this machine's own, if it was measured.

    Raises:
        UsageError: the profile is broken.
    """
    own = default_path()
    if path is None and not own.exists():
        return KnownMachine(None, "this machine has not been measured; `scanner doctor --bench` does it in 20 seconds")
    profile = read_profile(path or own)
    other = (profile.cpu, profile.machine.cores) != (cpu_model(), cores())
    if not other:
        return KnownMachine(profile, f"rates from {path or own}")
    name = f"{profile.cpu}, {profile.machine.cores} cores"
    if path is not None:
        return KnownMachine(profile, f"predicted for another machine than this one: {name}", foreign=True)
    return KnownMachine(
        None,
        f"{own} is of another machine ({name}) and was left aside; measure this one with `scanner doctor --bench`",
    )
