"""How far trainer and sampler are apart at the same weights, by number types, with the sampler's experts replayed and without
(ERNIE 5.0 §5.4)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ernest.checkpoint import load_model
from ernest.config.rl import RLRecipe, TaskConfig
from ernest.device import autocast, set_threads
from ernest.generation.engine import Engine
from ernest.model.network import Ernest
from ernest.rl.likelihood import score
from ernest.rl.response_batch import join, pack_responses
from ernest.rl.rollout import Response, run_rollouts
from ernest.rl.tasks import TASKS, trained_tasks
from ernest.tokenizers.bundle import Tokenizers
from ernest.verifiers.judges import Judges

MADE = {"worked solution": "worked solution", "text→image": "digit", "text→speech": "spoken word"}
"""What is sampled, a task for every modality, with a verifier that is not asked."""
PROMPTS, POSITIONS = 40, 3000
PAIRS = {"fp32, fp32": (False, False), "bf16, bf16": (True, True), "bf16, fp32": (True, False)}
"""Number types of sampler and trainer: whether each runs in bf16."""


def divergences(checkpoint: Path, judges: Path) -> dict[str, dict[str, list[float]]]:
    """KL(sampler | trainer) per element, in nats, by number types and by task: without and with the sampler's experts."""
    set_threads(1)
    model, tokenizers = load_model(checkpoint)
    recipe = RLRecipe(tuple(TaskConfig(task, (verifier,)) for task, verifier in MADE.items()))
    tasks = trained_tasks(recipe, Judges.load(judges), {})
    found: dict[str, dict[str, list[float]]] = {}
    for pair, (sampler, trainer) in PAIRS.items():
        engine = Engine(model, tokenizers, bf16=sampler, rows=PROMPTS)
        found[pair] = {}
        for task in tasks:
            fresh = {(n, 0): Response(task.ask(TASKS[task.name].record(0, n), tokenizers), ()) for n in range(PROMPTS)}
            made = list(run_rollouts(engine, fresh, 0, 0).values())
            found[pair][task.name] = [divergence(model, tokenizers, made, trainer, replays) for replays in (False, True)]
    return found


@torch.no_grad()
def divergence(model: Ernest, tokenizers: Tokenizers, responses: Sequence[Response], bf16: bool, replays: bool) -> float:
    """The mean over elements of q - log q - 1, q = pi_trainer / pi_sampler: an estimate of KL(sampler | trainer)."""
    batches = pack_responses(responses, tokenizers, model.config, POSITIONS, replays)
    trained = []
    for batch in batches:
        with autocast(batch.batch.token_id.device, bf16):
            predictions = model.eval()(batch.batch, batch.submodels, batch.replay)
        trained.append(score(predictions, batch).log_prob)
    log_q = (torch.cat(trained) - join([batch.elements for batch in batches]).log_prob).double()
    return float((log_q.exp() - log_q - 1).mean())


def factors(found: Mapping[str, Mapping[str, Sequence[float]]], pair: str) -> dict[str, float]:
    """How many times smaller the divergence is with the sampler's experts, by task."""
    return {task: plain / max(replayed, 1e-30) for task, (plain, replayed) in found[pair].items()}
