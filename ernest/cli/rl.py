"""The commands of post-training: sft, rl."""

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ernest.cli.arguments import Folder, Overrides, RecipeFile
from ernest.cli.training import tell_run


def sft(
    recipe: Positional[RecipeFile],
    from_: Annotated[Path, arg(name="from", metavar="CHECKPOINT")],
    out: Folder = Path("build/sft"),
    set_: Overrides = (),
) -> None:
    """Fine-tune a checkpoint on questions with their workings, which the world makes, for `ernest rl` to go on from.

    Args:
        recipe: a TOML file, or the name of a recipe that comes with Ernest, such as worked.
        from_: the checkpoint to begin with.
        out: folder of the run; an interrupted run goes on from there.
        set_: fields of the recipe to change, such as records.worked=2000.
    """
    from ernest.checkpoint import check_checkpoint
    from ernest.config.recipe import find_recipe
    from ernest.config.sft import load_sft_recipe

    counts, settings = load_sft_recipe(find_recipe(recipe, "sft"), tuple(chain(*set_)))
    check_checkpoint(from_)
    from ernest.rl.sft import fine_tune  # imports torch, which a mistake above need not wait for

    checkpoint = fine_tune(from_, out, counts, settings)
    tell_run(out)
    print(f"model: {checkpoint}")


def rl(
    recipe: Positional[RecipeFile],
    from_: Annotated[Path, arg(name="from", metavar="CHECKPOINT")],
    out: Folder = Path("build/rl"),
    judges: Annotated[Path | None, arg(metavar="FOLDER")] = None,
    set_: Overrides = (),
) -> None:
    """Train a checkpoint by its verifiers' verdicts on what it makes, and write a report of it.

    Args:
        recipe: a TOML file, or the name of a recipe that comes with Ernest, such as laws.
        from_: the checkpoint to begin with.
        out: folder of the run; an interrupted run goes on from there.
        judges: folder of the learned judges; by default the one beside the checkpoint, where `ernest demo` puts it.
        set_: fields of the recipe to change, such as update.steps=20.
    """
    from ernest.checkpoint import check_checkpoint, run_of
    from ernest.config.recipe import find_recipe
    from ernest.config.rl import load_rl_recipe
    from ernest.report.figures import check_figures
    from ernest.training.group import check_alone

    settings = load_rl_recipe(find_recipe(recipe, "rl"), tuple(chain(*set_)))
    check_checkpoint(from_)
    check_alone("ernest rl")
    check_figures()
    from ernest.report.rl import write_rl_report
    from ernest.rl.loop import reinforce  # imports torch, which a mistake above need not wait for
    from ernest.training.progress import stage_bar

    with stage_bar() as bars:
        task = bars.add_task("updates", total=settings.update.steps, note="")
        show = lambda step, measures: bars.update(task, completed=step + 1, note=_note(measures))
        checkpoint = reinforce(from_, judges or run_of(from_) / "judges", out, settings, show)
    print(f"report: {write_rl_report(out)}")
    print(f"model: {checkpoint}")


def _note(measures: Mapping[str, float]) -> str:
    """What is shown of a step beside its bar."""
    failed = f"  failed verdicts {measures['failed verdicts']:.0f}" if measures["failed verdicts"] else ""
    idle = f"  idle {measures['idle']:.0%}" if "idle" in measures else ""
    return f"passed {measures['passed']:.2f}  kl {measures.get('kl', 0.0):.4f}{idle}{failed}"


COMMANDS: Mapping[str, Callable[..., None]] = {"sft": sft, "rl": rl}
