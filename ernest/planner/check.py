"""Compares a plan with a run that has ended: memory of a process and time of a step, as the run measured them."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ernest.config.recipe import Recipe, read_recipe
from ernest.config.stages import in_longest_rows
from ernest.planner.devices import Device
from ernest.planner.layout import Layout
from ernest.planner.peers import megatron_activations
from ernest.planner.plan import Plan, plan
from ernest.storage import read_log


@dataclass(frozen=True)
class Measured:
    """A run's `processes`, the length of the document that a position lies in, as the mean over positions, the most bytes that
    its first process held, and the median seconds of a step."""

    recipe: Recipe
    processes: int
    document: int
    memory: float
    seconds: float


def read_run(run: Path) -> Measured:
    """What a run measured. Raises ValueError where it has not ended, or is none."""
    files = run / "recipe.json", run / "metrics.jsonl"
    if not all(path.is_file() for path in files):
        raise ValueError(f"{run}: no run of `ernest train` that has begun to train; expected recipe.json and metrics.jsonl in it")
    recipe = read_recipe(files[0])
    steps = read_log(files[1])
    if len(steps) < recipe.training.steps:
        raise ValueError(f"{run}: {len(steps)} of {recipe.training.steps} steps are done; a run is compared when it has ended")
    if "memory" not in steps[-1]:
        raise ValueError(f"{run}: its steps do not tell their memory; it was made by an earlier version")
    settings, processes = in_longest_rows(recipe), int(steps[-1]["processes"])
    rows, length = settings.sequence.rows, settings.sequence.length
    # Of a run that went on in another number of processes, and of one whose rows grow, these steps are what is planned.
    steps = [
        one for one in steps if (one["processes"], one.get("rows", rows), one.get("length", length)) == (processes, rows, length)
    ]
    settled = [step["seconds"] for step in steps[len(steps) // 5 :]]  # the first steps build kernels and fill caches
    document = round(sum(step["document"] for step in steps) / len(steps))
    return Measured(settings, processes, document, max(step["memory"] for step in steps), median(settled))


def compare(run: Measured, device: Device) -> tuple[Plan, float, float]:
    """The plan of one process of the run; how far its memory and its time are off, as shares of what was measured."""
    needs = plan(run.recipe, layout_of(run), device, run.document)
    return needs, needs.peak / run.memory - 1, needs.seconds / run.seconds - 1


def layout_of(run: Measured) -> Layout:
    """The layout in which the processes of a run trained."""
    parallel = run.recipe.parallel
    copies, saves = run.processes // parallel.parts, parallel.checkpoint_activations
    return Layout(copies, parallel.shard, parallel.expert, parallel.tensor, checkpoint_activations=saves)


def show_comparison(run: Measured, devices: int, device: Device) -> str:
    """Planned, measured and the difference, a line each. Raises ValueError for another number of devices than processes."""
    if devices != run.processes:
        raise ValueError(f"the run had {run.processes} processes: expected --devices {run.processes}x…, got {devices}x…")
    needs, memory, seconds = compare(run, device)
    theirs = megatron_activations(run.recipe, layout_of(run), run.document if device.keeps_shares else 0)
    return (
        f"{run.processes} processes of {run.recipe.sequence.rows} rows of {run.recipe.sequence.length}, "
        f"documents of {run.document} positions\n"
        f"memory of a process: {needs.peak / 1e9:.3f} GB planned, {run.memory / 1e9:.3f} GB measured, {memory:+.1%}\n"
        f"seconds of a step: {needs.seconds:.3f} planned, {run.seconds:.3f} measured, {seconds:+.1%}\n"
        f"activations: {needs.activations / 1e9:.3f} GB planned, {theirs / 1e9:.3f} GB by Megatron-LM's formula for dense blocks"
    )
