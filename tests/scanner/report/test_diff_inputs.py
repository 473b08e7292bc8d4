"""What a diff says of inputs that differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from run_folder import evidence, summary

from scanner.report.diff_inputs import InputChange, input_changes


def changed(document: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(document)), **more}


def test_equal_inputs_differ_in_nothing():
    one = summary([], 3, evidence=evidence("none"))

    assert input_changes(one, changed(one)) == ()


def test_every_input_that_differs_is_named_with_both_values():
    one = summary([], 3, evidence=evidence("none"))
    other = changed(
        one, queries=["gen/", "more/"], evidence=None, threshold={"value": 0.5, "calibrated_on": "set.idx"}, seed=1
    )
    other["indexes"][0] |= {"rows": 202_600, "manifest_sha256": "ff" * 32}
    other["indexes"].append({**other["indexes"][0], "name": "art", "rows": 1})
    other["results"]["queries"] = 4

    assert input_changes(one, other) == (
        InputChange("sources", "gen/", "gen/, more/"),
        InputChange("scanned faces", "3 faces", "4 faces"),
        InputChange("index celeba", "202599 references, manifest 0123456789ab", "202600 references, manifest ffffffffffff"),
        InputChange("null strangers", "manifest abababababab", None),
        InputChange("people in the null", "1000", None),
        InputChange("false discovery rate", "0.05", None),
        InputChange("threshold", "0.430000, given by hand", "0.500000, calibrated on set.idx"),
        InputChange("seed", "0", "1"),
        InputChange("index art", None, "1 reference, manifest ffffffffffff"),
    )  # fmt: skip


def test_a_run_of_ready_embeddings_has_no_detector():
    one = summary([], 3)
    other = changed(one)
    other["road"]["faces"] = None

    (change, gates) = input_changes(one, other)

    assert change == InputChange("faces", f"detect, central, scrfd.onnx ({'a' * 16})", None)
    assert gates.what == "gates"


def test_an_old_run_without_later_keys_can_be_compared(tmp_path: Path):
    one = summary([], 3)
    old = {key: value for key, value in one.items() if key not in ("evidence", "null_match", "copies")}

    assert input_changes(old, one) == ()
