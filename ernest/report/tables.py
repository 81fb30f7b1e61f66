"""The score table, for three readers: the terminal, the page, and the file of benchmark rows."""

import re
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from ernest.evaluation.results import FULL, Findings, Score

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {True: "✓", False: "✗", None: ""}
Column = tuple[str, Callable[[dict[str, Score]], str]]
"""A column's name, and its cell for the scores of a direction by system."""
OPTIONAL = ("bar", "true", "rebuilt")
"""Columns that are left out where nothing would stand in them."""


def table(findings: Findings) -> "Table":
    """Scores for the terminal: each direction with its verifier below it, the sub-models in columns of their own."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = columns_beside(findings)
    grid = Table(
        title=Text(findings.title),
        caption=headline(findings),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    grid.add_column("direction", overflow="fold")
    names = ["score", *(name for name, _ in columns)]
    marked = names[1] == "bar"
    for name in (*names[:2], "", *names[2:]) if marked else names:
        grid.add_column(name, justify="right", no_wrap=True)
    before = None
    for direction, by_system in directions(findings):
        first = _first(by_system)
        if before is not None and first.group != before:
            grid.add_row()
        before = first.group
        full = by_system.get(FULL)
        ok = None if full is None else full.ok
        mark = Text(MARKS[ok], style={True: "green", False: "red", None: ""}[ok])
        first_cell, *cells = (cell(by_system) for _, cell in columns)
        grid.add_row(
            Text.assemble(direction, "" if first.verifier == "–" else (f"\n  {first.verifier}", "dim")),
            figure(full.value) if full else "–",
            first_cell,
            *((mark, *cells) if marked else cells),
        )
    return grid


def rows(findings: Findings, command: str) -> list[dict[str, Any]]:
    """One entry for each score, as benchmark files hold them; `ok` is None where no bar was set."""
    return [
        {
            "row": score.direction if score.system == FULL else f"{score.direction} [{score.system}]",
            "value": score.value,
            "bar": score.bar,
            "ok": score.ok,
            "threads": findings.threads,
            "command": command,
        }
        for score in findings.scores
    ]


def html_table(findings: Findings) -> str:
    """Scores for the page; on a narrow screen every line becomes a card, whose cells are named by `data-name`."""
    columns = columns_beside(findings)
    heads = ["", "score", *(name for name, _ in columns)]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body, before = [], ""
    for direction, by_system in directions(findings):
        first = _first(by_system)
        if first.group and first.group != before:
            body.append(
                f'<tr class="group"><th colspan="{len(heads)}" scope="rowgroup">{escape(first.group.capitalize())}</th></tr>'
            )
        before = first.group
        cells = [_cell("score", _meter(by_system.get(FULL)), "main")]
        cells += [_cell(name, escape(cell(by_system))) for name, cell in columns]
        verifier = "" if first.verifier == "–" else f'<span class="small">{escape(first.verifier)}</span>'
        body.append(f'<tr><th scope="row">{escape(spaced(direction))}{verifier}</th>{"".join(cells)}</tr>')
    return f'<table class="scores"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def columns_beside(findings: Findings) -> list[Column]:
    """The columns behind the score, in their order: bar, other systems, chance, the verifier's ceilings, count."""
    of_system = [
        (system, lambda scores, system=system: figure(scores[system].value) if system in scores else "–")
        for system in submodels(findings)
    ]
    columns: list[Column] = [
        ("bar", lambda scores: bar(_first(scores))),
        *of_system,
        ("chance", lambda scores: _first(scores).chance),
        ("true", lambda scores: figure(_first(scores).ceiling_true)),
        ("rebuilt", lambda scores: figure(_first(scores).ceiling_rebuilt)),
        ("n", lambda scores: f"{_first(scores).count:,}" if _first(scores).count else "–"),
    ]
    lines = [by_system for _, by_system in directions(findings)]
    return [(name, cell) for name, cell in columns if name not in OPTIONAL or any(cell(line) != "–" for line in lines)]


def headline(findings: Findings) -> str:
    """The number of bars that were reached, in words."""
    verdicts = [score.ok for score in findings.scores if score.ok is not None]
    return f"{sum(verdicts)} of {len(verdicts)} bars reached" if verdicts else "no bars were set"


def submodels(findings: Findings) -> list[str]:
    """The systems that were scored beside the full model."""
    return [system for system in dict.fromkeys(score.system for score in findings.scores) if system != FULL]


def directions(findings: Findings) -> Iterator[tuple[str, dict[str, Score]]]:
    """Scores by direction, in order of first appearance, then by system."""
    by_direction: dict[str, dict[str, Score]] = {}
    for score in findings.scores:
        by_direction.setdefault(score.direction, {})[score.system] = score
    yield from by_direction.items()


def figure(value: float | None) -> str:
    """A number as a table shows it: three decimals for shares, none for thousands."""
    if value is None:
        return "–"
    if value != value:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def spaced(direction: str) -> str:
    """A direction with air around its arrow."""
    return re.sub(r"\s*→\s*", "\u2009→\u2009", direction)


def bar(score: Score) -> str:
    """The bar of a score as a table shows it: `≥ 0.9`."""
    if score.bar is None:
        return "–"
    number = f"{score.bar:,.0f}" if abs(score.bar) >= 100 else f"{score.bar:g}"
    return f"{'≤' if score.lower_is_better else '≥'} {number}"


def _first(by_system: dict[str, Score]) -> Score:
    """What stands beside the scores of a direction: the full model's, or else the first that there is."""
    return by_system.get(FULL) or next(iter(by_system.values()))


def _cell(name: str, content: str, kind: str = "") -> str:
    kind = "none" if content == "–" else kind
    style = f' class="{kind}"' if kind else ""
    return f'<td data-name="{escape(name)}"{style}>{content}</td>'


def _meter(score: Score | None) -> str:
    """A figure with its mark; for a share, also a track that shows the figure, the bar and the verifier's ceiling."""
    if score is None:
        return "–"
    words = {True: "bar reached", False: "bar missed", None: "no bar"}[score.ok]
    kind = {True: "ok", False: "missed", None: "free"}[score.ok]
    mark = f'<span class="mark {kind}" role="img" aria-label="{words}">{MARKS[score.ok]}</span>'
    number = f'<span class="figure">{figure(score.value)}</span>{mark}'
    if score.lower_is_better or not 0 <= score.value <= 1:
        return number
    ticks = "".join(
        f'<i class="{name}" style="left:{100 * value:.1f}%"></i>'
        for name, value in (("bar", score.bar), ("ceiling", score.ceiling_rebuilt))
        if value is not None and 0 <= value <= 1
    )
    return f'{number}<span class="track {kind}"><b style="width:{100 * score.value:.1f}%"></b>{ticks}</span>'
