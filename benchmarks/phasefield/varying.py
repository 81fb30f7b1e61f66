"""Holds `solve` to its tolerance on randomly drawn flows whose coefficients vary, and elements to their energy law.

Every draw is solved again for a hundredth of its tolerance, and must stay within that tolerance of the finer run at its end and
between the steps, and in its energy law within 1e-10 of the energy's fall.
"""

import time as clock

import numpy as np

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table
from ernest.phasefield import solve
from tests.references.varying_flows import random_flow

DRAWS, QUICK_DRAWS = 100, 3
FIRST = 1000
"""Number of the first draw; those of the tests are others."""


def measure(quick: bool) -> Findings:
    """The draws, and what they came to."""
    shares, laws, rows = [], [], []
    for number in range(FIRST, FIRST + (QUICK_DRAWS if quick else DRAWS)):
        begun = clock.process_time()
        share, law, steps = verdict(number)
        shares.append(share)
        laws.append(law)
        rows.append((str(number), f"{share:.2g}", f"{law:.0e}", str(steps), f"{clock.process_time() - begun:.1f}"))
    worst = sorted(rows, key=lambda row: -float(row[1]))[:5]
    figures = (
        Figure("varying: draws", len(shares)),
        Figure("varying: draws that miss their tolerance", sum(not share <= 1 for share in shares), 0, less=True),
        Figure("varying: geometric mean of error ÷ allowed", float(np.exp(np.mean(np.log(np.maximum(shares, 1e-9)))))),
        Figure("varying: greatest defect of the energy law ÷ the energy's fall", max(laws), 1e-10, less=True),
    )
    header = ("draw", "error ÷ allowed", "defect ÷ fall", "steps", "seconds")
    return Findings(figures, (Table("Flows that vary: the worst draws", header, tuple(worst)),))


def verdict(number: int) -> tuple[float, float, int]:
    """The greatest error as a share of what is allowed, the greatest defect as one of the fall, and the number of steps."""
    generator = np.random.default_rng(number)
    flow, grid, start = random_flow(generator)
    tolerance, end = 10 ** generator.uniform(-6, -3), 10 ** generator.uniform(-1, 0.3)
    solution = solve(flow, grid, start, end, tolerance, progress=False)
    finer = solve(flow, grid, start, end, tolerance / 100, progress=False)
    shares = [
        float((solution(t) - finer(t)).square().mean().sqrt()) / (tolerance * solution.units.speed * t)
        for t in [0.3 * solution.steps[0], *np.linspace(end / 10, end, 10)]
    ]
    fall = abs(solution.energy[0] - solution.energy[-1])
    defects = [abs(record.defect) for record in solution.records if isinstance(record.defect, float)]
    return max(shares), max(defects, default=0.0) / fall, len(solution.steps)
