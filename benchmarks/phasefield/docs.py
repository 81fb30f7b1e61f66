"""`python -m benchmarks.phasefield.docs`: puts the newest measurements and their plot into docs/phasefield/speed.md."""

import argparse
import re
import shutil
from pathlib import Path

PAGE, PICTURE = Path("docs/phasefield/speed.md"), "work-precision.png"
BLOCK = re.compile(r"(<!-- results: begin[^\n]*-->\n).*?(\n?<!-- results: end -->)", re.DOTALL)


def insert(page: str, block: str) -> str:
    """The page with the block between its markers. Raises ValueError where they are missing."""
    text, found = BLOCK.subn(lambda markers: f"{markers[1]}\n{block}\n{markers[2]}", page)
    if found != 1:
        raise ValueError(f"{PAGE}: expected '<!-- results: begin -->' and '<!-- results: end -->' once each, found {found} pairs")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phasefield.docs", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where python -m benchmarks.phasefield wrote")
    folder = parser.parse_args().folder
    tables = (folder / "phasefield.md").read_text().strip()
    page = insert(PAGE.read_text(), f"![Error over the seconds of a whole run, method by method]({PICTURE})\n\n{tables}")
    shutil.copy(folder / "phasefield.png", PAGE.parent / PICTURE)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
