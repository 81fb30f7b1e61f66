"""`python -m benchmarks.phasefield.docs`: puts the newest measurements and their plot into docs/phasefield/speed.md."""

import argparse
import shutil
from pathlib import Path

from benchmarks.tables import insert

PAGE, PICTURE = Path("docs/phasefield/speed.md"), "work-precision.png"


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
