"""One update of the policy: responses and their advantages in, other weights and what happened out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ernest.config.rl import ObjectiveConfig, RLRecipe
from ernest.device import autocast
from ernest.model.network import Ernest
from ernest.rl.likelihood import Scored, check_scales, relative_weights, score
from ernest.rl.objectives import Units, element_weights, kl_to, merge_units, policy_loss, well_learned_share
from ernest.rl.response_batch import Elements, ResponseBatch, join, pack_responses
from ernest.rl.rollout import MODALITIES, Response
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.optimizer import update as step_optimizer


@dataclass(frozen=True, eq=False)
class Judged:
    """A response that has something to teach: its advantage over its group, and the success rate of its prompt."""

    response: Response
    advantage: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Learner:
    """What an update changes and reads: the network, the copy that it began as, AdamW, and the recipe."""

    model: Ernest
    reference: Ernest
    optimizer: torch.optim.Optimizer
    tokenizers: Tokenizers
    recipe: RLRecipe
    bf16: bool


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """All but those of the head for the token after next, which no choice of a response comes from."""
    return [parameter for name, parameter in model.named_parameters() if not name.startswith("mtp.")]


def make_learner(model: Ernest, reference: Ernest, tokenizers: Tokenizers, recipe: RLRecipe, bf16: bool) -> Learner:
    """AdamW (0.9, 0.95) on a network whose gradients are taken; the reference has none. The routers' biases stay as they are.

    Raises ValueError for weights of scales that the tokenizer does not have."""
    check_scales(recipe.objective.scale_weights, tokenizers.vision.quantiser.sizes)
    model.requires_grad_(True)
    reference.requires_grad_(False)
    config = recipe.update
    optimizer = torch.optim.AdamW(
        trained_parameters(model), lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
    )
    return Learner(model, reference, optimizer, tokenizers, recipe, bf16)


def update_policy(learner: Learner, judged: Sequence[Judged], step: int, usual_entropy: float | None) -> dict[str, float]:
    """Takes the steps of the optimiser that one iteration has, and returns its measures, without those of what was not there.

    Where nothing is left to learn from, or all of it is masked, the loss is 0 and the weights are as before.
    """
    config = learner.recipe.update
    parts = [judged[start :: config.updates] for start in range(config.updates)]
    measures = _Measures()
    prepared = [_Part(learner, part) for part in parts if part]
    if len(prepared) > 1:
        for part in prepared:
            part.fix_old(learner)
    for part in prepared:
        part.take_step(learner, step, usual_entropy, measures)
    return measures.summary()


class _Measures:
    """Sums over the elements of an update, and what its optimiser's steps said."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.norms: list[float] = []

    def add(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def summary(self) -> dict[str, float]:
        sums, parts = dict(self.sums), max(1.0, self.sums.get("parts", 1.0))
        names = ("loss", "masked", "removed", "mean weight", "clipped", "well learned", "age")
        found = {name: sums.get(name, 0.0) / parts for name in names}
        found |= {"missing routes": sums.get("missing routes", 0.0), "positions": sums.get("positions", 0.0)}
        for name in (*MODALITIES, "all"):
            if sums.get(f"{name} elements"):
                found[f"entropy {name}" if name != "all" else "entropy"] = sums[f"{name} entropy"] / sums[f"{name} elements"]
        if sums.get("kl weight"):
            found["kl"] = sums["kl"] / sums["kl weight"]
            found["mismatch"] = sums["mismatch"] / parts
        found["optimiser steps"] = float(len(self.norms))
        if self.norms:
            found["norm"] = float(np.max(self.norms))  # which is no number where one of them is none
        return found


class _Part:
    """The responses of one step of the optimiser: packed into batches, with the weights of their elements."""

    def __init__(self, learner: Learner, judged: Sequence[Judged]) -> None:
        recipe, quantiser = learner.recipe, learner.tokenizers.vision.quantiser
        self.judged = judged
        self.batches = pack_responses(
            [one.response for one in judged],
            learner.tokenizers,
            learner.model.config,
            recipe.update.positions,
            recipe.rollout.replay,
        )
        elements = join([batch.elements for batch in self.batches])
        relative = relative_weights(elements, recipe.objective.scale_weights, quantiser.sizes)
        kept = relative > 0  # a scale that is not trained is left out
        weight = torch.zeros_like(relative)
        some = elements.select(kept)
        weight[kept] = element_weights(some.response, some.segment, some.group, relative[kept], recipe.objective.normaliser)
        self.weights = weight.split([len(batch.elements.response) for batch in self.batches])
        self.kept = kept.split([len(batch.elements.response) for batch in self.batches])
        self.advantage = torch.tensor([one.advantage for one in judged])
        self.old: list[Tensor | None] = [None] * len(self.batches)

    def fix_old(self, learner: Learner) -> None:
        """Notes the log-probabilities before the first step."""
        with torch.no_grad():
            self.old = [_scored(learner.model, batch, learner.bf16).log_prob for batch in self.batches]

    def take_step(self, learner: Learner, step: int, usual_entropy: float | None, measures: _Measures) -> None:
        config, optimizer = learner.recipe.objective, learner.optimizer
        measures.add("parts", 1.0)
        learner.model.train()
        is_learning = False
        for n, batch in enumerate(self.batches):
            scored = _scored(learner.model, batch, learner.bf16)
            kept, elements = self.kept[n], batch.elements.select(self.kept[n])
            new, entropy, weight = scored.log_prob[kept], scored.entropy[kept], self.weights[n][kept]
            old = new.detach() if (before := self.old[n]) is None else before[kept]
            units = Units(elements.response, weight, new, old, elements.log_prob)
            share = self._share(units, entropy, usual_entropy, config)
            _measure(measures, elements, entropy, weight, old, batch, share, step)
            if config.unit == "group":
                units = merge_units(units, elements.group)
            outcome = policy_loss(units, self.advantage, config, share)
            counted = float(weight.sum())
            for name in ("masked", "mean_weight", "clipped", "removed"):
                measures.add(name.replace("_", " "), getattr(outcome, name) * counted)
            loss = outcome.loss
            if config.kl or n == step % len(self.batches):
                reference = _scored(learner.reference, batch, learner.bf16).log_prob[kept].detach()
                divergence = kl_to(reference, new, weight)
                measures.add("kl", float(divergence.detach()))
                measures.add("kl weight", counted)
                if config.kl:
                    loss = config.kl * divergence if loss is None else loss + config.kl * divergence
            if loss is not None:
                measures.add("loss", float(loss.detach()))
                loss.backward()
                is_learning = True
        if is_learning:
            gradients = [parameter.grad for parameter in trained_parameters(learner.model) if parameter.grad is not None]
            measures.norms.append(_step(optimizer, gradients, learner.recipe, step))

    def _share(self, units: Units, entropy: Tensor, usual: float | None, config: ObjectiveConfig) -> Tensor | None:
        """1 - M_i of all responses of the part; of those of other batches it is not asked for."""
        if not config.wpsm_alpha:
            return None
        sums = torch.zeros(len(self.judged), 2).index_add(
            0, units.response, torch.stack([entropy * units.weight, units.weight], dim=1)
        )
        mean = sums[:, 0] / sums[:, 1].clamp_min(1e-30)
        return well_learned_share(mean, [one.accuracy for one in self.judged], self.advantage, usual, config)


def _scored(model: Ernest, batch: ResponseBatch, bf16: bool) -> Scored:
    """One forward pass with the sampler's experts."""
    with autocast(batch.batch.token_id.device, bf16):
        predictions = model(batch.batch, batch.submodels, batch.replay)
    return score(predictions, batch)


def _step(optimizer: torch.optim.Optimizer, gradients: Sequence[Tensor], recipe: RLRecipe, step: int) -> float:
    """One step at the rate of the warm-up, unless the norm of the gradients is no number; returns the norm."""
    norm = float(nn.utils.get_total_norm(gradients))
    if norm != norm or norm == float("inf"):
        optimizer.zero_grad()
        return norm
    rate = recipe.update.learning_rate * min(1.0, (step + 1) / max(1, recipe.update.warmup))
    step_optimizer(optimizer, norm, rate, recipe.update.clip)
    return norm


def _measure(
    measures: _Measures,
    elements: Elements,
    entropy: Tensor,
    weight: Tensor,
    old: Tensor,
    batch: ResponseBatch,
    share: Tensor | None,
    step: int,
) -> None:
    for m, name in enumerate(MODALITIES):
        here = elements.modality == m
        measures.add(f"{name} elements", float(here.sum()))
        measures.add(f"{name} entropy", float(entropy[here].sum()))
    measures.add("all elements", float(weight.sum()))
    measures.add("all entropy", float((weight * entropy).sum()))
    measures.add("mismatch", float((weight * (old - elements.log_prob).abs()).sum()))
    measures.add("age", float((weight * (step - elements.version)).sum()))
    measures.add("missing routes", float(batch.missing))
    measures.add("positions", float(batch.batch.valid.sum()))
    if share is not None:
        measures.add("well learned", float((weight * (share[elements.response] < 1)).sum()))


def first_not_finite(measures: Mapping[str, float]) -> str | None:
    """The name of a measure that is no finite number, None where all are."""
    return next((name for name, value in measures.items() if value != value or abs(value) == float("inf")), None)
