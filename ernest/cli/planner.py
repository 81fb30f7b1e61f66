"""The command of the planner: plan."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ernest.cli.arguments import Overrides
from ernest.device import count_processors
from ernest.storage import check_file


def plan(
    recipe: Annotated[Path | None, Positional, arg(metavar="[RECIPE]")] = None,
    devices: Annotated[str | None, arg(metavar="COUNTxDEVICE")] = None,
    check: Annotated[Path | None, arg(metavar="RUN")] = None,
    calibrate: Annotated[Path | None, arg(metavar="FILE")] = None,
    layout: Annotated[str | None, arg(metavar="SIZE=N,…")] = None,
    set_: Overrides = (),
) -> None:
    """Say what a recipe needs of devices, on paper: memory and time of a rank in every layout that fits.

    Args:
        recipe: a TOML file, or the name of a recipe that comes with Ernest.
        devices: such as 8xH100, 1x4090, 2xcpu, or 4xmine.toml, a file with memory, rate, bandwidth and link.
        check: compare with this finished run of `ernest train` instead, which tells the recipe and the count of devices.
        calibrate: measure this machine for two minutes, and write it to a TOML file, for --devices.
        layout: this one alone, such as expert=64,tensor=4,pipeline=12, with a simulated step.
        set_: fields of the recipe to change, such as sequence.rows=64.
    """
    if calibrate is not None:
        if (recipe, devices, check, layout, set_) != (None, None, None, None, ()):
            raise ValueError("--calibrate measures this machine and plans nothing: leave all else out")
        _calibrate(calibrate)
    elif devices is None or (recipe is None) == (check is None):
        raise ValueError("expected RECIPE --devices COUNTxDEVICE, --check RUN --devices COUNTxDEVICE, or --calibrate FILE")
    elif check is not None:
        if layout is not None or set_:
            raise ValueError("--check takes recipe and layout from the run: leave --layout and --set out")
        _compare(check, devices)
    elif recipe is not None:
        _plan(recipe, tuple(chain(*set_)), devices, layout)


def _calibrate(file: Path) -> None:
    """Measures this machine, and writes it to a file."""
    from ernest.planner.devices import write_device

    check_file(file)
    from ernest.training.calibrate import measure_device  # imports torch, which a mistake above need not wait for

    write_device(file, measure_device(print))
    print(f"{file}: use it as --devices {count_processors()}x{file}")


def _compare(run: Path, devices: str) -> None:
    """Prints the plan of a finished run beside what it measured."""
    from ernest.planner.check import read_run, show_comparison
    from ernest.planner.devices import read_devices

    count, device = read_devices(devices)
    print(show_comparison(read_run(run), count, device))


def _plan(recipe: Path, overrides: Sequence[str], devices: str, layout: str | None) -> None:
    """Prints the plan of every layout, or of one."""
    from ernest.config.recipe import find_recipe, load_recipe
    from ernest.planner.devices import read_devices
    from ernest.planner.layout import read_layout
    from ernest.planner.search import search, tried
    from ernest.planner.table import show, show_simulated

    count, device = read_devices(devices)
    settings = load_recipe(find_recipe(recipe), overrides)
    if layout is None:
        print(show(settings, search(settings, count, device)))
        return
    asked = read_layout(layout)
    candidate = tried(settings, asked, count, device)
    print(show(settings, [candidate]))
    if candidate.plan is not None:
        print(show_simulated(settings, asked))


COMMANDS: Mapping[str, Callable[..., None]] = {"plan": plan}
