"""`scanner doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say, talk

_MEANING = {
    "cores": "that this process may use",
    "ram_bytes": "memory of the machine, bytes",
    "product_gflop_s": "float32 matrix product, all cores, GFLOP/s",
    "int8_gop_s": "int8 matrix product, all cores, GOP/s",
    "products_gb_s": "reading products for their largest, all cores, GB/s",
    "memory_gb_s": "copying memory, one core, read and write, GB/s",
    "disk_write_mb_s": "writing a file, forced to the disk, MB/s",
    "disk_read_mb_s": "reading it back, MB/s",
    "hash_mb_s": "SHA-256, one core, MB/s",
    "decode_mpixel_s": "JPEG to pixels, one core, megapixels/s",
    "item_ms": "a picture beyond decoding and networks, one core, ms",
    "query_us": "a query beyond its products, microseconds",
    "coded_query_us": "the same where codes are searched, microseconds",
    "row_us": "a row of an index beyond its vector, microseconds",
    "codec_fit_s": "fitting compressed codes, seconds",
}


@click.command("doctor")
@click.option("--bench", is_flag=True, help="Measure this machine, in 20 seconds or less: what dry runs predict from.")
@click.option(
    "--out",
    type=click.Path(),
    metavar="FILE",
    help="Profile that --bench writes (.json).  "
    "[default: identity-leak-scanner/machine.json in the user's cache folder]",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Disk that --bench measures.  [default: the system's temporary folder]",
)
@click.option("--embedder", metavar="SPEC", help="Recogniser that --bench measures.  [default: what is installed]")
@click.option("--detector", metavar="FILE", help="SCRFD file (.onnx) that --bench measures.  [default: the pack's own]")
@talk_options
def command(**given: Any) -> int:  # fmt: skip
    """Say what is installed and where networks will run; with --bench, measure what this machine can do.

    \b
    scanner doctor
    scanner doctor --bench --embedder onnx:face.onnx --detector scrfd.onnx
    """
    quiet = quiet_value(given)
    return _bench(quiet=quiet, **given) if given.pop("bench") else _facts(quiet=quiet)


def _facts(*, quiet: bool) -> int:
    from scanner.dlib_files import is_installed
    from scanner.embedders import DRAWN_PATH, find_embedder
    from scanner.embedders.insightface_pack import MODEL_FOLDER
    from scanner.errors import ScannerError
    from scanner.jobs.measuring.profile import known_machine
    from scanner.jobs.options import cores
    from scanner.jobs.versions import versions
    from scanner.sessions import choose_device

    folder = Path(MODEL_FOLDER).expanduser()
    packs = sorted(p.name for p in folder.iterdir() if any(p.glob("*.onnx"))) if folder.is_dir() else []
    device = choose_device("auto")
    try:
        default, why = find_embedder()
    except ScannerError as error:
        default, why = None, str(error)
    try:
        rates = known_machine().sentence
    except ScannerError as error:
        rates = str(error)
    facts = {
        "versions": versions(),
        "cores": cores(),
        "device": device.name,
        "device_reason": device.reason,
        "insightface_packs": packs,
        "dlib": is_installed(),
        "drawn_embedder": DRAWN_PATH.exists(),
        "default_embedder": default,
        "rates": rates,
    }
    for name, value in facts.items():
        say(f"{name:18} {value}", quiet=quiet)
    say(f"\n{why}", quiet=quiet)
    answer(facts)
    return 0


def _bench(*, quiet: bool, out: str | None, folder: str | None, embedder: str | None, detector: str | None) -> int:
    from scanner.jobs.measuring.bench_machine import measure_machine
    from scanner.jobs.measuring.bench_networks import measure_networks
    from scanner.jobs.measuring.profile import Profile, check_profile_path, cpu_model, default_path, write_profile
    from scanner.jobs.options import FaceOptions

    path = default_path() if out is None else Path(out)
    check_profile_path(path)
    with talk(quiet=quiet) as progress:
        networks = measure_networks(FaceOptions(embedder=embedder, detector=detector), progress=progress)
        place = None if folder is None else Path(folder)
        machine = measure_machine(place, drawn=networks[0].rates(), progress=progress)
    profile = Profile(cpu=cpu_model(), machine=machine, networks=networks)
    write_profile(path, profile)
    say(profile.cpu, quiet=quiet)
    for name, value in machine.model_dump().items():
        shown = "not here" if value is None else f"{value:,}"
        say(f"{name:16} {shown:>14}  {_MEANING[name]}", quiet=quiet)
    for one in networks:
        if one.detector is None:
            say(f"{one.embedder}: {one.embed_ms} ms a crop, {one.align_ms} ms to align it, one core", quiet=quiet)
        else:
            say(f"{one.detector}: {one.detect_320_ms} ms a look at 320 x 320 pixels, one core", quiet=quiet)
    say(f"profile: {path}", quiet=quiet)
    answer({"profile": str(path), **profile.model_dump(mode="json")})
    return 0
