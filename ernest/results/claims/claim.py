"""What a claim is, and by which evidence it is judged: outcomes of targets, figures of other pages, tests of every run.

Figures are read where they were published, never typed in again; a claim whose evidence is not there yet has not been run.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ernest.config.recipe import find_recipe, load_recipe
from ernest.config.tokenizer_spec import usual_spec
from ernest.model.cost import active_parameters, total_parameters
from ernest.results.outcome import Outcome, Verdict, judged_known, read_outcomes
from ernest.results.paired import STUDENT

NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Found:
    """What a piece of evidence says in words, and whether that is what was claimed: None where it only tells."""

    words: str
    holds: bool | None


@dataclass(frozen=True)
class Places:
    """Where evidence lies: the folder of results, that of builds, and the top folder of the repository."""

    results: Path
    build: Path
    top: Path

    def source(self, name: str) -> Path:
        """The page or the file of figures with this name."""
        return (self.build if name.endswith(".jsonl") else self.top) / name


@dataclass(frozen=True)
class Measured:
    """The outcome of a target on a claim of its own."""

    target: str
    claim: str

    def read(self, places: Places) -> Outcome | None:
        return read_outcomes(places.results / self.target).get(self.claim)


@dataclass(frozen=True)
class Quote:
    """A figure of a page or of a build's file of figures (`.jsonl`), by the first cell of its row; with a `*` behind it all rows
    that begin so. It holds where it `equals` a word, or is within `least` and `most`; where none is told, where its row says that
    its bar is met."""

    label: str
    source: str
    row: str
    column: str = "value"
    least: float | None = None
    most: float | None = None
    equals: str | None = None

    def read(self, places: Places) -> list[Found]:
        """Every row that is there."""
        rows = _rows(places.source(self.source))
        begins = self.row.removesuffix("*")
        chosen = [row for row in rows if row[""] == self.row or (begins != self.row and row[""].startswith(begins))]
        return [Found(f"{self.label or row['']} {row[self.column]}", self._holds(row)) for row in chosen if row.get(self.column)]

    def _holds(self, row: dict[str, str]) -> bool | None:
        if self.equals is not None:
            return row[self.column] == self.equals
        if self.least is None and self.most is None:
            return row["met"].strip("*") == "yes" if row.get("met") else None
        value = number(row[self.column])
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True)
class Gain:
    """The difference of two rows of a table, means over so many `seeds` with their deviations. It holds where the first is above
    the other by more than the 95 % interval of the difference; within it nothing can be said."""

    label: str
    source: str
    row: str
    other: str
    column: str
    seeds: int = 3

    def read(self, places: Places) -> list[Found]:
        """The difference, where both rows are there."""
        rows = {row[""]: row[self.column] for row in _rows(places.top / self.source) if self.column in row}
        if self.row not in rows or self.other not in rows:
            return []
        (value, spread), (other, other_spread) = (_with_spread(rows[name]) for name in (self.row, self.other))
        gain, interval = value - other, STUDENT[2 * (self.seeds - 1)] * ((spread**2 + other_spread**2) / self.seeds) ** 0.5
        return [Found(f"{self.label} {gain:+.2f} ± {interval:.2f}", gain > 0 if abs(gain) > interval else None)]


@dataclass(frozen=True)
class Share:
    """The mean over `rows` of a figure of the row with `ending` as a share of the row without; it holds where it is `least` at
    least."""

    label: str
    source: str
    rows: tuple[str, ...]
    ending: str
    least: float

    def read(self, places: Places) -> list[Found]:
        """The mean, where all rows are there."""
        values = {row[""]: row["value"] for row in _rows(places.source(self.source))}
        if not all(name in values and name + self.ending in values for name in self.rows):
            return []
        shares = [number(values[name + self.ending]) / number(values[name]) for name in self.rows]
        mean = sum(shares) / len(shares)
        words = f"{self.label} {mean:.3f}, {min(shares):.3f} to {max(shares):.3f} over {len(shares)} directions"
        return [Found(words, mean >= self.least)]


@dataclass(frozen=True)
class ActiveShare:
    """The share of a recipe's parameters that one position passes through; it holds where it is within `most`."""

    recipe: str
    most: float

    def read(self, places: Places) -> list[Found]:
        """Counted from the sizes of the recipe."""
        recipe = load_recipe(find_recipe(self.recipe))
        spec = usual_spec(recipe.tokenizers.vocabulary, recipe.media)
        active, total = active_parameters(recipe.model), total_parameters(recipe.model, spec)
        experts = f"{recipe.model.top_k} of {recipe.model.experts} experts"
        words = (
            f"recipe `{self.recipe}`: {experts}, {active / 1e6:.1f} of {total / 1e6:.1f} million parameters, {active / total:.1%}"
        )
        return [Found(words, active / total <= self.most)]


@dataclass(frozen=True)
class ByTest:
    """Tests that every run of `make test` takes, as pytest names them: without them there would be no release."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Claim:
    """A claim of a paper: where it stands there, what it says, the paper's `number`, and the `evidence` for it here.

    `command` tries it again. Without evidence, `why` says why it cannot be judged here; without that too it has not been run.
    """

    where: str
    says: str
    number: str
    evidence: Measured | ByTest | tuple[Quote | Gain | Share | ActiveShare, ...] = ()
    command: str = ""
    why: str = ""

    def outcome(self, places: Places) -> tuple[str, Verdict]:
        """Our figures in words, and the verdict."""
        match self.evidence:
            case Measured():
                outcome = self.evidence.read(places)
                return (outcome.ours, outcome.verdict) if outcome else ("", "not run yet")
            case ByTest():
                count = len(self.evidence.names)
                return f"{count} test{'s' if count > 1 else ''} of every run{self._also()}", "holds"
        found = [one for piece in self.evidence for one in piece.read(places)]
        if not found:
            return self.why, "can't be judged here" if self.why and not self.evidence else "not run yet"
        return "; ".join(one.words for one in found) + self._also(), judged_known([one.holds for one in found])

    def _also(self) -> str:
        return f"; {self.why}" if self.why else ""


def number(cell: str) -> float:
    """The first number of a cell. Raises ValueError where there is none."""
    found = NUMBER.search(cell)
    if found is None:
        raise ValueError(f"expected a number, got {cell!r}")
    return float(found[0].replace(",", ""))


def _with_spread(cell: str) -> tuple[float, float]:
    value, _, spread = cell.partition("±")
    return number(value), number(spread) if spread.strip() else 0.0


@cache
def _rows(path: Path) -> Sequence[dict[str, str]]:
    """The rows of all tables of a page, or of a file of figures, by their columns; the first cell stands under the empty name."""
    if not path.is_file():
        return ()
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [_figure(json.loads(line)) for line in text.splitlines() if line]
    rows: list[dict[str, str]] = []
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not header:
            header = cells
        elif not set("".join(cells)) <= set("-: "):
            rows.append(dict(zip(header, cells, strict=False)) | {"": cells[0]})
    return rows


def _figure(row: dict[str, object]) -> dict[str, str]:
    """A measured figure as the cells of a table."""
    met = "" if row["bar"] is None else "yes" if row["ok"] else "no"
    return {"": str(row["row"]), "value": f"{float(str(row['value'])):.4g}", "met": met}
