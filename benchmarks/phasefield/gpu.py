"""Figures of an accelerator, where torch sees one: cubes as large as its memory holds, and batches of squares."""

import math
import time

import torch

from benchmarks.findings import Findings
from benchmarks.phasefield.problems import KAPPA, several_waves
from benchmarks.tables import Figure, Table
from ernest.phasefield.flows import AllenCahn
from ernest.phasefield.grid import Grid
from ernest.phasefield.initial_conditions import circle
from ernest.phasefield.schemes.gaussseidel import GaussSeidel

SCHEME = GaussSeidel(3, 4, 1, 0.5, shells=True)
SIZES = 768, 640, 512, 448, 384, 320, 256, 128
"""Points along the sides of the cubes, the first that fits is taken."""
BATCH, POINTS = 64, 256


def measure(quick: bool) -> Findings:
    """Nothing without an accelerator."""
    if not torch.cuda.is_available():
        return Findings()
    return batch(2 if quick else BATCH) + cube(SIZES[-1:] if quick else SIZES)


def seconds_per_step(grid: Grid, start: torch.Tensor, tau: float, steps: int = 8) -> float:
    stepper = SCHEME.stepper(AllenCahn(KAPPA), grid, start)
    state = stepper.init(start)
    for _ in range(2):
        state, _, _ = stepper.step(state, tau)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(steps):
        state, _, _ = stepper.step(state, tau)
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / steps


def batch(members: int) -> Findings:
    """So many squares together on the accelerator, against one on a thread of the processor in torch."""
    grid = Grid.cube(POINTS, 2 * math.pi)
    start = several_waves(grid)
    scale = torch.linspace(0.5, 1, members, dtype=torch.float64)[:, None, None]
    together = seconds_per_step(grid, (start * scale).cuda(), 0.25)
    stepper = SCHEME.stepper(AllenCahn(KAPPA), grid, start)
    state = stepper.init(start)
    state, _, _ = stepper.step(state, 0.25)
    begun = time.perf_counter()
    stepper.step(state, 0.25)
    alone = time.perf_counter() - begun
    name = f"GPU: {members} × {POINTS}², GS(3, 4, 1)"
    factor = members * alone / together
    figures = Figure(f"{name}, ms per step", 1e3 * together), Figure(f"{name}, times as fast as the processor", factor)
    cells = (torch.cuda.get_device_name(), f"{members} × {POINTS}²", f"{1e3 * together:.2f}", f"{factor:.0f}")
    header = ("device", "problem", "ms per step", "one thread of the processor, torch ÷ it")
    return Findings(figures, (Table("Batches on the accelerator", header, (cells,)),))


def cube(sizes: tuple[int, ...]) -> Findings:
    """Three dimensions, the largest cube that the memory of the device holds."""
    for points in sizes:
        grid = Grid.cube(points, 2 * math.pi, 3)
        torch.cuda.reset_peak_memory_stats()
        try:
            seconds = seconds_per_step(grid, circle(grid, KAPPA).cuda(), 0.1, 4)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        memory = torch.cuda.max_memory_allocated() / 2**30
        name = f"GPU: {points}³, GS(3, 4, 1)"
        figures = Figure(f"{name}, ms per step", 1e3 * seconds), Figure(f"{name}, GiB at most", memory)
        cells = (torch.cuda.get_device_name(), f"{points}³", f"{1e3 * seconds:.1f}", f"{memory:.1f}")
        header = ("device", "points", "ms per step", "GiB")
        return Findings(figures, (Table("Largest cube on the accelerator", header, (cells,)),))
    return Findings()
