"""What a supervised fine-tuning can set: how many records the world makes for it, and everything that a training can."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ernest.config.recipe import NAMED, Recipe, recipe_of
from ernest.overrides import build, check_least, check_names, read_tree


@dataclass(frozen=True)
class RecordCounts:
    """Records of the world that a fine-tuning learns from, and those of each task that it is scored on."""

    worked: int = 6000
    """Questions with their workings."""
    others: int = 600
    """Of each of the world's other tasks, so that they are not forgotten; 0 makes none."""
    held_out: int = 100

    def __post_init__(self) -> None:
        check_least(self, "records", worked=1, others=0, held_out=1)


def load_sft_recipe(path: Path, overrides: Sequence[str] = ()) -> tuple[RecordCounts, Recipe]:
    """The recipe of a TOML file with overrides such as `records.worked=2000`; the network is that of a checkpoint.

    Raises ValueError that names the field for an unknown name, a value of the wrong type, and a size of the network.
    """
    tree = read_tree(path, overrides, NAMED)
    for name in ("size", "model"):
        if name in tree:
            raise ValueError(f"{name}: the network is that of the checkpoint, as it is: leave {name} out")
    check_names(tree, [field.name for field in fields(Recipe) if field.name not in ("size", "model")] + ["records"])
    counts = build(RecordCounts, tree.pop("records", {}), "records")
    return counts, recipe_of(tree)
