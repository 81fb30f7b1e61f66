"""What the first small solve of a process costs beside importing torch: with compiled code on disk, and before there is any.

The floor beside it is what the libraries alone ask: numba and FFTW imported, and one line of compiled code taken from disk.

Every run is a process of its own, whose processor time counts, the start of Python included. Compiled code and plans of
transforms are kept in a folder of their own, which is empty at first. Bytecode of Python is on disk, as it is for users.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.findings import Findings
from benchmarks.tables import Figure, Table

TORCH = "import torch; torch.set_num_threads(1)"
SOLVE = """
import math, sys, torch
torch.set_num_threads(1)
from ernest.phasefield import AllenCahn, Grid, initial_conditions, solve
grid = Grid.cube(64, 2 * math.pi)
solve(AllenCahn(0.01), grid, initial_conditions.circle(grid, 2.0), 1.0, progress="progress" in sys.argv)
"""

LIBRARIES = """
import sys, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
import numba, pyfftw
from kernel import double
double(1.0)
"""
KERNEL = """
import numba

@numba.njit(cache=True)
def double(x):
    return 2 * x
"""


def run(script: str, environment: Mapping[str, str], *arguments: str) -> tuple[float, str]:
    """Seconds of the processor of a process, and what it wrote to stderr."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def measure(rounds: int, quick: bool) -> Findings:
    with tempfile.TemporaryDirectory() as empty:
        own = {"NUMBA_CACHE_DIR": str(Path(empty) / "numba"), "XDG_CACHE_HOME": str(Path(empty) / "cache")}
        environment = {**os.environ, **own, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
        first, words = run(SOLVE, environment, "progress")
        Path(empty, "kernel.py").write_text(KERNEL)
        run(LIBRARIES, environment, empty)
        imports, libraries, solves = [], [], []
        for _ in range(1 if quick else rounds):
            imports.append(run(TORCH, environment)[0])
            libraries.append(run(LIBRARIES, environment, empty)[0])
            solves.append(run(SOLVE, environment)[0])
    torch, floor, warm = median(imports), median(libraries), median(solves)
    figures = (
        Figure("cold start: small solve ÷ import of torch, compiled code on disk", warm / torch, 1.3, less=True),
        Figure("cold start: numba, FFTW and one compiled line alone ÷ import of torch", floor / torch),
        Figure("cold start: small solve ÷ import of torch, nothing compiled", first / torch),
        Figure(
            "cold start: progress lines that say that code is compiled", sum("compil" in line for line in words.splitlines()), 1
        ),
    )
    rows = (
        ("import torch", torch),
        ("and numba, FFTW, one compiled line", floor),
        ("small solve", warm),
        ("small solve, nothing compiled", first),
    )
    table = Table("Cold start", ("process", "seconds of the processor"), tuple((name, f"{one:.2f}") for name, one in rows))
    return Findings(figures, (table,))
