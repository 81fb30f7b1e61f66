"""What parts of the policy gradient are worth: masks of a mismatch on questions in words (ERNIE 5.0 Fig. 6), and, on questions
with workings, less of what is well learnt (WPSM) and hints for hard prompts (AHRL).

All runs begin with one fine-tuned model; those that are compared differ in one thing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernest.checkpoint import load_model
from ernest.config.rl import HintConfig, Method, ObjectiveConfig, RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.device import set_threads, supports_bf16
from ernest.generation.engine import Engine
from ernest.results.together import Study
from ernest.results.units import kept
from ernest.rl.assess import look
from ernest.rl.loop import reinforce
from ernest.rl.rollout import Response, run_rollouts
from ernest.rl.tasks import outputs, trained_tasks
from ernest.storage import fingerprint

SEEDS = (0, 1, 2)
PROMPTS, SAMPLES = 8, 8
MASKED, MASKED_UPDATES = TaskConfig("questions in words", ("answer in words",)), 60
"""What masks of a mismatch are tried on."""
NOISE = 0.2
"""On the weights of the sampler, as a share of each matrix's spread: .2 nats a token."""
BOUNDS: Mapping[Method, tuple[float, float] | None] = {"GSPO": None, "GSPO+IcePop": (0.63, 1.6), "MISC": (0.5, 5.0)}
"""Of a mismatch: those of the mean leave out about as much of the weight at first as those of single tokens, some 4 %."""
POOLED, POOL_UPDATES, POOL = TaskConfig("worked solution", ("worked solution",), pool=32), 40, 32
"""Prompts that come up again and again, where success is counted and hints are given."""
PLAIN, WPSM, HINTS = "MISC, prompts again", "with WPSM", "with hints"
DRAWS = 500
"""Fresh questions for each model."""
POOL_SEED = 1000
"""Added to the seed of the answers to the pool that are counted, which are none of those of the training."""
LOGGED = (
    "passed",
    "entropy",
    "masked",
    "removed",
    "mismatch",
    "well learned",
    "hinted",
    "passed unhinted",
    "prompts without signal",
)


@dataclass(frozen=True)
class Arm:
    """A run: a curve of each of `LOGGED`, the share of fresh questions that pass after it, and of each prompt of the pool."""

    curves: Mapping[str, Sequence[float]]
    passed: float
    pool: Sequence[float]


def arms(seed: int) -> dict[str, RLRecipe]:
    """What is trained, by name."""
    found = {
        method: _recipe(seed, MASKED, MASKED_UPDATES, ObjectiveConfig(method, *(bounds or (None, None))), NOISE)
        for method, bounds in BOUNDS.items()
    }
    plain = _recipe(seed, POOLED, POOL_UPDATES, ObjectiveConfig())
    return found | {
        PLAIN: plain,
        WPSM: replace(plain, objective=ObjectiveConfig(wpsm_alpha=0.8)),
        HINTS: replace(plain, hints=HintConfig(share=0.6)),
    }


def _recipe(seed: int, task: TaskConfig, updates: int, objective: ObjectiveConfig, noise: float = 0.0) -> RLRecipe:
    rollout = RolloutConfig(PROMPTS, SAMPLES, noise=noise)
    update = UpdateConfig(updates, assess=0)
    return RLRecipe((task,), seed, rollout=rollout, objective=objective, update=update)


def train_arm(study: Study, build: Path, begun: Path, name: str, recipe: RLRecipe) -> Arm:
    """Runs it, where that has not been yet, from the model `begun`."""
    run = build / f"{name.replace(', ', '-').replace(' ', '-')}-{recipe.seed}"

    def train() -> dict[str, Any]:
        trained = reinforce(begun, study.judges, run, recipe, study.told(run.name))
        log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        curves = {one: [entry.get(one, 0.0) for entry in log] for one in LOGGED}
        return {"curves": curves} | measure(trained, recipe)

    settings = {"recipe": asdict(recipe), "begun": fingerprint(begun / "model.safetensors"), "draws": DRAWS}
    return Arm(**kept(run.with_suffix(".json"), settings, train))


def measure(trained: Path, recipe: RLRecipe) -> dict[str, Any]:
    """The share of fresh questions that pass, and of SAMPLES answers to each prompt of the pool, where there is one."""
    set_threads(1)
    model, tokenizers = load_model(trained)
    engine = Engine(model, tokenizers, bf16=supports_bf16(), rows=PROMPTS * SAMPLES)
    (task,) = trained_tasks(recipe, None, {})
    (found,), _ = look(engine, [task], recipe.seed, 0, DRAWS)
    pool = task.config.pool
    prompts = [task.task.record(recipe.seed, number) for number in range(pool)]
    fresh = {(n, s): Response(task.ask(prompt, tokenizers), ()) for n, prompt in enumerate(prompts) for s in range(SAMPLES)}
    responses = run_rollouts(engine, fresh, recipe.seed + POOL_SEED, 0)
    made = zip(responses, outputs(list(responses.values()), engine), strict=True)
    passes = np.zeros((pool, SAMPLES))
    for (n, s), output in made:
        passes[n, s] = task.rewarding(prompts[n], output).passed
    return {"passed": found.passed, "pool": passes.mean(1).tolist()}
