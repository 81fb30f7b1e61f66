"""Writes the page of superconvergence: orders at the ends of elements and between them, degree by degree and sweep by sweep."""

import math
from pathlib import Path
from typing import Any

from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.marching import superconvergence
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM
from ernest.results.marching.superconvergence import DEGREES, orders
from ernest.results.outcome import Outcome, judged, table, verdicts, write_outcomes
from ernest.results.pages import write_page
from ernest.results.units import kept

NAME = "superconvergence"
NEAR = 0.65
"""A measured order that lacks no more than this counts as reached: each sweep brings one, and before round-off even the implicit
scheme has not quite its own."""
WORDS = (
    "Orders of convergence in time (arXiv 2406.16287): the paper's abstract says that its implicit scheme superconverges, that "
    "the linear one does not, and that a few sweeps bring that back."
)


def run_orders(build: Path, out: Path, tell: Any) -> None:
    """Measures every degree, and writes tables, picture, outcomes and page into `out`."""
    errors, found = [], []
    for degree in DEGREES:
        done = kept(build / f"degree-{degree}.json", superconvergence.settings(), lambda degree=degree: orders(degree))
        errors += done["errors"]
        found += done["orders"]
        tell(f"{NAME}: degree {degree}")
    for name, rows in (("errors", errors), ("orders", found)):
        write_csv(out / NAME / f"{name}.csv", tuple(rows[0]), [tuple(_cell(value) for value in row.values()) for row in rows])
    write_picture(out / NAME / "orders.png", _picture(errors))
    outcomes = judge(found)
    write_outcomes(out / NAME, outcomes)
    write_page(out / f"{NAME}.md", "Superconvergence in time", WORDS, f"ernest results {NAME}", _block(found, outcomes))


def judge(found: list[dict[str, Any]]) -> list[Outcome]:
    """The abstract's three sentences, and what is lost between the ends."""
    implicit = {row["degree"]: row for row in found if row["scheme"] == IMPLICIT}
    plain = [row for row in found if row["sweeps"] == 0 and row["scheme"] != IMPLICIT]
    needed = {reading: {p: sweeps_needed(found, reading, p) for p in DEGREES} for reading in (FIELD, TERM)}
    ends = [superconverges(row) for row in implicit.values()]
    between = [row["between"] <= p + 1 + NEAR for p, row in implicit.items()]
    lost = [not superconverges(row) for row in plain]
    few = [sweeps is not None and sweeps <= p for by_degree in needed.values() for p, sweeps in by_degree.items()]
    named = "p = 2, 3, 4, 5"
    return [
        Outcome(
            "the implicit scheme superconverges", "yes (order not readable)",
            f"{named}: order {_list(row['ends'] for row in implicit.values())} at the ends of elements, 2p is 4, 6, 8, 10",
            judged(sum(ends), len(ends)),
        ),
        Outcome(
            "superconvergence is one of the ends alone", "not said",
            f"{named}: order {_list(row['between'] for row in implicit.values())} between the ends, "
            f"{_list(row['corrected'] for row in implicit.values())} after `Element.corrected`",
            judged(sum(between), len(between)),
        ),
        Outcome(
            "the linear scheme does not superconverge", "yes",
            f"{named}, no sweep: order {_list(row['ends'] for row in plain if row['scheme'] == FIELD)} with u extrapolated, "
            f"{_list(row['ends'] for row in plain if row['scheme'] == TERM)} with the nonlinear term",
            judged(sum(lost), len(lost)),
        ),
        Outcome(
            "a few Picard-like sweeps restore it", "a few",
            f"{named}: {_list(needed[FIELD].values())} sweeps with u extrapolated, {_list(needed[TERM].values())} with the "
            "nonlinear term",
            judged(sum(few), len(few)),
        ),
    ]  # fmt: skip


def superconverges(row: dict[str, Any]) -> bool:
    """Whether the order at the ends lies above that between by half of what theory has it gain, p - 1, or more."""
    return row["ends"] - row["between"] >= (row["degree"] - 1) / 2


def sweeps_needed(found: list[dict[str, Any]], reading: str, degree: int) -> int | None:
    """The fewest sweeps with which a reading of the linear scheme is of order 2p at the ends, or None."""
    rows = [row for row in found if row["scheme"] == reading and row["degree"] == degree]
    reached = [row["sweeps"] for row in rows if row["ends"] >= 2 * degree - NEAR]
    return min(reached, default=None)


def _block(found: list[dict[str, Any]], outcomes: list[Outcome]) -> str:
    rows = [
        (row["degree"], row["scheme"], "" if row["scheme"] == IMPLICIT else row["sweeps"],
         *(_cell(row[kind]) for kind in ("ends", "between", "corrected")))
        for row in found
    ]  # fmt: skip
    return "\n\n".join(
        [
            verdicts(outcomes, "sentence of the abstract", "there"),
            f"![Errors at the ends of elements over the number of steps]({NAME}/orders.png)",
            table(("p", "scheme", "sweeps", "order at the ends", "between", "between, corrected"), rows),
            f"Allen–Cahn, {superconvergence.POINTS}² points, κ = .1, to t = {superconvergence.END:g}; S = s/2 for the implicit "
            "scheme, s for the linear ones. The order is that between the last two numbers of steps with errors above round-off; "
            f"[errors.csv]({NAME}/errors.csv), [orders.csv]({NAME}/orders.csv).",
        ]
    )  # fmt: skip


def _picture(errors: list[dict[str, Any]]) -> Any:
    figure = new_figure(11, 3.6)
    styles = {IMPLICIT: ("-o", PALETTE["ink"]), FIELD: ("--s", PALETTE["image"]), TERM: (":^", PALETTE["video"])}
    for axes, degree in zip(figure.subplots(1, len(DEGREES), sharey=True), DEGREES, strict=True):
        rows = [row for row in errors if row["degree"] == degree]
        for name, sweeps in dict.fromkeys((row["scheme"], row["sweeps"]) for row in rows):
            curve = [(row["steps"], row["ends"]) for row in rows if (row["scheme"], row["sweeps"]) == (name, sweeps)]
            style, colour = styles[name]
            axes.loglog(*zip(*curve, strict=True), style, color=colour, markersize=3, linewidth=1, alpha=0.9)
            if name != IMPLICIT:
                axes.annotate(str(sweeps), curve[-1], (4, 0), textcoords="offset points", fontsize=7, color=colour, va="center")
        axes.set_title(f"p = {degree}", fontsize=10)
        axes.set_xlabel("elements", fontsize=9)
        counts = sorted({int(row["steps"]) for row in rows})
        axes.set_xticks([], minor=True)
        axes.set_xticks(counts, map(str, counts))
        axes.tick_params(labelsize=8)
    figure.axes[0].set_ylabel("error at the ends of elements", fontsize=9)
    handles = [figure.axes[0].plot([], [], style, color=colour, label=name)[0] for name, (style, colour) in styles.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False,
                  title="numbers at the ends of curves: sweeps", title_fontsize=8)  # fmt: skip
    return figure


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    return f"{value:.2f}" if 0.05 < value < 30 and value != round(value) else f"{value:.3g}"


def _list(values: Any) -> str:
    return ", ".join("none" if value is None else _cell(value) for value in values)
