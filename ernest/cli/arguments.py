"""Types and help texts of the arguments that several commands share."""

from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from ernest.config.submodel_size import SubModelSize

RecipeFile = Annotated[Path, arg(metavar="RECIPE")]
"""A file, or the name of a recipe that comes with Ernest: a path in either case, of which `~` is one's home."""
Checkpoint = Annotated[Path, Positional, arg(metavar="CHECKPOINT")]
Overrides = Annotated[tuple[tuple[str, ...], ...], arg(name="set", metavar="FIELD=VALUE ..."), UseAppendAction]
"""`--set a=1 b=2 --set c=3`: several after each, and several times."""
Limits = Annotated[tuple[tuple[str, ...], ...], arg(metavar="memory=12MB ..."), UseAppendAction]
"""`--fit memory=12MB latency=3ms/token`, together or several times."""
Folder = Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
Refine = Annotated[Path | None, arg(metavar="REFINER")]
Count = Annotated[int | None, arg(metavar="COUNT")]
Number = Annotated[float | None, arg(metavar="NUMBER")]
Size = Annotated[SubModelSize, OmitArgPrefixes, arg(name="")]
"""`--layers`, `--experts` and `--top-k`."""


def check_apart(out: Path, file: Path) -> None:
    """Raises ValueError where a result would take the place of the file that it is made of."""
    if out.exists() and out.samefile(file):
        raise ValueError(f"{out} is the file that is read, which would be lost: choose another name")


def must_exist(*paths: Path | None) -> None:
    """Raises ValueError for the first path that is named and not there: before torch is imported, which takes seconds."""
    for path in paths:
        if path is not None and not path.exists():
            raise ValueError(f"{path}: there is no such file")
