"""Reads pages, HTML and Markdown, as the paragraphs and the media of a document, in reading order."""

import codecs
import re
from html.parser import HTMLParser

from ernest.data.documents import Part, Reference
from ernest.data.tree import Tree, decoded

HTML, MARKDOWN = ("html", "htm", "xhtml"), ("md", "markdown")
_SOURCES = {"img": "src", "audio": "src", "video": "src", "iframe": "src", "embed": "src", "object": "data"}
"""Elements that show something that lies in another file, and the attribute that names it."""
_UNSEEN = ("title", "style", "script", "noscript", "template", "svg", "textarea", "select")
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "body", "br", "caption", "center", "dd", "details", "div", "dl", "dt"),
    *("fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main"),
    *("nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
)
"""Elements at whose borders a paragraph ends."""
ANYWHERE = "data-anywhere"
"""The attribute of a medium that is named without its folder."""


def read_page(tree: Tree, name: str) -> list[Part | Reference]:
    """The paragraphs and media of the page `name`. Raises ValueError for a file that is no text."""
    if name.lower().endswith(tuple(f".{ending}" for ending in MARKDOWN)):
        return read_markdown(tree.text(name))
    with tree.file(name).open() as content:
        return read_html(_text_of_html(content.read(), str(tree.folder / name)))


def read_html(text: str) -> list[Part | Reference]:
    """Paragraphs as texts that end in a line feed, and what elements show. Blanks are one blank, but for `pre`."""
    page = _Page()
    page.feed(text)
    page.close()
    page.end_paragraph()
    return page.parts


def read_markdown(text: str) -> list[Part | Reference]:
    """CommonMark with tables, HTML within it, and two things that people write: blanks in the names of files, and `![[name]]`,
    which notes use for a file wherever it lies. What stands at the beginning between lines of dashes is about the file."""
    from markdown_it import MarkdownIt

    text = re.sub(r"\A---[ \t]*\r?\n.*?^(---|\.\.\.)[ \t]*$", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!\[\[([^\[\]|#\n]+)[^\[\]\n]*\]\]", rf'<img {ANYWHERE} src="\1">', text)
    text = re.sub(r"""!\[([^\[\]\n]*)\]\(([^()<>"'\n]*[^()<>"'\s][ ][^()<>"'\n]*)\)""", r"![\1](<\2>)", text)
    markdown = MarkdownIt("commonmark").enable("table")
    markdown.validateLink = lambda url: True  # where a medium lies, and whether it is read, is said elsewhere
    return read_html(markdown.render(text))


def _text_of_html(content: bytes, name: str) -> str:
    """A page's text in the encoding that it names itself, where that can be read."""
    named = re.search(rb"""<meta[^>]+charset=["']?\s*([\w-]+)""", content[:4096], re.IGNORECASE)
    if named:
        try:
            return content.decode(codecs.lookup(named[1].decode()).name)
        except (LookupError, UnicodeDecodeError):
            pass
    return decoded(content, name)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[Part | Reference] = []
        self.paragraph: list[str] = []
        self.unseen = 0
        self.pre = 0
        self.player = ""  # the audio or video element that is open
        self.shown = False  # whether it has named its file

    def end_paragraph(self) -> None:
        text = "".join(self.paragraph)
        self.paragraph = []
        if text.strip():
            self.parts.append(Part("text", (text.strip("\n") if self.pre else " ".join(text.split())) + "\n"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in _UNSEEN:
            self.unseen += 1
        if self.unseen:
            return
        if tag in ("audio", "video"):
            self.player, self.shown = tag, False
        if tag in _SOURCES or (tag == "source" and self.player and not self.shown):
            self._show(values.get("data-src") or values.get(_SOURCES.get(tag, "src"), ""), values)
        elif tag in _BLOCKS:
            self.end_paragraph()
            self.pre += tag == "pre"
        elif tag in ("td", "th"):
            self.paragraph.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self.unseen = max(0, self.unseen - 1)
        elif tag == self.player:
            self.player = ""
        elif tag in _BLOCKS:
            self.end_paragraph()
            self.pre = max(0, self.pre - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not (self.unseen or self.player):  # the words in a player are for browsers that know none
            self.paragraph.append(data)

    def _show(self, source: str, values: dict[str, str]) -> None:
        source = source.strip()
        if not source or source == "about:blank":
            return
        self.shown = True
        self.end_paragraph()
        words = " ".join(values.get("alt", "").split())
        base = re.split(r"[?#]", source)[0].rpartition("/")[2]
        words = "" if words in (base, base.rpartition(".")[0]) else words
        self.parts.append(Reference(source, words, anywhere=ANYWHERE in values))
