"""Cuts parameters over processes along their dimensions, and says which numbers of the whole a process holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ernest.training.mesh import Holders, Mesh
from ernest.training.parts import Place

HELD = "_held"
"""The attribute of a module with what it holds of its parameters, by their names."""
Run = tuple[int, int]
"""The first of consecutive numbers, and how many there are."""


@dataclass(frozen=True)
class Cut:
    """What this process holds of a dimension: `runs`, one behind the other, of the `length` numbers that `dim` has uncut."""

    dim: int
    length: int
    runs: tuple[Run, ...]

    def of(self, whole: Tensor) -> Tensor:
        """What the process holds of a whole tensor."""
        return torch.cat([whole.narrow(self.dim, first, count) for first, count in self.runs], self.dim)


@dataclass(frozen=True)
class Held:
    """What a process holds of a parameter: it is cut along `axes` of the mesh, in each of a dimension of its own."""

    axes: tuple[str, ...]
    cuts: tuple[Cut, ...]
    holders: Holders


def run(number: int, parts: int, length: int, first: int = 0) -> Run:
    """The run of part `number` of `length` numbers from `first` on, all parts being of one length."""
    return first + number * length // parts, length // parts


def hold(module: nn.Module, name: str, mesh: Mesh, axis: str, cut: Cut) -> None:
    """Keeps of a parameter, which may have been cut along other axes and dimensions, the part of this process."""
    every = vars(module).setdefault(HELD, {})
    axes, cuts = ((*every[name].axes, axis), (*every[name].cuts, cut)) if name in every else ((axis,), (cut,))
    setattr(module, name, nn.Parameter(cut.of(getattr(module, name).detach())))
    every[name] = Held(axes, cuts, mesh.holders(*axes))


def cut_modules(model: nn.Module) -> Iterator[tuple[nn.Module, Holders]]:
    """The modules that hold parts of parameters of their own, each with the processes that hold the same or others."""
    for module in model.modules():
        if HELD in vars(module):
            yield module, next(iter(vars(module)[HELD].values())).holders


def held_parameters(model: nn.Module) -> dict[str, Held]:
    """What a process holds of those parameters that are cut, by their names."""
    return {
        f"{prefix}.{name}": held for prefix, module in model.named_modules() for name, held in vars(module).get(HELD, {}).items()
    }


def pieces(own: Tensor, place: Place, cuts: Sequence[Cut]) -> list[tuple[Tensor, Place]]:
    """`own`, which lies at `place` in what remains of a tensor when it is cut, as pieces of blocks in the whole tensor."""
    found = [(own, place)]
    for cut in cuts:
        found = [piece for value, where in found for piece in _pieces(value, where, cut)]
    return found


def _pieces(own: Tensor, place: Place, cut: Cut) -> Iterator[tuple[Tensor, Place]]:
    """One for each run, empty where nothing of that lies in `place`."""
    dim, before = cut.dim, 0
    start, end = place.start[dim], place.start[dim] + place.size[dim]
    for first, count in cut.runs:
        low = min(max(start, before), end)
        size = max(0, min(end, before + count) - low)
        there = {"shape": cut.length, "start": max(0, first + low - before), "size": size}
        yield (
            own.narrow(dim, low - start, size),
            Place(*((*old[:dim], there[name], *old[dim + 1 :]) for name, old in vars(place).items())),
        )
        before += count
