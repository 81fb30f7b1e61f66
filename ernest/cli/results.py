"""The command of the papers' claims: results."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def results(
    names: Annotated[tuple[str, ...], Positional, arg(metavar="[NAME ...]")] = (),
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("docs/results"),
    build: Annotated[Path, arg(metavar="FOLDER")] = Path("build/claims"),
    checkpoint: Annotated[Path, arg(metavar="CHECKPOINT")] = Path("build/demo/model"),
    photographs: Annotated[Path | None, arg(metavar="ZIP")] = None,
) -> None:
    """Try what the three papers claim, and write the table over all claims.

    Args:
        names: superconvergence, time-marching, routing, elastic, elastic-longer, ablations, sparse, precision, context,
            films, inference, photographs, rl, rl-together, rl-methods, rl-areas; by default all that can be run. Each goes on
            where it was stopped.
        out: folder of the pages, tables and pictures.
        build: folder of what is under way; beside it lie the figures of `make demo` and `make bench`.
        checkpoint: the trained model that the claims on routing and on models at work are tried on; those on training take the
            examples, the tokenizers and the judges beside it.
        photographs: pictures as train/CLASS/NAME.jpg and test/CLASS/NAME.jpg in a zip, such as CIFAR-10's, for the rules of
            PP-LCNet.
    """
    from ernest.results.run import Place, run_targets

    run_targets(names, Place(build, out, checkpoint, lambda line: print(line, flush=True), photographs))


COMMANDS: Mapping[str, Callable[..., None]] = {"results": results}
