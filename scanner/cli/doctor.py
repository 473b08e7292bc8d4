"""`scanner doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say


@click.command("doctor")
@talk_options
def command(**given: Any) -> int:
    """Say what is installed, which models are found, and where networks will run."""
    from scanner.dlib_files import is_installed
    from scanner.embedders import DRAWN_PATH, find_embedder
    from scanner.embedders.insightface_pack import MODEL_FOLDER
    from scanner.errors import ScannerError
    from scanner.jobs.options import cores
    from scanner.jobs.versions import versions
    from scanner.sessions import choose_device

    quiet = quiet_value(given)
    folder = Path(MODEL_FOLDER).expanduser()
    packs = sorted(p.name for p in folder.iterdir() if any(p.glob("*.onnx"))) if folder.is_dir() else []
    device = choose_device("auto")
    try:
        default, why = find_embedder()
    except ScannerError as error:
        default, why = None, str(error)
    facts = {
        "versions": versions(),
        "cores": cores(),
        "device": device.name,
        "device_reason": device.reason,
        "insightface_packs": packs,
        "dlib": is_installed(),
        "drawn_embedder": DRAWN_PATH.exists(),
        "default_embedder": default,
    }
    for name, value in facts.items():
        say(f"{name:18} {value}", quiet=quiet)
    say(f"\n{why}", quiet=quiet)
    answer(facts)
    return 0
