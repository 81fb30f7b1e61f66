"""A folder of captioned files for tests of the import, and what comes out of it."""

from pathlib import Path

from PIL import Image

from ernest.data.importers import ImportSummary, import_folder
from ernest.data.records import read_lines


class Folder:
    """A folder to be imported, and what comes out."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0

    def pictures(self, *names: str) -> "Folder":
        for name in names:
            path = self.path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self.count += 1
            Image.new("RGB", (8, 8), (self.count % 256, self.count // 256, 9)).save(path, "PNG")
        return self

    sounds = pictures  # told by content: what it is does not matter to where its caption is

    def text(self, name: str, text: str | bytes, encoding: str = "utf-8") -> "Folder":
        path = self.path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return self

    def imported(self, **options: object) -> tuple[dict[str, list[str]], ImportSummary, list[str]]:
        notes: list[str] = []
        summary = import_folder(self.path / "in", self.path / "out", tell=notes.append, **options)
        found: dict[str, list[str]] = {}
        for record in read_lines(self.path / "out").stored:
            if record.task.endswith("→text"):
                found.setdefault(record.facts["file"], []).extend((record.segments[1].text, *record.segments[1].others))
        return found, summary, notes

    def captions(self, **options: object) -> dict[str, list[str]]:
        return self.imported(**options)[0]
