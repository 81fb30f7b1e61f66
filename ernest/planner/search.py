"""Tries every layout of some devices, and says of each what it needs or why it does not fit."""

from dataclasses import dataclass
from functools import cache
from math import isqrt

from ernest.config.recipe import Recipe
from ernest.config.stages import in_longest_rows
from ernest.planner.devices import Device
from ernest.planner.layout import Layout, check_layout
from ernest.planner.plan import Plan, plan

ROOM = 0.9
"""The share of a device's memory that a plan may fill: the rest is the allocator's and the library's."""


@dataclass(frozen=True)
class Candidate:
    """A layout with its plan, and what speaks against it, or None."""

    layout: Layout
    plan: Plan | None
    against: str | None


def layouts(devices: int) -> list[Layout]:
    """All meshes of that many ranks without pipelines, each without and with checkpointing."""
    return [Layout(*mesh, checkpoint_activations=saves) for mesh in _products(devices, 4) for saves in (False, True)]


def _products(number: int, factors: int) -> list[tuple[int, ...]]:
    """All ways to write a number as a product of so many factors, in order."""
    if factors == 1:
        return [(number,)]
    return [(first, *rest) for first in _divisors(number) for rest in _products(number // first, factors - 1)]


@cache
def _divisors(number: int) -> tuple[int, ...]:
    """In order; the trials end at the square root."""
    small = [one for one in range(1, isqrt(number) + 1) if number % one == 0]
    return tuple(sorted({*small, *(number // one for one in small)}))


def search(recipe: Recipe, devices: int, device: Device) -> list[Candidate]:
    """Every layout, those that fit first, the quickest before the others."""
    found = [tried(recipe, layout, devices, device) for layout in layouts(devices)]
    return sorted(found, key=lambda one: (one.against is not None, one.plan.seconds if one.plan else float("inf")))


def tried(recipe: Recipe, layout: Layout, devices: int, device: Device) -> Candidate:
    """One layout, of the longest rows of the recipe."""
    try:
        check_layout(recipe, layout, devices)
    except ValueError as error:
        return Candidate(layout, None, str(error))
    needs = plan(in_longest_rows(recipe), layout, device)
    if needs.peak > ROOM * device.memory:
        return Candidate(layout, needs, f"needs {needs.peak / 1e9:,.1f} GB of {ROOM * device.memory / 1e9:,.1f}")
    return Candidate(layout, needs, None)
