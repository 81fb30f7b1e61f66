"""Turns gradients into new weights: AdamW, the learning rate of the step, the norm clipped."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ernest.config.recipe import TrainingConfig
from ernest.training.distributed import whole


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (0.9, 0.95); only matrices decay."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def update(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], rate: float, clip: float) -> float:
    """One step at a rate, with the norm of all `gradients`, those of the parameters, clipped; they are gone afterwards. Returns
    the norm before clipping, which is done while the fused optimizer reads them: it divides by `grad_scale`."""
    norm = float(whole(nn.utils.get_total_norm(gradients)))
    optimizer.grad_scale = torch.tensor(norm / clip) if norm > clip else None  # pyright: ignore[reportAttributeAccessIssue]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    return norm
