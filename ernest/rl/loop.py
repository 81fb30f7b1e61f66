"""The loop of reinforcement learning: rollouts, verdicts, advantages, an update; every step logged, saved and gone on from.

A step is a function of (recipe, step) and of the state before it. A run that was killed goes on from its last state, and makes
bit for bit the steps that it would have made.
"""

import copy
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from ernest.checkpoint import check_checkpoint, load_expert_importance, load_learnt, load_model, save_model
from ernest.config.rl import RLRecipe
from ernest.config.submodel_size import SubModelSize
from ernest.device import supports_bf16
from ernest.generation.engine import Engine
from ernest.model.network import Ernest
from ernest.model.slicing import choose
from ernest.model.submodel import SubModel
from ernest.rl.assess import cut_looks, has_look, look, write_looks
from ernest.rl.begun import begun_with, check_run, note_begun
from ernest.rl.buffer import RolloutBuffer
from ernest.rl.finished import Finished, facts_of, mean, reward
from ernest.rl.hints import can_be_hinted, check_hints, note_turn
from ernest.rl.objectives import group_advantages
from ernest.rl.phase import Phase, close_phase, open_phase
from ernest.rl.prompts import Prompts
from ernest.rl.rollout import Key, Response
from ernest.rl.samplers import check_worker, make_sampler
from ernest.rl.state import RunState, load_state, origin_of, save_state
from ernest.rl.tasks import (
    check_fit,
    check_tasks,
    needs_judges,
    outputs,
    own_verifiers,
    trained_tasks,
    verdicts,
)
from ernest.rl.update import Judged, Learner, first_not_finite, make_learner, update_policy
from ernest.storage import append_line, own_folder, save_tensors, write_text
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.resume import cut_log
from ernest.verifiers.judges import Judges
from ernest.verifiers.verdict import Verdict, Verifier

OnStep = Callable[[int, Mapping[str, float]], None]
"""Called after every step with its number and its measures."""
COMMONEST = 5
"""Reasons of verdicts that failed which a line of the log names."""


def reinforce(checkpoint: Path, judges: Path, run: Path, recipe: RLRecipe, on_step: OnStep = lambda step, measures: None) -> Path:
    """Trains the model of a checkpoint by a recipe, going on from what stands in `run`; returns the folder of the new checkpoint.

    Raises ValueError for a recipe or a folder that cannot be, before any work, and ArithmeticError where a measure is no number.
    """
    check_checkpoint(checkpoint)
    check_tasks(recipe)
    check_hints(recipe)
    if needs_judges(recipe) and not judges.is_dir():
        raise ValueError(f"{judges}: no such folder; name that of the learned judges, which `ernest demo` makes: --judges FOLDER")
    check_worker(recipe.rollout.worker)
    own = own_verifiers(recipe)
    loaded = Judges.load(judges) if needs_judges(recipe) else None
    with own_folder(run):
        begun = begun_with(checkpoint, judges if loaded else None, recipe, own)
        check_run(run, begun)
        model, tokenizers = load_model(checkpoint)
        importance, learnt = load_expert_importance(checkpoint), load_learnt(checkpoint)
        check_fit(trained_tasks(recipe, loaded, own), tokenizers, learnt, recipe.seed)
        run.mkdir(parents=True, exist_ok=True)
        policy = Policy(model, tokenizers, loaded, recipe, run, importance, own)
        note_begun(run, begun, asdict(recipe))
        policy.train(on_step)
        old = json.loads((checkpoint / "recipe.json").read_text())
        save_model(run / "model", policy.learner.model, tokenizers, old, importance, learnt)
    return run / "model"


class Policy:
    """A model under training by a recipe, with the folder of its run. The divergence is measured from the weights that it brings,
    as they are in memory."""

    def __init__(
        self,
        model: Ernest,
        tokenizers: Tokenizers,
        judges: Judges | None,
        recipe: RLRecipe,
        run: Path,
        importance: torch.Tensor,
        own: Mapping[str, Verifier] | None = None,
    ) -> None:
        self.tokenizers, self.recipe, self.run = tokenizers, recipe, run
        self.tasks = trained_tasks(recipe, judges, own or {})
        self.failures: Counter[str] = Counter()
        """Of the step at hand: why verdicts failed."""
        self.trained = _submodel(model, importance, recipe.trained)
        sampler = self.trained if recipe.sampler.is_full else _submodel(model, importance, recipe.sampler)
        self.prompts = Prompts(recipe, self.tasks, tokenizers, self.trained, sampler)
        self.origin = origin_of(model, recipe)
        reference = copy.deepcopy(model)
        bf16 = supports_bf16() if recipe.update.bf16 is None else recipe.update.bf16
        self.learner: Learner = make_learner(model, reference, tokenizers, recipe, bf16)
        rollout = recipe.rollout
        fresh = RunState(RolloutBuffer(rollout.order, rollout.prompts, rollout.ahead))
        self.step, self.state = load_state(run, self.origin, model, self.learner.optimizer, self.prompts.ask, fresh)
        if self.step > recipe.update.steps:
            raise ValueError(
                f"update.steps = {recipe.update.steps}: {run} has made {self.step} already: ask for as many at least"
            )
        self.worker = make_sampler(rollout, model, tokenizers, run)
        self.phase: Phase | None = None
        """The rollouts that are being made."""
        self.waited, self.since = 0.0, time.perf_counter()

    def train(self, on_step: OnStep) -> None:
        """Takes the steps that are left."""
        log = cut_log(self.run, self.step)
        cut_looks(self.run, self.step)
        self._look_where_due()
        self.since = time.perf_counter()
        try:
            self._take_steps(log, on_step)
        finally:
            self.worker.close()

    def _take_steps(self, log: Path, on_step: OnStep) -> None:
        update = self.recipe.update
        while self.step < update.steps:
            measures = self.take_step()
            failures = {"failures": dict(self.failures.most_common(COMMONEST))} if self.failures else {}
            append_line(log, json.dumps({"step": self.step} | measures | failures, ensure_ascii=False))
            self._stop_where_not_finite(measures)
            on_step(self.step, measures)
            self.step += 1
            if self.step == update.steps or self.step % update.save_every == 0:
                if self.phase is not None:  # a state holds whole phases, for the weights of one that is cut are gone
                    self._collect()
                save_state(self.run, self.step, self.origin, self.learner.model, self.learner.optimizer, self.state)
            self._look_where_due()

    def _look_where_due(self) -> None:
        """Before the first update, behind the last, and between them as the recipe says: once each, also where a run was stopped
        between an update and its look."""
        update = self.recipe.update
        is_due = self.step in (0, update.steps) or (update.assess_every and self.step % update.assess_every == 0)
        if update.assess and is_due and not has_look(self.run, self.step):
            self.look()

    def look(self) -> None:
        """Judges fresh draws and writes what was found."""
        engine = Engine(self.learner.model, self.tokenizers, self.trained, rows=100)
        looks, samples = look(engine, self.tasks, self.recipe.seed, self.step, self.recipe.update.assess)
        write_looks(self.run, looks, samples)

    # -------------------------------------------------------------- one step

    def take_step(self) -> dict[str, float]:
        """Rollouts, verdicts and an update; its measures."""
        clock = time.perf_counter()
        taken = self.sample()
        sampled = time.perf_counter()
        finished = self.judge(taken, Engine(self.learner.model, self.tokenizers))
        judged, about = self.compare(finished)
        verified = time.perf_counter()
        self.taken = taken
        measures = about | update_policy(self.learner, judged, self.step, self.state.entropy)
        self.state.entropy = measures.get("entropy", self.state.entropy)
        seconds = {"sampling": sampled - clock, "judging": verified - sampled, "updating": time.perf_counter() - verified}
        return measures | {f"seconds {name}": value for name, value in seconds.items()} | self._idle()

    def _idle(self) -> dict[str, float]:
        """The share of the time since the last update in which this process had nothing to do but wait for another's rollouts."""
        now = time.perf_counter()
        share, self.waited, self.since = self.waited / (now - self.since), 0.0, now
        return {} if self.recipe.rollout.worker == "none" else {"idle": share}

    def sample(self) -> dict[Key, Response]:
        """The responses of this update, in the order in which it asks for them; where rollouts overlap with it, those of the next
        are begun, by the weights of now."""
        state = self.state
        if not state.taken:
            if self.phase is None:
                self._begin()
            self._collect()
        taken, state.taken = state.taken, {}
        if self.recipe.rollout.overlap:
            self._begin()
        return taken

    def _begin(self) -> None:
        hint = partial(self.prompts.hint, hard=self.state.hard)
        self.phase = open_phase(self.state, self.recipe, self.step, self.prompts.ask, hint)
        self.worker.begin(self.phase, self._sampling_model())

    def _collect(self) -> None:
        """Waits for the phase under way."""
        assert self.phase is not None
        clock = time.perf_counter()
        close_phase(self.state, self.phase, self.worker.collect())
        self.phase = None
        self.waited += time.perf_counter() - clock

    def judge(self, taken: Mapping[Key, Response], engine: Engine) -> list[Finished]:
        """What the verifiers say of all that was taken."""
        made = outputs(list(taken.values()), engine)
        self.failures.clear()
        judged = [(*self.prompts[number], output) for (number, _), output in zip(taken, made, strict=True)]
        jobs = [(verify, p, output) for task, p, output in judged for verify in (task.rewarding, *task.watched.values())]
        found = verdicts(jobs, max(task.at_once for task in self.tasks))
        if not self.step and all(isinstance(one, str) for one in found):
            raise ValueError(f"no verifier gave a verdict in the first update: {Counter(found).most_common(1)[0][0]}")
        said, finished = iter(found), []
        for ((number, _), response), (task, prompt, output) in zip(taken.items(), judged, strict=True):
            rewarding = self._counted(next(said))
            watched = {name: self._counted(next(said)) for name in task.watched}
            known = {name: one for name, one in watched.items() if one is not None}
            finished.append(Finished(number, task, prompt, response, output, rewarding, known))
        return finished

    def _counted(self, found: Verdict | str) -> Verdict | None:
        """The verdict, or what one that failed counts as, which is noted."""
        if isinstance(found, Verdict):
            return found
        self.failures[found] += 1
        return Verdict(0.0, False, found) if self.recipe.verifying.failure == "zero" else None

    def compare(self, finished: Sequence[Finished]) -> tuple[list[Judged], dict[str, float]]:
        """Advantages of what has some, and what is known before the update."""
        groups: dict[int, list[Finished]] = {}
        for one in finished:
            groups.setdefault(one.number, []).append(one)
        judged, silent = [], 0
        for group in groups.values():
            rewards = [None if one.verdict is None else reward(one) for one in group]
            passed = [one.verdict.passed for one in group if one.verdict is not None]
            accuracy = self._success(group[0], passed)
            advantages = group_advantages(rewards, self.recipe.objective.divide_by_spread)
            silent += all(advantage is None for advantage in advantages)
            judged += [
                Judged(one.response, advantage, accuracy)
                for one, advantage in zip(group, advantages, strict=True)
                if advantage is not None and one.response.choices
            ]
        counts = {"failed verdicts": self.failures.total(), "prompts without signal": silent, "responses trained": len(judged)}
        return judged, facts_of(finished, self.tasks) | {name: float(count) for name, count in counts.items()}

    def _success(self, one: Finished, passed: Sequence[bool]) -> float:
        """The running success rate of a prompt without a hint, by its name; notes what this turn changes of its hint."""
        name, is_hinted = self.prompts.name(one.number), bool(one.response.ask.hint)
        if can_be_hinted(one.task.config) and self.recipe.hints.share:
            note_turn(self.state.hard, name, is_hinted, passed, self.recipe.hints)
        if passed and not is_hinted:
            now = mean(passed)
            self.state.success[name] = 0.5 * (self.state.success.get(name, now) + now)
        return self.state.success.get(name, 0.0)

    def _sampling_model(self) -> Ernest:
        """The model, or a copy with noise on its weights, where a mismatch is to be studied."""
        noise = self.recipe.rollout.noise
        if not noise:
            return self.learner.model
        noisy = copy.deepcopy(self.learner.model).requires_grad_(False)
        generator = torch.Generator().manual_seed((self.recipe.seed * 1_000_003 + self.step) % (1 << 63))
        for parameter in noisy.parameters():
            spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
            parameter += noise * spread * torch.randn(parameter.shape, generator=generator)
        return noisy

    def _stop_where_not_finite(self, measures: Mapping[str, float]) -> None:
        name = first_not_finite(measures)
        if name is None:
            return
        folder = self.run / f"stopped-{self.step:07d}"
        folder.mkdir(exist_ok=True)
        save_tensors(folder / "model.safetensors", self.learner.model.state_dict())
        keys = [list(key) for key in self.taken]
        write_text(folder / "measures.json", json.dumps({"measures": measures, "rollouts": keys}, indent=1, ensure_ascii=False))
        raise ArithmeticError(f"step {self.step}: {name} is {measures[name]}; its weights and measures are in {folder}")


def _submodel(model: Ernest, importance: torch.Tensor, size: SubModelSize) -> SubModel | None:
    return None if size.is_full else choose(model, importance, size)
