"""The pages of results: words that people wrote, and between the two marks of a command what it found."""

import re
from pathlib import Path

from ernest.storage import check_writable, write_text

BEGIN, END = "<!-- results: begin (written by `{command}`) -->", "<!-- results: end -->"


def write_page(path: Path, title: str, words: str, command: str, block: str) -> None:
    """Puts a block between the marks of a command; a page that is not there begins with a title and some words, and behind the
    blocks of other commands there is room for one more.

    Raises ValueError for a page without marks.
    """
    begin, text, marks = _marked(path, title, words, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, marks.sub(lambda _: f"{begin}\n\n{block.strip()}\n\n{END}", text))


def check_page(path: Path, command: str) -> None:
    """Raises ValueError where a command could not write its page, before the work whose result it is to show."""
    _marked(path, "", "", command)
    check_writable(path)


def _marked(path: Path, title: str, words: str, command: str) -> tuple[str, str, re.Pattern[str]]:
    """A page's first mark of a command, its text, and the pattern of what stands between the marks."""
    begin = BEGIN.format(command=command)
    text = path.read_text(encoding="utf-8") if path.is_file() else f"# {title}\n\n{words}\n\n{begin}\n{END}\n"
    if text.count(END) == text.count(BEGIN.partition("(")[0]) > text.count(begin) == 0:
        text = f"{text.rstrip()}\n\n{begin}\n{END}\n"
    marks = re.compile(rf"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
    if len(marks.findall(text)) != 1:
        raise ValueError(f"{path}: expected one '<!-- results: begin … -->' and one '{END}' behind it")
    return begin, text, marks
