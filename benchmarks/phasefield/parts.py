"""What `python -m benchmarks.phasefield` measures: speed and laws of the engine, beside the baselines and other packages."""

from benchmarks.phasefield import (
    audit,
    cold,
    comparisons,
    defaults,
    earlier,
    general,
    laws,
    noise,
    peers,
    pfhub,
    report,
    steps,
    varying,
    volume,
    walls,
)
from benchmarks.runner import Part, Wing

WING = Wing(
    name="phasefield",
    command="python -m benchmarks.phasefield",
    parts={
        "baselines": Part(lambda folder, rounds, quick, progress: comparisons.compare(folder, rounds, quick)),
        "earlier": Part(earlier.measure, quick=False),
        "orders": Part(lambda folder, rounds, quick, progress: comparisons.orders(folder, rounds, quick)),
        "solve": Part(lambda folder, rounds, quick, progress: defaults.measure(folder, rounds, quick)),
        "cold": Part(lambda folder, rounds, quick, progress: cold.measure(rounds, quick)),
        "volume": Part(lambda folder, rounds, quick, progress: volume.measure(folder, quick)),
        "audit": Part(lambda folder, rounds, quick, progress: audit.measure(folder, quick, progress)),
        "varying": Part(lambda folder, rounds, quick, progress: varying.measure(quick)),
        "walls": Part(lambda folder, rounds, quick, progress: walls.measure(quick)),
        "noise": Part(lambda folder, rounds, quick, progress: noise.measure(quick)),
        "steps": Part(lambda folder, rounds, quick, progress: steps.measure(folder, rounds, quick)),
        "laws": Part(lambda folder, rounds, quick, progress: laws.measure(quick)),
        "pfhub": Part(lambda folder, rounds, quick, progress: pfhub.measure(quick)),
        "general": Part(lambda folder, rounds, quick, progress: general.measure(rounds, quick)),
        "large": Part(lambda folder, rounds, quick, progress: general.large(quick), quick=False),
        "peers": Part(lambda folder, rounds, quick, progress: peers.compare(folder, rounds), quick=False),
    },
    rounds=5,
    packages=("torch", "numpy", "scipy", "pyfftw", "numba"),
    method="One thread where no other number is told; medians of runs taken in turn.",
    own_blocks=(
        *("earlier", "solve", "peers", "cold", "volume", "audit", "walls"),
        *(part for parts in report.OWN_PAGE.values() for part in parts),
    ),
    draw=report.draw_parts,
)
