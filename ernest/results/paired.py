"""Differences of systems that share their seeds, with the interval that so few seeds leave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SEEDS = (0, 1, 2)
"""Of every study."""
STUDENT = {1: 12.706, 2: 4.303, 4: 2.776, 8: 2.306}
"""The 97.5 % quantile of Student's distribution, by its degrees of freedom."""
Found = Sequence[Mapping[str, Mapping[str, float]]]
"""By seed and run, what was measured."""


@dataclass(frozen=True)
class Difference:
    """The mean over seeds of one system minus another, and the half of its 95 % interval, infinite of a single seed."""

    mean: float
    interval: float
    seeds: int

    def is_above(self, least: float = 0.0) -> bool | None:
        """Whether it is `least` and above zero beyond its interval; None where it could be either."""
        if self.mean >= least and self.mean - self.interval > 0:
            return True
        return False if self.mean + self.interval < least or self.mean + self.interval < 0 else None

    def is_at_least(self, least: float) -> bool | None:
        """Whether it is at least `least` with all of its interval; None where it could be either."""
        return True if self.mean - self.interval >= least else False if self.mean + self.interval < least else None

    def is_within(self, most: float) -> bool | None:
        """Whether it is at most `most` with all of its interval; None where it could be either."""
        return True if self.mean + self.interval <= most else False if self.mean - self.interval > most else None

    def __str__(self) -> str:
        spread = "(one seed)" if math.isinf(self.interval) else f"± {self.interval:.3f} ({self.seeds} seeds)"
        return f"{self.mean:+.3f} {spread}"


def difference(values: Sequence[float]) -> Difference:
    """Of the differences of every seed, one at least."""
    found = np.array(values)
    if len(found) == 1:
        return Difference(float(found[0]), math.inf, 1)
    return Difference(float(found.mean()), float(STUDENT[len(found) - 1] * found.std(ddof=1) / len(found) ** 0.5), len(found))


def seeds_in_words(count: int) -> str:
    """How many there are."""
    return "one seed" if count == 1 else f"{count} seeds"


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The mean over seeds in words, with their standard deviation where there are several; a dash where nothing was measured."""
    if not values:
        return "–"
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def measure_rows(found: Found) -> list[tuple[int, str, str, float]]:
    """Every measure of every run of every seed in a line of its own: seed, run, measure, value."""
    return [
        (seed, run, measure, value)
        for seed, runs in enumerate(found)
        for run, measures in runs.items()
        for measure, value in measures.items()
    ]
