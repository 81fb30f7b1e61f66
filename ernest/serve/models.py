"""The names of models: a checkpoint's, or a sub-model's such as `demo:layers=6,experts=24,top_k=1`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from ernest.checkpoint import check_checkpoint, check_cut
from ernest.config.submodel_size import FULL_SIZE, SubModelSize

_SUBMODEL = re.compile(r"(?P<checkpoint>[^:=]+):(?P<sizes>\w+=\w+(?:,\w+=\w+)*)")
FIELDS = tuple(asdict(FULL_SIZE))


@dataclass(frozen=True)
class ModelName:
    """A checkpoint by its name, whole or cut to a size."""

    checkpoint: str
    size: SubModelSize = FULL_SIZE

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a size that cannot be read."""
        found = _SUBMODEL.fullmatch(text)
        if found is None:
            return cls(text)
        return cls(found["checkpoint"], _size(found["sizes"]))

    def __str__(self) -> str:
        sizes = [f"{name}={value}" for name, value in asdict(self.size).items() if value is not None]
        return f"{self.checkpoint}:{','.join(sizes)}" if sizes else self.checkpoint


def _size(text: str) -> SubModelSize:
    values: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in FIELDS or name in values or not re.fullmatch(r"[0-9]{1,6}", value):
            raise ValueError(f"{part!r}: expected {', '.join(f'{field}=NUMBER' for field in FIELDS)}, each at most once")
        values[name] = int(value)
    return SubModelSize(**values)


@dataclass(frozen=True)
class Catalogue:
    """The checkpoints that are served, by name, and the sub-models that are listed; the first name stands where none is given."""

    folders: Mapping[str, Path]
    listed: tuple[ModelName, ...] = field(default=())

    @classmethod
    def of(cls, arguments: Iterable[str]) -> Self:
        """Of folders and names of sub-models. Raises ValueError for two checkpoints of one name, and a sub-model of none."""
        folders: dict[str, Path] = {}
        listed: list[ModelName] = []
        for argument in arguments:
            if _SUBMODEL.fullmatch(argument) and not Path(argument).exists():
                listed.append(ModelName.parse(argument))
                continue
            name = checkpoint_name(Path(argument))
            if name in folders:
                raise ValueError(f"{argument}: {folders[name]} is called {name!r} too: rename one of the folders")
            folders[name] = Path(argument)
            listed.append(ModelName(name))
        for name in listed:
            if name.checkpoint not in folders:
                raise ValueError(f"{name}: there is no checkpoint {name.checkpoint!r}; there are {', '.join(folders) or 'none'}")
        return cls(folders, tuple(dict.fromkeys(listed)))

    def check(self) -> None:
        """Raises ValueError for a folder that is no checkpoint, and for a listed sub-model that one cannot be cut to. Imports no
        torch."""
        for folder in self.folders.values():
            check_checkpoint(folder)
        for model in self.listed:
            try:
                check_cut(self.folders[model.checkpoint], model.size)
            except ValueError as error:
                raise ValueError(f"{model}: {error}") from None

    def find(self, name: str | None) -> ModelName | None:
        """The model of that name, None for one that is not here. Raises ValueError for a size that cannot be read."""
        if not name:
            return self.listed[0]
        model = ModelName.parse(name)
        return model if model.checkpoint in self.folders else None


def checkpoint_name(folder: Path) -> str:
    """What a checkpoint is called: `demo` for `build/demo/model`, since every run calls its own `model`."""
    parts = [part for part in folder.resolve().parts if part != folder.anchor]
    named = parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1]
    return re.sub(r"[^\w.-]", "-", named)
