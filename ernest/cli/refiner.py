"""The commands of refiners: train one beside a tokenizer, and report what it gains."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from ernest.cli.arguments import Folder, must_exist

WORLD = Path("world")
Data = Annotated[Path, arg(metavar="FOLDER|world")]
Tokenizer = Annotated[Path, arg(metavar="CHECKPOINT")]
Factor = Annotated[Literal[2, 4], arg(metavar="{2,4}")]


def train(data: Data, tokenizer: Tokenizer, out: Folder, factor: Factor = 4, steps: int = 1500, seed: int = 0) -> None:
    """Train a network that draws pictures larger and sharper than the model makes them, apart from the model.

    Args:
        data: folder of large pictures and films, or `world` for pictures that Ernest's own world draws.
        tokenizer: folder of a tokenizer, or a checkpoint, whose pictures are to be refined; it is only read.
        out: folder of the refiner; an interrupted training goes on from there.
        factor: how many times as high and as wide pictures become.
        steps: how long it learns.
        seed: another seed draws other pictures and another network.
    """
    must_exist(tokenizer, None if data == WORLD else data)
    from ernest.training.refiner import RefinerRun, train_refiner_run

    print(train_refiner_run(RefinerRun(str(data), tokenizer, out, factor, steps, seed)))


def report(
    refiner: Annotated[Path, Positional, arg(metavar="REFINER")],
    data: Data,
    tokenizer: Annotated[Path | None, arg(metavar="CHECKPOINT")] = None,
    judge: Annotated[Path | None, arg(metavar="FILE")] = None,
    steps: int = 3,
) -> None:
    """Measure a refiner beside bicubic interpolation: likeness, consistency, sharpness, faithfulness, and its speed.

    Args:
        refiner: folder of a refiner.
        data: folder of large pictures that it was not trained on, or `world` for held-out ones of the world.
        tokenizer: refine what it makes of the pictures as well.
        judge: judges/digits.safetensors of an `ernest demo`, which then reads the world's digits.
        steps: steps of the flow from noise to detail.
    """
    must_exist(refiner, None if data == WORLD else data, tokenizer, judge)
    from ernest.evaluation.refiner import measure_refiner

    for line in measure_refiner(refiner, str(data), tokenizer, judge, steps):
        print(line)


COMMANDS: Mapping[str, Callable[..., None]] = {"train": train, "report": report}
