"""What is watched of a run while it is trained: shares of the gradient, and how the routers' bias swings."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe
from ernest.data import collate as collating
from ernest.data.sampler import plan
from ernest.model.backbone import Block
from ernest.model.network import Ernest
from ernest.results.small_runs import Study
from ernest.storage import append_line, read_log
from ernest.training.loop import OnStep
from ernest.training.loss import MODALITIES, LossBalancer, combine, loss_sums

LAST = 20
"""Steps at the end of a run over which the routers' bias is watched."""


def watch(study: Study, recipe: Recipe, run: Path) -> OnStep:
    """Notes the shares of the gradient at every quarter, and the routers' bias in the last steps."""
    steps, losses_so_far = recipe.training.steps, run / "metrics.jsonl"

    def note(number: int, metrics: Mapping[str, float], network: Ernest) -> None:
        del metrics
        if (number + 1) % (steps // 4) == 0:
            balancer = LossBalancer({})
            for losses in read_log(losses_so_far):
                balancer = balancer.observe(losses)
            append_line(run / "shares.jsonl", json.dumps({"step": number} | _shares(study, recipe, number, network, balancer)))
        if number >= steps - LAST:
            bias = [block.moe.router.selection_bias.tolist() for block in network.backbone.blocks if isinstance(block, Block)]
            append_line(run / "bias.jsonl", json.dumps({"step": number, "bias": bias}))

    return note


def _shares(study: Study, recipe: Recipe, number: int, network: Ernest, balancer: LossBalancer) -> dict[str, float]:
    """Each modality's share of the sum of the gradients' norms, on the rows of a step, with these weights of the losses."""
    weights = recipe.weights(study.store.tasks)
    rows = plan(study.store, weights, study.tokenizers, recipe.sequence, recipe.seed, number)
    batch = collating.collate(rows, recipe.sequence.length, study.tokenizers)
    sums, counts = loss_sums(network(batch), batch)
    parameters, norms = [one for one in network.parameters() if one.requires_grad], {}
    for name, kept_losses in zip(MODALITIES, ([1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]), strict=True):
        loss = combine(sums * torch.tensor(kept_losses), counts, balancer, recipe.training.mtp_weight)
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        norms[name] = float(torch.stack([one.norm() for one in gradients if one is not None]).norm())
    return {name: norm / sum(norms.values()) for name, norm in norms.items()}


def watched(run: Path) -> dict[str, float]:
    """The mean shares over the quarters, the largest of any quarter, and how far the bias swings in the last steps."""
    shares, bias = (_by_step(run / name) for name in ("shares.jsonl", "bias.jsonl"))
    table = np.array([[line[name] for name in MODALITIES] for line in shares])
    swing = np.array([line["bias"] for line in bias]).std(axis=0).mean()
    found = {f"share of the gradient, {name}": float(value) for name, value in zip(MODALITIES, table.mean(0), strict=True)}
    return found | {"largest share of the gradient": float(table.mean(0).max()), "swing of the bias": float(swing)}


def _by_step(path: Path) -> list[dict]:
    """The lines of a file, the last one of each step: a run that was cut writes some again."""
    return list({line["step"]: line for line in read_log(path)}.values())
