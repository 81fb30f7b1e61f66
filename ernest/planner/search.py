"""Tries every layout of some devices, and says of each what it needs or why it does not fit."""

from dataclasses import dataclass
from itertools import product

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
    divisors = [n for n in range(1, devices + 1) if devices % n == 0]
    meshes = [mesh for mesh in product(divisors, repeat=4) if mesh[0] * mesh[1] * mesh[2] * mesh[3] == devices]
    return [Layout(*mesh, checkpoint_activations=saves) for mesh in meshes for saves in (False, True)]


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
