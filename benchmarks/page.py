"""`python -m benchmarks.page PAGE`: puts the newest measurements, and pictures of them, into a page of the documentation."""

import argparse
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks import tables
from benchmarks.findings import FOLDER, Findings, read

PAGES = {
    "model": Path("docs/speed.md"),
    "lcnet": Path("docs/lcnet/speed.md"),
    "phasefield": Path("docs/phasefield/speed.md"),
    "results": Path("docs/results/data.md"),
    "general": Path("docs/phasefield/systems.md"),
    "pfhub": Path("docs/phasefield/pfhub.md"),
}
PART_PAGES = {
    "walls": Path("docs/phasefield/variable.md"),
    "large": Path("docs/phasefield/systems.md"),
    "planner": Path("docs/planner.md"),
    "transformers": Path("docs/export.md"),
    "codec": Path("docs/tokenizers.md"),
}
"""Pages of parts that are not that of their wing."""
PICTURES = {
    "lcnet": {
        "lcnet-latency-accuracy.png": "Published accuracy over the milliseconds of one image: PP-LCNet and other networks",
        "lcnet-layers-fp32.png": "Microseconds of every layer of PP-LCNet x1.0 and what the core's roofline allows",
    },
    "phasefield": {"phasefield-work-precision.png": "Error over the seconds of a whole run, method by method"},
    "general": {"general-work-precision.png": "Error over the seconds of a whole run, on three systems"},
}
"""By page, the files in the folder, which lose the wing's name beside the page, and what they show."""

COPIES = {"lcnet-scenes/heads.png": Path("docs/lcnet/heads.png")}
"""Pictures of other pages."""


def markdown(parts: Mapping[str, Findings], source: str) -> str:
    """Bars first, then every table, then what was not there, then where the numbers come from."""
    blocks = [tables.bars(figure for found in parts.values() for figure in found.figures)]
    blocks += [tables.markdown(table) for found in parts.values() for table in found.tables]
    missing = [note for found in parts.values() for note in found.notes if "not there" in note]
    blocks += ["\n".join(f"- {note}" for note in missing)] if missing else []
    return "\n\n".join([*blocks, source])


def insert(page: str, block: str, mark: str = "results") -> str:
    """The page with the block between the markers of this name. Raises ValueError where they are missing."""
    between = re.compile(rf"(<!-- {mark}: begin[^\n]*-->\n).*?(\n?<!-- {mark}: end -->)", re.DOTALL)
    text, found = between.subn(lambda markers: f"{markers[1]}\n{block}\n{markers[2]}", page)
    if found != 1:
        raise ValueError(f"expected '<!-- {mark}: begin -->' and '<!-- {mark}: end -->' once each, found {found} pairs")
    return text


def publish(wing: str, folder: Path, other: Path | None = None) -> None:
    """Writes the page with the tables and pictures that the wing has left in the folder; `other` instead of the wing's own."""
    page, blocks = other or PAGES[wing], []
    for name, meaning in PICTURES.get(wing, {}).items():
        if (folder / name).exists():
            place = name.removeprefix(f"{wing}-") if wing in ("lcnet", "phasefield") else name
            place = f"{other.stem}-{place}" if other else place
            shutil.copy(folder / name, page.parent / place)
            blocks.append(f"![{meaning}]({place})")
    for name, place in () if other else COPIES.items():
        if name.startswith(wing) and (folder / name).exists():
            shutil.copy(folder / name, place)
    blocks.append((folder / f"{wing}.md").read_text().strip())
    page.write_text(insert(page.read_text(), "\n\n".join(blocks)))


def publish_part(wing: str, part: str, folder: Path, other: Path | None = None) -> None:
    """Writes the tables of one part between the marks on the page that have its name, and copies its picture beside the page."""
    page = other or PART_PAGES.get(part, PAGES[wing])
    found, picture = read(wing, [part], folder)[part], folder / f"{wing}-{part}.png"
    if picture.exists():
        shutil.copy(picture, page.parent / f"{part}.png")
    page.write_text(insert(page.read_text(), "\n\n".join(map(tables.markdown, found.tables)), part))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("wing", choices=PAGES)
    parser.add_argument("--part", help="only the block of this part, which has marks of its own")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the wing's command wrote")
    parser.add_argument("--page", type=Path, help="another page with the same marks, such as that of another processor")
    chosen = parser.parse_args()
    written = chosen.folder / (f"{chosen.wing}/{chosen.part}.json" if chosen.part else f"{chosen.wing}.md")
    if not written.is_file():
        parser.error(f"{written} is not there: the command that measures writes it, and is named on the page")
    if chosen.part:
        publish_part(chosen.wing, chosen.part, chosen.folder, chosen.page)
    else:
        publish(chosen.wing, chosen.folder, chosen.page)


if __name__ == "__main__":
    main()
