"""The races of one problem, of this package or of that of an earlier commit, whose benchmarks have the same names.

Called with a problem's name, its points and the folder of references. Runs every scheme once, answers each line on stdin with one
when it has run those once more that decide the bars, and an empty line with the ratios in JSON.
"""

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

from benchmarks.phasefield.comparisons import COMPARISONS, ratio
from benchmarks.phasefield.problems import prepare
from benchmarks.phasefield.races import Race, seconds_to

NEAR = 1.3
"""Schemes that take so many times the best time of their kind in their first run do not run again."""
BASELINES = "ETDRK4", "IMEX-BDF4"


def deciding(race: Race, errors: list[float]) -> Race:
    """The race of those runs between which a scheme that may be the fastest of its kind passes one of the errors."""
    kept: set[int] = set()
    for error in errors:
        for names in (race.ours, *([name for name in race.runs if name.startswith(one)] for one in BASELINES)):
            times = {name: seconds_to(error, race.curve(name)) for name in names}
            for name in (name for name in names if times[name] <= NEAR * min(times.values())):
                pairs = list(pairwise(race.runs[name])) or [(race.runs[name][0],) * 2]
                passing = [pair for pair in pairs if pair[0].error > error >= pair[1].error] or [pairs[0]]
                kept |= {id(timed) for timed in passing[0]}
    return replace(race, ready=tuple(pair for pair in race.ready if id(pair[1]) in kept))


def main(name: str, points: str, folder: str) -> None:
    torch.set_num_threads(1)
    comparison = next(one for one in COMPARISONS if (one.name, one.points) == (name, int(points)))
    errors = [bar.error for bar in comparison.bars]
    race = deciding(Race.begin(prepare(name, int(points), Path(folder)), comparison.entrants), errors)
    print("ready", flush=True)
    for line in sys.stdin:
        if not line.strip():
            break
        race.turn()
        print("turned", flush=True)
    found = {f"{one} {error:.0e}": ratio(race, one, error) for error in errors for one in BASELINES}
    fastest = {f"{error:.0e}": race.fastest(race.ours, error) for error in errors}
    print(json.dumps({"ratios": found, "fastest": fastest}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
