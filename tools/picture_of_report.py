"""Take the README's picture: the top of a report page, by headless Chromium.

python tools/picture_of_report.py demo-run/run/report.html docs/report.png
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

COLOURS = 128


def main() -> None:
    """Photograph a page and write it as a small PNG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--size", default="1060,2120", help="width,height in pixels")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        subprocess.run(
            [args.browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/p",
             "--disable-background-networking", f"--window-size={args.size}", f"--screenshot={shot}",
             args.page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        with Image.open(shot) as picture:
            picture.convert("RGB").quantize(COLOURS).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
