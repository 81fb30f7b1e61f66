"""`python -m benchmarks.lcnet.docs`: puts the newest measurements and their pictures into docs/lcnet/speed.md."""

import argparse
import shutil
from pathlib import Path

from benchmarks.lcnet.__main__ import summarise
from benchmarks.tables import insert

PAGE = Path("docs/lcnet/speed.md")
PICTURES = {
    "lcnet-latency-accuracy.png": "Published accuracy over the milliseconds of one image: PP-LCNet and other networks",
    "lcnet-layers-fp32.png": "Microseconds of every layer of PP-LCNet x1.0 and what the core's roofline allows",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lcnet.docs", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where python -m benchmarks.lcnet wrote")
    folder = parser.parse_args().folder
    summarise(folder)
    blocks = []
    for name, meaning in PICTURES.items():
        if (folder / name).exists():
            shutil.copy(folder / name, PAGE.parent / name.removeprefix("lcnet-"))
            blocks.append(f"![{meaning}]({name.removeprefix('lcnet-')})")
    blocks.append((folder / "lcnet.md").read_text().strip())
    PAGE.write_text(insert(PAGE.read_text(), "\n\n".join(blocks)))


if __name__ == "__main__":
    main()
