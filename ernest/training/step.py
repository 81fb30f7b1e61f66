"""One step of training on a batch: forward, losses, backward, weights, balance of the experts. All training takes this step."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernest.device import autocast
from ernest.model.backbone import Block
from ernest.model.network import Ernest
from ernest.model.submodel import SubModels
from ernest.sequence.batch import Batch
from ernest.training.adapters import Adapters
from ernest.training.distributed import gradient_norm, sum_gradients, total
from ernest.training.loss import LossBalancer, combine, loss_sums, mean_losses
from ernest.training.optimizer import update
from ernest.training.schedule import ScheduleValues
from ernest.training.tensor import same_rows


@dataclass
class StepState:
    """State that one step hands to the next, beside the weights; `clip` and `bf16` stay as they are. With `adapters` these are
    trained, and the weights follow."""

    optimizer: torch.optim.Optimizer
    balancer: LossBalancer
    clip: float
    bf16: bool
    adapters: Adapters | None = None


def step(model: Ernest, batch: Batch, submodels: SubModels | None, state: StepState, now: ScheduleValues) -> dict[str, float]:
    """Changes the weights, the routers' biases and `state`; returns mean losses, the norm and the positions, of all processes."""
    with autocast(batch.token_id.device, state.bf16):
        predictions = model(batch, submodels)
    sums, counts = loss_sums(predictions, batch)
    times = same_rows(model)
    counts = total(counts, times)
    (combine(sums, counts, state.balancer, now.mtp_weight) / times).backward()
    trained = model if state.adapters is None else state.adapters.factors
    sum_gradients(trained)
    norm = gradient_norm(trained)
    update(state.optimizer, norm, now.learning_rate, state.clip)
    if state.adapters is not None:
        state.adapters.apply_change()
    assert predictions.router_output.load is not None
    balance(model, total(predictions.router_output.load, times), now.bias_speed)
    losses = mean_losses(total(sums.detach(), times), counts)
    state.balancer = state.balancer.observe(losses)
    return losses | {"norm": norm, "rate": now.learning_rate, "positions": int(total(batch.valid.sum())) // times}


def balance(model: Ernest, load: Tensor, speed: float) -> None:
    """Moves the selection bias of every router of the trunk once, on the loads `[layers, 2, experts]` of all processes."""
    for block, (counted, expected) in zip(model.backbone.blocks, load, strict=True):
        assert isinstance(block, Block)
        block.moe.router.balance(counted, expected, speed)
