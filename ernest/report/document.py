"""The frame of a report: one HTML file without outside parts, its sections, and the lists and tables that all reports share."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path


def document(title: str, lead: str, sections: Mapping[str, str]) -> str:
    """A page of titled sections as HTML; one that has nothing to show is left out. `title` is text, the rest HTML."""
    sections = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    bodies = "".join(f'<section id="{_anchor(title)}"><h2>{title}</h2>{body}</section>' for title, body in sections.items())
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{style}</style></head><body>'
        f'<header><h1>{escape(title)}</h1><p class="lead">{lead}</p><nav>{links}</nav></header>'
        f"<main>{bodies}</main></body></html>\n"
    )


def facts_list(facts: Mapping[str, str]) -> str:
    """Words and figures by name."""
    entries = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{entries}</dl>' if facts else ""


def plain_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Rows of text under a head."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in body)
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{lines}</tbody></table></div>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-").replace(",", "")
