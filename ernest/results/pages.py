"""The pages of results: words that people wrote, and between two marks what a target found."""

import re
from pathlib import Path

from ernest.storage import write_text

BEGIN, END = "<!-- results: begin (written by `{command}`) -->", "<!-- results: end -->"


def write_page(path: Path, title: str, words: str, command: str, block: str) -> None:
    """Puts a block between the marks of a page; a page that is not there begins with a title and some words.

    Raises ValueError for a page without its marks.
    """
    begin = BEGIN.format(command=command)
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {title}\n\n{words}\n\n{begin}\n{END}\n"
    marks = re.compile(rf"<!-- results: begin[^\n]*-->\n.*?{re.escape(END)}", re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"{path}: expected one '<!-- results: begin … -->' and one '{END}' behind it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, marks.sub(lambda _: f"{begin}\n\n{block.strip()}\n\n{END}", text))
