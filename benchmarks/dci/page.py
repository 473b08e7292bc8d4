"""The measured figures as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Report = dict[str, Any]
WORDS = {
    "ours": "ours",
    "no-cycle": "(a) no cycle",
    "alone": "(a') modules alone",
    "real": "trained on photos",
    "synthesised": "synthesised only",
    "mixed": "half synthesised",
}
WHY = (
    "Where (a) is ahead: it spends the same arithmetic on the error of features and pixels alone, which is what PSNR "
    "measures; the cycle spends a part of it on features of the re-created image, which is what the agreement rests on.",
    "Where (b) is ahead at the first cuts: next to nothing is lost there, and iterating finds the one image that fits; a "
    "single pass only comes near it. Where its weight of smoothness is at the end of the grid, its best choice is "
    "to stay near grey, which costs least where the features say nothing of places.",
)
COLUMNS = (("psnr_db", "PSNR dB", 2), ("ssim", "SSIM", 3), ("gap", "perceptual gap", 3), ("agreement", "agreement", 3))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(value: float | None, digits: int) -> str:
    """Return a number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def difference(pair: dict[str, float]) -> str:
    """Return a mean difference and its standard error."""
    return f"{pair['db']:+.2f} ± {pair['se']:.2f}"


def targets(part: Report) -> list[str]:
    """Return what was aimed at, and how far it is reached."""
    lines = []
    if "no-cycle" in part["pairs"]:
        pairs = part["pairs"]["no-cycle"]
        ahead = [cut for cut, pair in pairs.items() if pair["db"] >= 0]
        clear = [cut for cut, pair in pairs.items() if pair["db"] < -2 * pair["se"]]
        rate = {run: part["depths"][run] for run in ("ours", "no-cycle")}
        kept = [cut for cut in pairs if rate["ours"][cut]["agreement"] >= rate["no-cycle"][cut]["agreement"]]
        lines.append(f"- Ours at least (a) in agreement at {len(kept)} of {len(pairs)} cuts.")
        lines.append(
            f"- Ours at least (a) in PSNR at {len(ahead)} of {len(pairs)} cuts; below it by more than two standard errors at "
            f"{len(clear)}{': ' if clear else ''}{', '.join(clear)}."
        )
    rows = part.get("search", {})
    if rows:
        near = [cut for cut, row in rows.items() if row["pair"]["db"] >= -1]
        fast = [cut for cut, row in rows.items() if row["ours_images_per_s"] >= 1000 * row["search_images_per_s"]]
        far = [cut for cut in rows if cut not in near]
        slow = [cut for cut in rows if cut not in fast]
        lines.append(
            f"- Within 1 dB of (b) or better at {len(near)} of {len(rows)} cuts{_but(far)}. "
            f"At least 1 000 times its speed at {len(fast)} of {len(rows)}{_but(slow)}."
        )
    return [*lines, "", *WHY, ""]


def _but(cuts: list[str]) -> str:
    return f"; not at {', '.join(cuts)}" if cuts else ""


def depth_tables(part: Report) -> list[str]:
    """Return one table a measure: a row a depth, a column a training."""
    runs = list(part["depths"])
    lines = []
    for key, title, digits in COLUMNS:
        rows = []
        for cut, layers in part["layers"].items():
            found = [part["depths"][run][cut].get(key) for run in runs]
            extra = []
            if key == "psnr_db":
                extra = [f"{part['depths'][runs[0]][cut]['psnr_se']:.2f}"]
                extra += [difference(part["pairs"][run][cut]) for run in part["pairs"]]
            rows.append([cut, str(layers), *(number(value, digits) for value in found), *extra])
        head = ["cut", "layers", *(WORDS[run] for run in runs)]
        if key == "psnr_db":
            head += ["s.e. of ours", *(f"ours - {WORDS[run]}" for run in part["pairs"])]
        lines += [f"**{title}**", "", *table(head, rows)]
    return lines


def search_table(part: Report) -> list[str]:
    """Return ours against the search, on the same images."""
    head = [
        *("cut", "PSNR ours", "PSNR (b)", "difference", "agreement ours", "agreement (b)"),
        *("images/s ours", "images/s (b)", "ratio", "rate, weight"),
    ]
    rows = []
    for cut, row in part["search"].items():
        ours, other = row["ours"], row["search"]
        rows.append(
            [
                cut,
                f"{ours['psnr_db']:.2f}",
                f"{other['psnr_db']:.2f}",
                difference(row["pair"]),
                f"{ours['agreement']:.2f}",
                f"{other['agreement']:.2f}",
                f"{row['ours_images_per_s']:.0f}",
                f"{row['search_images_per_s']:.2f}",
                f"{row['ours_images_per_s'] / row['search_images_per_s']:.0f}",
                f"{row['plan']['rate']}, {row['plan']['smoothness']}",
            ]
        )
    return [
        f"**Against (b), optimisation of each image** ({part['search_images']} of the same photos, "
        f"{part['search_steps']} steps of Adam with total variation; rate and weight chosen per depth on spare photos)",
        "",
        *table(head, rows),
    ]


def speed_table(part: Report) -> list[str]:
    """Return the speeds of the way back."""
    rows = [
        [cut, f"{row['images_per_s']:.0f}", f"{row['mflop']:.1f}", f"{100 * row['of_product_rate']:.0f} %"]
        for cut, row in part["speeds"].items()
    ]
    lines = [
        f"**One pass back** (batch {part['speed_batch']}; the device's measured matrix products: "
        f"{part['product_gflops']:.0f} GFLOP/s)",
        "",
        *table(["cut", "images/s", "MFLOP/image", "of the products' rate"], rows),
    ]
    if "training" in part:
        training = part["training"]
        lines += [
            f"Training: {training['images_per_s']:.0f} images/s, {100 * training['of_product_rate']:.0f} % of that rate.",
            "",
        ]
    return lines


def budget_table(part: Report) -> list[str]:
    """Return what every training cost."""
    rows = [
        [
            WORDS[name],
            str(row["plan"]["steps"]),
            str(row["plan"]["batch"]),
            f"{row['flops'] / 1e12:.1f}",
            f"{row['seconds']:.0f}",
        ]
        for name, row in part["budgets"].items()
    ]
    return ["**Training**", "", *table(["run", "steps", "batch", "TFLOP", "seconds (machine shared)"], rows)]


def generator_table(part: Report) -> list[str]:
    """Return image to latent."""
    rows = [
        [
            name,
            f"{row['images_per_s']:.1f}",
            f"{row['latent_rmse']:.3f}",
            f"{100 * row['relative_error_median']:.2f} %",
            f"{100 * row['relative_error_p95']:.2f} %",
            f"{100 * row['within_1_percent']:.1f} %",
        ]
        for name, row in part["ways"].items()
    ]
    head = ["way", "images/s", "latent RMSE", "image error, median", "95th percentile", "within 1 %"]
    training = part["training"]
    return [
        f"## {part['generator']}: image to latent",
        "",
        f"{part['images']} of its own samples; a latent is {len(part['blocks'])} blocks away. Block-wise inverse trained "
        f"for {training['dci']['seconds']:.0f} s, encoder for {training['encoder']['seconds']:.0f} s.",
        "",
        *table(head, rows),
    ]


def page(report: Report) -> str:
    """Return the whole page."""
    machine = report["machine"]
    lines = [
        "# Features back to images (DCI)",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} thread(s), device {machine['device']}, "
        f"torch {machine['torch']}, load {machine['load_1min']} when this page was written.",
        "",
    ]
    if "generator" in report:
        lines += [
            "Judged on CIFAR-10 test photos that nothing was trained on. (Some of them were looked at "
            "while the modules and the training data were developed; the search was tuned on others.) Trainings of one "
            "network cost the same arithmetic. SSIM with an 11-pixel window; perceptual gap in SqueezeNet's features (uncalibrated, no LPIPS values, 50 photos); agreement: the attacked network "
            "gives the re-created image the class that it gave the photo.",
            "",
        ]
    for part in report["networks"]:
        lines += [f"## {part['network']}", ""]
        if "depths" in part:
            lines += [
                f"{part['images']} photos; load {part.get('load_1min', 'unknown')} when measured.",
                "",
                *targets(part),
                *depth_tables(part),
                *budget_table(part),
            ]
        if "search" in part:
            lines += search_table(part)
        lines += speed_table(part)
    if "generator" in report:
        lines += generator_table(report["generator"])
    return "\n".join([*lines, *report.get("notes", [])]).rstrip() + "\n"
