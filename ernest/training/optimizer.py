"""Turns gradients into new weights: AdamW, the learning rate of the step, the norm clipped."""

import torch
from torch import nn

from ernest.config.tables import TrainingConfig


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (0.9, 0.95); only matrices decay."""
    kinds: dict[tuple[bool, object], list[nn.Parameter]] = {}
    for parameter in model.parameters():  # one kernel takes those that lie over the same processes
        kinds.setdefault((parameter.dim() >= 2, getattr(parameter, "device_mesh", None)), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": config.weight_decay if matrices else 0.0}
        for (matrices, _), parameters in kinds.items()
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)


def update(optimizer: torch.optim.Optimizer, norm: float, rate: float, clip: float) -> None:
    """One step at a rate, with gradients of that `norm` clipped; they are gone afterwards. They are clipped while the fused
    optimizer reads them: it divides by `grad_scale`."""
    optimizer.grad_scale = torch.tensor(norm / clip) if norm > clip else None  # pyright: ignore[reportAttributeAccessIssue]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
