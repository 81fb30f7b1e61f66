"""What parts of the policy gradient are worth: masks of a mismatch (ERNIE 5.0 Fig. 6) and less of what is well learnt (WPSM) on
films by laws, and hints for hard prompts (AHRL) on questions with workings.

All runs begin with one fine-tuned model; those that are compared differ in one thing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ernest.config.rl import HintConfig, Method, ObjectiveConfig, RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.results.rl.study import Study, engine_of
from ernest.results.units import file_name, kept
from ernest.rl.rollout import Response, run_rollouts
from ernest.rl.tasks import needs_judges, outputs, trained_tasks
from ernest.storage import fingerprint, read_log
from ernest.verifiers.judges import Judges

NOISE = 0.2
"""On the weights of the sampler, as a share of each matrix's spread: .1 nats a bit."""
BOUNDS: Mapping[Method, tuple[float, float] | None] = {"GSPO": None, "GSPO+IcePop": (0.97, 1.03), "MISC": (0.5, 5.0)}
"""Of a mismatch: those of the mean leave out about as much of the weight at first as those of single bits, some 2 %."""
WITHOUT_WPSM, WPSM, WITHOUT_HINTS, HINTS = "without WPSM", "with WPSM", "without hints", "with hints"
PAIRS = {HINTS: WITHOUT_HINTS, WPSM: WITHOUT_WPSM}
"""What is compared on hard prompts."""
COUNTED_SEED = 1000
"""Added to the seed of the answers that are counted, which are none of those of the training."""


@dataclass(frozen=True)
class Trial:
    """What runs are made of: a task whose prompts come up again, so many of them and answers to each an `update`, the learning
    `rate`, and how many `answers` to every prompt are counted. Prompts that pass `hard` times or less before are hard."""

    task: TaskConfig
    prompts: int
    samples: int
    updates: int
    rate: float
    answers: int
    hard: float

    def recipe(self, seed: int, objective: ObjectiveConfig, noise: float = 0.0) -> RLRecipe:
        """A run without looks."""
        rollout = RolloutConfig(self.prompts, self.samples, noise=noise)
        update = UpdateConfig(self.updates, self.rate, assess=0)
        return RLRecipe((self.task,), seed, rollout=rollout, objective=objective, update=update)


FILMS = Trial(
    TaskConfig("text→video", ("family", "energy law"), pool=5, temperature=0.8, first_frame_temperature=1.2),
    prompts=5, samples=6, updates=20, rate=2e-4, answers=40, hard=0.75,
)  # fmt: skip
"""The five families, at twice the usual rate, so that what runs away does so soon."""
WORKED = Trial(
    TaskConfig("worked solution", ("worked solution",), pool=16),
    prompts=8, samples=8, updates=16, rate=1e-4, answers=16, hard=0.0,
)  # fmt: skip
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
    """A run: a curve of each of `LOGGED`, and after it the share of answers to each prompt that pass."""

    curves: Mapping[str, Sequence[float]]
    pool: Sequence[float]


def arms(seed: int) -> dict[str, tuple[Trial, RLRecipe]]:
    """What is trained, by name."""
    found = {
        method: (FILMS, FILMS.recipe(seed, ObjectiveConfig(method, *(bounds or (None, None))), NOISE))
        for method, bounds in BOUNDS.items()
    }
    worked = WORKED.recipe(seed, ObjectiveConfig())
    found |= {WITHOUT_HINTS: (WORKED, worked), HINTS: (WORKED, replace(worked, hints=HintConfig(share=0.6)))}
    less = ObjectiveConfig(wpsm_alpha=0.8, wpsm_entropy=1.0)
    return found | {WITHOUT_WPSM: (FILMS, FILMS.recipe(seed, ObjectiveConfig())), WPSM: (FILMS, FILMS.recipe(seed, less))}


def train_arm(study: Study, build: Path, begun: Path, name: str, trial: Trial, recipe: RLRecipe) -> Arm:
    """Runs it, where that has not been yet, from the model `begun`."""
    run = build / f"{file_name(name)}-{recipe.seed}"

    def train() -> dict[str, Any]:
        trained = study.trained(begun, run, recipe)
        log = read_log(run / "metrics.jsonl")
        curves = {one: [entry.get(one, 0.0) for entry in log] for one in LOGGED}
        return {"curves": curves, "pool": measure(study, trained, trial, recipe)}

    return Arm(**kept(run.with_suffix(".json"), _settings(begun, trial, recipe), train))


def before_training(study: Study, build: Path, begun: Path, name: str, trial: Trial, recipe: RLRecipe) -> Arm:
    """The model that a run begins with."""
    path = build / f"before-{file_name(name)}-{recipe.seed}.json"
    return Arm({}, kept(path, _settings(begun, trial, recipe), lambda: measure(study, begun, trial, recipe)))


def _settings(begun: Path, trial: Trial, recipe: RLRecipe) -> dict[str, Any]:
    return {"trial": asdict(trial), "recipe": asdict(recipe), "begun": fingerprint(begun / "model.safetensors")}


def measure(study: Study, trained: Path, trial: Trial, recipe: RLRecipe) -> list[float]:
    """The share of answers to each prompt that pass, without hints, sampled as in training."""
    engine = engine_of(trained)
    (task,) = trained_tasks(recipe, Judges.load(study.judges) if needs_judges(recipe) else None, {})
    prompts = [task.task.record(recipe.seed, number) for number in range(trial.task.pool)]
    asks = [task.ask(prompt, engine.tokenizers) for prompt in prompts]
    fresh = {(n, s): Response(ask, ()) for n, ask in enumerate(asks) for s in range(trial.answers)}
    responses = run_rollouts(engine, fresh, recipe.seed + COUNTED_SEED, 0)
    passes = np.zeros((len(prompts), trial.answers))
    for (n, s), output in zip(responses, outputs(list(responses.values()), engine), strict=True):
        passes[n, s] = task.rewarding(prompts[n], output).passed
    return passes.mean(1).tolist()
