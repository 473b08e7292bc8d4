"""How a scan is decided and run, as the user may say it."""

from __future__ import annotations

from dataclasses import dataclass

from scanner.errors import UsageError

MEMORY_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """How a scan is decided and run.

    Attributes:
        threshold: inclusive score from which a pair is a match; or
        fmr: the false match rate from which the threshold is taken, or
        fpir: the false positive identification rate for galleries as large as this scan's, both on
        calibrate_on: an index with identities, or labelled images or embeddings.
        level: false discovery rate at which identities are named.
        engine: "auto", "cpu" (auto without GPUs), "exact", "compressed", "flat" or "cuda"; changes no hit, only time and memory.
        memory_bytes: budget of the search.
        with_crops: keep the crops of matched pairs; they are biometric data.
        null: indexes of people known not to be in training; every candidate identity then gets a p-value and q-values.
        null_match: bring candidates and null to the queries' resolution and compression before they are embedded.
        copies: an index of the candidates' pictures by a copy-detection network; matches that are near-copies are flagged.
        seed: draws the calibration sample, and photos where some must be left out.
        embedded_by: name of the embedder of ready embeddings that do not say it.
    """

    threshold: float | None = None
    fmr: float | None = None
    fpir: float | None = None
    calibrate_on: str | None = None
    level: float = 0.05
    engine: str = "auto"
    memory_bytes: int = MEMORY_BYTES
    with_crops: bool = False
    null: tuple[str, ...] = ()
    null_match: bool = False
    copies: str | None = None
    seed: int = 0
    embedded_by: str | None = None

    def __post_init__(self) -> None:
        if sum(rule is not None for rule in (self.threshold, self.fmr, self.fpir)) != 1:
            raise UsageError(
                "Say how close counts as a match: either --threshold T, or --fmr F --calibrate-on LABELLED, or "
                "--fpir F --calibrate-on LABELLED."
            )
        if self.threshold is None and self.calibrate_on is None:
            rule = "--fmr" if self.fmr is not None else "--fpir"
            raise UsageError(
                f"{rule} needs pairs of people whose identity is known: --calibrate-on INDEX (one built with identities) "
                "or --calibrate-on SOURCE (labelled images)."
            )
        if not 0.0 < self.level < 1.0:
            raise UsageError(f"A false discovery rate lies between 0 and 1, for instance 0.05; got {self.level}.")
