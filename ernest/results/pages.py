"""The pages of results: words that people wrote, and between the two marks of a command what it found."""

import re
from pathlib import Path

from ernest.storage import write_text

BEGIN, END = "<!-- results: begin (written by `{command}`) -->", "<!-- results: end -->"


def write_page(path: Path, title: str, words: str, command: str, block: str) -> None:
    """Puts a block between the marks of a command; a page that is not there begins with a title and some words, and behind the
    blocks of other commands there is room for one more.

    Raises ValueError for a page without marks.
    """
    begin = BEGIN.format(command=command)
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {title}\n\n{words}\n\n{begin}\n{END}\n"
    if text.count(END) == text.count(BEGIN.partition("(")[0]) > text.count(begin) == 0:
        text = f"{text.rstrip()}\n\n{begin}\n{END}\n"
    marks = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"{path}: expected one '<!-- results: begin … -->' and one '{END}' behind it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, marks.sub(lambda _: f"{begin}\n\n{block.strip()}\n\n{END}", text))
