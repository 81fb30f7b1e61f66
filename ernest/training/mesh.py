"""The processes of a run, by what they hold: the same part of a parameter, its other parts, or shards of one part."""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from ernest.config.parallel import ParallelConfig
from ernest.device import HOST

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

AXES = "replicate", "expert", "shard", "tensor"
"""Along which processes are numbered, the last fastest: those of `tensor`, which exchange most, are neighbours."""


@dataclass(frozen=True)
class Holders:
    """The processes that hold parameters which are cut along some axes, numbered (part, copy, shard). Those that differ in `part`
    alone hold one copy of all parts together; those of one part hold the same one, whole or in shards."""

    mesh: "DeviceMesh"

    @property
    def parts(self) -> int:
        return self.mesh["part"].size()

    @property
    def group(self) -> dist.ProcessGroup:
        """The processes that hold one copy of all parts together."""
        return self.mesh.get_group("part")

    @property
    def copies(self) -> dist.ProcessGroup | None:
        """The processes that hold the same part, or the same shard of it, None where that is this one alone."""
        return self.mesh.get_group("copy") if self.mesh["copy"].size() > 1 else None

    @property
    def sharded(self) -> "DeviceMesh":
        """The processes over which a part is sharded and replicated."""
        return self.mesh["shard"] if self.copies is None else self.mesh["copy", "shard"]

    @property
    def number(self) -> int:
        """Of the parts, which is this process's."""
        return self.mesh.get_local_rank("part")

    @property
    def is_first_copy(self) -> bool:
        """Whether this is the first of the processes that hold the same part."""
        return self.mesh.get_local_rank("copy") == 0


class Mesh:
    """All processes of a run along `AXES`, whose tensors lie on one kind of `device`."""

    def __init__(self, parallel: ParallelConfig, device: str) -> None:
        self.parallel, self.device = parallel, device
        self._found: dict[tuple[str, ...], Holders] = {}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many processes there are along each axis."""
        parallel = self.parallel
        copies = dist.get_world_size() // parallel.parts
        return dict(zip(AXES, (copies, parallel.expert, parallel.shard, parallel.tensor), strict=True))

    def holders(self, *cut: str) -> Holders:
        """The processes for parameters that are cut along these axes. All processes must ask, for the same axes in one order."""
        if cut not in self._found:
            from torch.distributed.device_mesh import DeviceMesh

            order = (*cut, *(axis for axis in AXES if axis not in (*cut, "shard")), "shard")
            ranks = torch.arange(prod(self.sizes.values()), device=HOST).view(*self.sizes.values())
            shape = prod(self.sizes[axis] for axis in cut), -1, self.sizes["shard"]
            numbered = ranks.permute(*map(AXES.index, order)).reshape(shape)
            self._found[cut] = Holders(DeviceMesh(self.device, numbered, mesh_dim_names=("part", "copy", "shard")))
        return self._found[cut]
