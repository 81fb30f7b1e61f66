"""Deals the experts out over processes: a token goes where the experts are that it chose, and their outputs come back.

No token is dropped: processes send and receive as many rows as their tokens ask for, none too. A process holds N / E experts of
each layer, and computes them for the tokens of all E processes of its group; so their gradients are sums over the tokens of all
processes that hold the same experts, and no divisor is left to forget: losses are divided by the counts of all processes.

Shapes: T tokens, D width, k choices of each, S rows sent, R rows received, N experts, E processes of a group.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ernest.config.recipe import ParallelConfig
from ernest.device import compute_dtype
from ernest.model.backbone import Block
from ernest.model.dispatch import LocalDispatch
from ernest.model.experts import Choices, Experts
from ernest.model.network import Ernest

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

WEIGHTS = ("w_gate_up", "w_down")


@dataclass(frozen=True)
class ExpertMesh:
    """Processes numbered (replicate, expert, shard), the last fastest: those that differ in `expert` alone hold all experts
    together, and those of one `expert` hold the same ones."""

    mesh: "DeviceMesh"

    @property
    def parts(self) -> int:
        return self.mesh["expert"].size()

    @property
    def group(self) -> dist.ProcessGroup:
        """The processes among which tokens are sent."""
        return self.mesh.get_group("expert")

    @property
    def copies(self) -> dist.ProcessGroup | None:
        """The processes that hold the same experts whole, None where that is this one alone."""
        return self.mesh.get_group("replicate") if self.mesh["replicate"].size() > 1 else None

    @property
    def holders(self) -> "DeviceMesh":
        """The processes over which experts of one number are sharded and replicated."""
        return self.mesh["shard"] if self.copies is None else self.mesh["replicate", "shard"]

    @property
    def number(self) -> int:
        """Of the parts that the experts are dealt out in, which is this process's."""
        return self.mesh.get_local_rank("expert")

    @property
    def is_first_copy(self) -> bool:
        """Whether this is the first of the processes that hold the same experts whole."""
        return self.mesh.get_local_rank("replicate") == 0

    def own(self, value: Tensor) -> Tensor:
        """Of a tensor of all experts, the part of this process."""
        return value.chunk(self.parts)[self.number].clone()


class AllToAllDispatch:
    """Sends every choice of an expert to the process that holds it, sorted by expert, and brings the outputs back.

    y_t = sum over choices of gate E_expert(x_t);  gates stay at home
    """

    def __init__(self, mesh: ExpertMesh, experts: int) -> None:
        self.mesh, self.experts = mesh, experts

    def __call__(self, run_own: Choices, x_TD: Tensor, gate_Tk: Tensor, expert_Tk: Tensor) -> Tensor:
        """`run_own` computes this process's experts, numbered from 0. Choices of gate 0 reach no result and stay at home."""
        choice_S = gate_Tk.reshape(-1).nonzero()[:, 0]
        choice_S = choice_S[expert_Tk.reshape(-1)[choice_S].argsort(stable=True)]
        token_S, gate_S1 = choice_S // expert_Tk.shape[1], gate_Tk.reshape(-1, 1).index_select(0, choice_S)
        sent_EN, received_EN = self._count(expert_Tk.reshape(-1)[choice_S])
        sent, received = (counts.sum(dim=1).tolist() for counts in (sent_EN, received_EN))
        own_N = torch.arange(received_EN.shape[1], device=x_TD.device)
        expert_R1 = own_N.repeat(self.mesh.parts).repeat_interleave(received_EN.flatten())[:, None]
        x_SD = x_TD.index_select(0, token_S).to(compute_dtype(x_TD))  # so that gradients of a token's choices add up wide
        x_RD = _Send.apply(x_SD, sent, received, self.mesh.group)
        y_RD = run_own(x_RD.to(x_TD.dtype), torch.ones_like(expert_R1, dtype=gate_Tk.dtype), expert_R1)
        y_SD = _Send.apply(y_RD.to(x_SD.dtype), received, sent, self.mesh.group).to(gate_Tk.dtype) * gate_S1
        return y_SD.new_zeros(x_TD.shape).index_add(0, token_S, y_SD)

    def _count(self, expert_S: Tensor) -> tuple[Tensor, Tensor]:
        """Rows for every expert of every process that go out, and rows for this one's experts that come from every process."""
        sent_N = torch.bincount(expert_S, minlength=self.experts)
        received_N = torch.empty_like(sent_N)
        dist.all_to_all_single(received_N, sent_N, group=self.mesh.group)
        return sent_N.view(self.mesh.parts, -1), received_N.view(self.mesh.parts, -1)


class _Send(torch.autograd.Function):
    """Rows `[S, D]`, so many for each process, to `[R, D]`, so many from each; gradients go the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:  # type: ignore[override]
        ctx.way = received, sent, group
        return _send(rows, sent, received, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        return _send(gradient, *ctx.way), None, None, None


def _send(rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    arrived = rows.new_empty(sum(received), rows.shape[1])
    dist.all_to_all_single(arrived, rows.contiguous(), received, sent, group=group)
    return arrived


def deal_out_experts(model: Ernest, parallel: ParallelConfig, device: str) -> None:
    """Keeps of each layer's experts the part of this process. The module of the token after next has one expert, which stays."""
    from torch.distributed.device_mesh import init_device_mesh

    copies = dist.get_world_size() // parallel.parts
    sizes, names = (copies, parallel.expert, parallel.shard), ("replicate", "expert", "shard")
    mesh = ExpertMesh(init_device_mesh(device, sizes, mesh_dim_names=names))
    experts = model.config.experts
    for block in model.backbone.blocks:
        assert isinstance(block, Block)
        pool = block.moe
        pool.exchange, pool.dispatch = AllToAllDispatch(mesh, experts), LocalDispatch(experts // parallel.expert)
        for name in WEIGHTS:
            setattr(pool, name, nn.Parameter(mesh.own(getattr(pool, name).detach())))


def expert_mesh(model: nn.Module) -> ExpertMesh | None:
    """How a network's experts are dealt out, None where each process has all."""
    return next(iter(dealt_out(model).values()), None)


def dealt_out(model: nn.Module) -> dict[str, ExpertMesh]:
    """Names of the parameters of which each process holds some experts."""
    pools = [(name, pool.exchange) for name, pool in model.named_modules() if isinstance(pool, Experts)]
    return {
        f"{name}.{weight}": exchange.mesh
        for name, exchange in pools
        if isinstance(exchange, AllToAllDispatch)
        for weight in WEIGHTS
    }
