"""Runs of reinforcement learning at test size: they learn, go on where they stopped, and stop where a number is none."""

import itertools
import json
import math
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from ernest.config.recipe import find_recipe
from ernest.config.rl import ObjectiveConfig, RLRecipe, RolloutConfig, TaskConfig, UpdateConfig, VerifyingConfig, load_rl_recipe
from ernest.generation.engine import Engine
from ernest.lcnet.network import PPLCNet, small_images
from ernest.report.rl import write_rl_report
from ernest.rl import hints, loop, state, tasks, update
from ernest.rl.assess import read_looks
from ernest.rl.finished import facts_of
from ernest.rl.likelihood import score
from ernest.rl.loop import Policy
from ernest.rl.response_batch import pack_responses
from ernest.rl.state import origin_of
from ernest.storage import load_tensors
from ernest.verifiers.judges import Judges
from ernest.verifiers.speech import WordJudge
from ernest.verifiers.verdict import Verdict
from ernest.verifiers.vision import FamilyNetwork
from tests.rl.small import asks, model, rollouts
from tests.small import CONFIG, tokenizers

MEASURES = (
    "reward", "passed", "entropy", "entropy vision", "mean weight", "masked", "age", "truncated", "missing routes", "kl", "loss",
    "failed verdicts", "prompts without signal", "norm",
)  # fmt: skip


def judges() -> Judges:
    return Judges(PPLCNet(small_images(classes=10)), FamilyNetwork(9, 6), WordJudge())


def recipe(
    steps=3, task="text→image", verifier="digit", prompts=2, samples=4, order="synchronous", ahead=1, objective=None, **more
):
    return RLRecipe(
        (TaskConfig(task, (verifier,)),),
        rollout=RolloutConfig(prompts, samples, order, ahead, rows=0 if ahead == 1 else prompts * samples),
        objective=objective or ObjectiveConfig(),
        update=UpdateConfig(**{"steps": steps, "learning_rate": 1e-3, "bf16": False, "save_every": 1, "assess": 0, **more}),
    )


def policy(folder, settings, made=None, own=None) -> Policy:
    folder.mkdir(exist_ok=True)
    return Policy(made or model(), tokenizers(), judges(), settings, folder, torch.ones(CONFIG.layers, CONFIG.experts), own)


def verifier(monkeypatch, name, passes):
    """A verifier of that name which passes what `passes` says of the data of an output."""
    verify = lambda record, output: Verdict(float(passes(output[0].data)), bool(passes(output[0].data)))
    monkeypatch.setitem(tasks.RULES, name, verify)


def coin(data) -> bool:
    return int(data.sum(dtype=np.int64)) % 3 == 0


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(entries):
    return [{name: value for name, value in entry.items() if not name.startswith("seconds")} for entry in entries]


def weights(run: Policy) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.learner.model.state_dict().items()}


def equal(one, other) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------ learning


def test_bits_of_pictures_learn_what_is_rewarded(tmp_path, monkeypatch):
    """Brighter than half of what the model draws at first."""
    settings = recipe(12, prompts=4, samples=8, learning_rate=3e-3)
    run = policy(tmp_path / "run", settings)
    engine = Engine(run.learner.model, tokenizers())
    drawn = [o[0].data.mean() for o in tasks.outputs(list(run.sample().values()), engine)]
    threshold = float(np.median(drawn))
    verifier(monkeypatch, "digit", lambda data: data.mean() > threshold)
    run = policy(tmp_path / "learnt", settings)
    run.train(lambda step, measures: None)
    log = log_of(tmp_path / "learnt")
    assert [name for entry in log if entry["optimiser steps"] for name in MEASURES if name not in entry] == []
    assert np.mean([entry["passed"] for entry in log[-3:]]) >= np.mean([entry["passed"] for entry in log[:2]]) + 0.25
    assert log[0]["kl"] == 0.0
    assert max(entry["kl"] for entry in log if entry["optimiser steps"]) > 0.0
    assert all(entry["missing routes"] == 0 for entry in log)


@pytest.mark.parametrize(
    ("task", "name", "passes"),
    [
        ("questions in words", "answer in words", lambda data: len(data) % 2 == 0),
        ("text→speech", "spoken word", lambda data: int(1e6 * abs(data).sum()) % 3 == 0),
        ("text→video", "family", coin),
    ],
)
def test_every_modality_is_trained_by_the_same_gradient(tmp_path, monkeypatch, task, name, passes):
    verifier(monkeypatch, name, passes)
    run = policy(tmp_path / "run", recipe(1, task, name, samples=6))
    before = weights(run)
    measures = run.take_step()
    assert measures["optimiser steps"] == 1
    assert not equal(before, weights(run))
    assert measures["mismatch"] <= 1e-5
    modality = {"questions in words": "text", "text→speech": "audio", "text→video": "vision"}[task]
    assert measures[f"entropy {modality}"] > 0


def test_an_update_moves_each_response_as_the_gradient_of_all_says():
    """To first order a small step of plain descent raises the log-probability of response i by rate * <g_i, g>, where g is the
    gradient of the mean over responses of A_i (log-probability of i) / (its tokens)."""
    made = model()
    responses = list(rollouts(made, asks()[:1], samples=6).values())
    advantages = [1.0, -1.0, 0.5, -0.5, 2.0, -2.0]
    settings = recipe(1, "questions in words", "answer in words", learning_rate=1e-5, clip=1e9)
    learner = update.make_learner(made, model(), tokenizers(), settings, False)
    parameters = update.trained_parameters(made)
    learner = replace(learner, optimizer=torch.optim.SGD(parameters, lr=1e-5))
    before = log_probs(made, responses)
    whole = sum(a * p / len(r.choices) for a, p, r in zip(advantages, before, responses, strict=True)) / len(responses)
    gradients = [torch.autograd.grad(p, parameters, retain_graph=True, allow_unused=True) for p in (whole, *before)]
    flat = [torch.cat([torch.zeros(0) if g is None else g.flatten() for g in found]) for found in gradients]
    expected = [1e-5 * float(own @ flat[0]) for own in flat[1:]]
    assert max(map(abs, expected)) > 1e-3
    update.update_policy(learner, [update.Judged(r, a, 0.0) for r, a in zip(responses, advantages, strict=True)], 0, None)
    moved = [float((new - old).detach()) for new, old in zip(log_probs(made, responses), before, strict=True)]
    assert moved == pytest.approx(expected, rel=0.02, abs=5e-5)


def log_probs(made, responses) -> list[torch.Tensor]:
    """Of each response by itself."""
    (batch,) = pack_responses(responses, tokenizers(), CONFIG, 10_000)
    of_elements = score(made(batch.batch, batch.submodels, batch.replay), batch).log_prob
    return [of_elements[batch.elements.response == n].sum() for n in range(len(responses))]


def test_no_signal_changes_no_bit(tmp_path, monkeypatch):
    for n, passes in enumerate((lambda data: True, lambda data: False)):
        verifier(monkeypatch, "digit", passes)
        run = policy(tmp_path / str(n), recipe())
        before = weights(run)
        measures = run.take_step()
        assert (measures["loss"], measures["optimiser steps"], measures["prompts without signal"]) == (0.0, 0.0, 2.0)
        assert equal(before, weights(run))


def test_a_run_without_signal_from_its_beginning_on_goes_on(tmp_path, monkeypatch):
    """The optimiser has taken no step when the first state is written, and has no moments."""
    verifier(monkeypatch, "digit", lambda data: False)
    policy(tmp_path / "run", recipe(1)).train(lambda step, measures: None)
    resumed = policy(tmp_path / "run", recipe(2))
    assert resumed.step == 1
    assert not any(resumed.learner.optimizer.state.values())
    resumed.train(lambda step, measures: None)
    assert [entry["step"] for entry in log_of(tmp_path / "run")] == [0, 1]


def test_a_verifier_that_fails_costs_its_sample(tmp_path, monkeypatch):
    def fails(data):
        if coin(data):
            raise RuntimeError("a fault of the verifier")
        return data.sum() % 2

    verifier(monkeypatch, "digit", fails)
    measures = policy(tmp_path / "run", recipe(samples=8)).take_step()
    assert 0 < measures["failed verdicts"] < 16
    assert measures["responses trained"] <= 16 - measures["failed verdicts"]


OWN = """
import itertools, time
from ernest.verifiers.verdict import Verdict

calls = itertools.count()

def judge(record, output):
    call = next(calls)
    if call % 6 == 0:
        raise RuntimeError("a fault of mine")
    if call == 4:
        time.sleep(60)
    passed = int(output[0].data.sum()) % 2 == 0
    return Verdict(float(passed), passed)
"""


@pytest.mark.parametrize("failure", ["left out", "zero"])
def test_a_users_verifier_that_raises_and_hangs_costs_samples_and_is_shown(tmp_path, failure):
    """The first call of a process raises and the fifth hangs; the run goes on, and log and report say how often and why."""
    (tmp_path / "mine.py").write_text(OWN)
    name = f"{tmp_path / 'mine.py'}:judge"
    settings = replace(recipe(1, verifier=name, samples=6), verifying=VerifyingConfig(timeout=0.4, failure=failure))
    tasks.check_tasks(settings)
    run = policy(tmp_path / "run", settings, own=tasks.own_verifiers(settings))
    run.train(lambda step, measures: None)
    (entry,) = log_of(tmp_path / "run")
    assert entry["failed verdicts"] == sum(entry["failures"].values()) > 0
    assert set(entry["failures"]) == {f"{name}: took longer than 0.4 s", f"{name}: RuntimeError: a fault of mine"}
    if failure == "left out":
        assert entry["responses trained"] <= 12 - entry["failed verdicts"]
    else:
        assert entry["responses trained"] == 12 - 6 * entry["prompts without signal"]
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(asdict(settings)))
    page = write_rl_report(tmp_path / "run").read_text()
    assert "Verdicts that failed" in page
    assert f"{name}: took longer than 0.4 s" in page


def test_own_verifiers_may_watch_and_are_looked_at(tmp_path, monkeypatch):
    """Every sixth call raises: the first of the first look, and the seventh, in the update."""
    verifier(monkeypatch, "digit", coin)
    (tmp_path / "mine.py").write_text(OWN.replace("call == 4", "False"))
    name = f"{tmp_path / 'mine.py'}:judge"
    settings = replace(recipe(1, assess=2), tasks=(TaskConfig("text→image", ("digit",), (name,)),))
    run = policy(tmp_path / "run", settings, own=tasks.own_verifiers(settings))
    run.train(lambda step, measures: None)
    (entry,) = log_of(tmp_path / "run")
    assert entry["failures"] == {f"{name}: RuntimeError: a fault of mine": 1}
    assert entry["failed verdicts"] == 1
    assert entry["responses trained"] == 8 - 4 * entry["prompts without signal"]  # what only watches costs nothing
    assert 0 <= entry[f"watched {name}"] <= 1
    looks = [found for (found,), _ in read_looks(tmp_path / "run")]
    assert [look.verifiers.keys() for look in looks] == [{"digit", "colour and place", name}] * 2
    assert [look.failed for look in looks] == [1, 0]


def test_an_endpoint_is_asked_for_several_verdicts_at_once_and_each_reaches_its_answer(tmp_path, monkeypatch):
    """The first four of eight meet at a barrier, which one after the other never would; the score is that of the answer."""
    meeting, asked = threading.Barrier(4, timeout=10), itertools.count()

    def answers(url, timeout, retries):
        def verify(record, output):
            if next(asked) < 4:
                meeting.wait()
            return Verdict(float(output[0].data.mean()) / 255, True)

        return verify

    monkeypatch.setattr(tasks, "own_verifier", answers)
    settings = recipe(1, verifier="http://judge/")
    settings = replace(settings, verifying=VerifyingConfig(at_once=4))
    run = policy(tmp_path / "run", settings, own=tasks.own_verifiers(settings))
    engine = Engine(run.learner.model, tokenizers())
    finished = run.judge(run.sample(), engine)
    assert not run.failures
    assert [one.verdict.score for one in finished] == [float(one.output[0].data.mean()) / 255 for one in finished]
    assert {task.at_once for task in policy(tmp_path / "plain", recipe(1)).tasks} == {1}


def test_the_time_of_own_verifiers_may_change_and_what_they_count_as_may_not(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    settings = recipe(1)
    policy(tmp_path / "run", settings).train(lambda step, measures: None)
    assert policy(tmp_path / "run", replace(settings, verifying=VerifyingConfig(3.0, 1, 2))).step == 1
    with pytest.raises(ValueError, match="belongs to another recipe"):
        policy(tmp_path / "run", replace(settings, verifying=VerifyingConfig(failure="zero")))


def test_a_wholly_masked_update_takes_no_step(tmp_path, monkeypatch):
    """The sampler's odds are made up, so that no element lies within the bounds."""
    verifier(monkeypatch, "digit", coin)
    run = policy(tmp_path / "run", recipe(objective=ObjectiveConfig(lowest=0.999, highest=1.001)))
    sample = run.sample

    def doctored():
        taken = sample()
        wrong = lambda c: replace(c, log_probs=c.log_probs - 1)
        return {key: replace(one, choices=tuple(map(wrong, one.choices))) for key, one in taken.items()}

    monkeypatch.setattr(run, "sample", doctored)
    before = weights(run)
    measures = run.take_step()
    assert measures["responses trained"] > 0
    assert (measures["loss"], measures["optimiser steps"], measures["masked"]) == (0.0, 0.0, pytest.approx(1.0))
    assert measures["removed"] == pytest.approx(1.0)
    assert equal(before, weights(run))


def test_the_normaliser_counts_where_lengths_differ(tmp_path, monkeypatch):
    verifier(monkeypatch, "answer in words", lambda data: len(data) % 2 == 0)
    runs = []
    for name in ("element", "group", "segment"):
        settings = recipe(1, "questions in words", "answer in words", samples=6, objective=ObjectiveConfig(normaliser=name))
        runs.append(policy(tmp_path / name, settings))
        runs[-1].take_step()
    element, group, segment = map(weights, runs)
    assert equal(element, group)  # a token is a group of one element
    assert not equal(element, segment)


@pytest.mark.parametrize(
    "changed",
    [
        {"objective": ObjectiveConfig(normaliser="group")},
        {"objective": ObjectiveConfig(unit="group")},
        {"objective": ObjectiveConfig(scale_weights=(1.0, 0.0, 0.0))},
        {"objective": ObjectiveConfig(divide_by_spread=False, kl=0.0)},
        {"updates": 2},
        {"learning_rate": 2e-3},
        {"warmup": 5},
        {"weight_decay": 0.5},
        {"clip": 1e-9},
        {"bf16": True},
    ],
    ids=str,
)
def test_options_change_what_is_learnt(tmp_path, monkeypatch, changed):
    verifier(monkeypatch, "digit", coin)
    plain, other = (policy(tmp_path / name, recipe(2, **options)) for name, options in (("a", {}), ("b", changed)))
    for run in (plain, other):
        run.train(lambda step, measures: None)
    assert not equal(weights(plain), weights(other))


def test_the_divergence_pulls_back(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    runs = [policy(tmp_path / str(kl), recipe(3, objective=ObjectiveConfig(kl=kl))) for kl in (0.0, 30.0)]
    for run in runs:
        run.train(lambda step, measures: None)
    free, held = (log_of(tmp_path / str(kl)) for kl in (0.0, 30.0))
    assert free[0]["kl"] == held[0]["kl"] == 0
    assert timeless(free)[1] != timeless(held)[1]


def test_parts_give_the_gradient_of_the_whole(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    whole, parts = (policy(tmp_path / str(n), recipe(1, samples=8, positions=n)) for n in (10_000, 1))
    for run in (whole, parts):
        run.take_step()
    moments = [
        torch.cat([run.learner.optimizer.state[p]["exp_avg"].flatten() for p in update.trained_parameters(run.learner.model)])
        for run in (whole, parts)
    ]
    torch.testing.assert_close(moments[0], moments[1], atol=1e-7, rtol=1e-3)


def test_a_small_model_learns_and_a_small_model_samples(tmp_path, monkeypatch):
    from ernest.config.submodel_size import SubModelSize

    verifier(monkeypatch, "digit", coin)
    size = SubModelSize(layers=5, experts=4, top_k=1)
    small = policy(tmp_path / "a", replace(recipe(1), trained=size))
    measures = small.take_step()
    assert measures["mismatch"] <= 1e-5
    (left_out,) = set(range(CONFIG.layers)) - set(small.trained.layers)
    block = small.learner.model.backbone.blocks[left_out]
    assert not any(parameter.grad is not None and parameter.grad.any() for parameter in block.parameters())
    assert equal(block.state_dict(), model().backbone.blocks[left_out].state_dict())
    drawn_by_small = policy(tmp_path / "b", replace(recipe(1), sampler=size)).take_step()
    assert drawn_by_small["mismatch"] > 1e-3


def test_noise_on_the_sampler_is_a_mismatch(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    settings = recipe(1)
    noisy = policy(tmp_path / "run", replace(settings, rollout=replace(settings.rollout, noise=0.05))).take_step()
    assert noisy["mismatch"] > 1e-3


def test_a_task_that_comes_twice_has_two_names(tmp_path, monkeypatch):
    """So that neither's numbers take the place of the other's."""
    verifier(monkeypatch, "digit", lambda data: True)
    verifier(monkeypatch, "colour and place", lambda data: False)
    first, second = (TaskConfig("text→image", (name,)) for name in ("digit", "colour and place"))
    run = policy(tmp_path / "run", replace(recipe(1, prompts=6, samples=2, assess=1), tasks=(first, second)))
    run.train(lambda step, measures: None)
    (entry,) = log_of(tmp_path / "run")
    assert (entry["passed text→image"], entry["passed text→image (2)"]) == (1.0, 0.0)
    ((looks, samples), _) = read_looks(tmp_path / "run")
    assert {look.task: look.passed for look in looks} == {"text→image": 1.0, "text→image (2)": 0.0}
    assert len(samples) == 2


def test_what_two_tasks_have_is_told_of_both(tmp_path, monkeypatch):
    """Not of the last of them alone."""
    verifier(monkeypatch, "colour and place", coin)
    rule = lambda record, output: Verdict(0.0, False, "", {"lucky": float(coin(output[0].data))})
    monkeypatch.setitem(tasks.RULES, "digit", rule)
    task = TaskConfig("text→image", ("digit",), ("colour and place",))
    run = policy(tmp_path / "run", replace(recipe(1, prompts=6, samples=2), tasks=(task, task)))
    finished = run.judge(run.sample(), Engine(run.learner.model, tokenizers()))
    lucky = {turn: [coin(one.output[0].data) for one in finished if one.task is run.tasks[turn]] for turn in (0, 1)}
    assert np.mean(lucky[0]) != np.mean(lucky[1])
    facts = facts_of(finished, run.tasks)
    assert facts["part lucky"] == facts["watched colour and place"] == np.mean(lucky[0] + lucky[1])


def test_a_verifier_that_never_gives_a_verdict_ends_the_run_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks.RULES, "digit", lambda record, output: output[0].colour)
    with pytest.raises(ValueError, match="no verifier gave a verdict in the first update: AttributeError: 'Segment' object has"):
        policy(tmp_path / "run", recipe()).take_step()


def test_tasks_begin_in_stages(tmp_path):
    """The second half of prompts is of both tasks; and of an update that has one, only that one's share is told."""
    early = TaskConfig("questions in words", ("answer in words",))
    settings = replace(recipe(6, prompts=20), tasks=(early, TaskConfig("text→image", ("digit",), share=3.0, begin=3)))
    run = policy(tmp_path / "run", settings)
    names = [[run.prompts[number][0].name for number in range(20 * step, 20 * step + 20)] for step in range(6)]
    assert all(set(some) == {"questions in words"} for some in names[:3])
    assert 0.6 < np.mean([name == "text→image" for some in names[3:] for name in some]) < 0.9
    with pytest.raises(ValueError, match="one of them must begin at the first update"):
        replace(settings, tasks=settings.tasks[1:])
    with pytest.raises(ValueError, match="begin = -1 must be at least 0"):
        replace(early, begin=-1)


def test_recipes_that_come_with_ernest_can_be_run():
    for name in ("laws", "areas", "worked", "stages"):
        shipped = load_rl_recipe(find_recipe(name, "rl"))
        tasks.check_tasks(shipped)
        hints.check_hints(shipped)
        assert tasks.needs_judges(shipped) == (name != "worked")


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize(("order", "ahead"), [("synchronous", 1), ("U-RB", 3), ("in order", 2), ("finish order", 2)])
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, monkeypatch, order, ahead):
    """Texts of all lengths, some of which are cut and go on under newer weights."""
    verifier(monkeypatch, "answer in words", lambda data: len(data) % 2 == 0)
    settings = replace(recipe(4, "questions in words", "answer in words", 2, 4, order, ahead), seed=3)
    whole = policy(tmp_path / "whole", settings)
    whole.train(lambda step, measures: None)
    if ahead > 1:
        assert max(entry["age"] for entry in log_of(tmp_path / "whole")) > 0
    for stop in (1, 3):
        cut = policy(tmp_path / "cut", replace(settings, update=replace(settings.update, steps=stop)))
        assert cut.step in (0, 1)
        cut.train(lambda step, measures: None)
    resumed = policy(tmp_path / "cut", settings)
    assert resumed.step == 3
    assert resumed.state.rollouts.keys() == (resumed.state.rollouts if ahead > 1 else {}).keys()
    resumed.train(lambda step, measures: None)
    assert timeless(log_of(tmp_path / "cut")) == timeless(log_of(tmp_path / "whole"))
    assert equal(weights(resumed), weights(whole))


def test_another_recipe_does_not_go_on(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    policy(tmp_path / "run", recipe(1)).train(lambda step, measures: None)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        policy(tmp_path / "run", recipe(1, learning_rate=5e-4))
    assert policy(tmp_path / "run", recipe(5)).step == 1
    policy(tmp_path / "run", recipe(2)).train(lambda step, measures: None)
    with pytest.raises(ValueError, match=r"update\.steps = 1: .*run has made 2 already: ask for as many at least"):
        policy(tmp_path / "run", recipe(1))


def test_a_state_belongs_to_what_its_recipe_says_otherwise_than_usual(monkeypatch):
    """So a field that a later version adds changes nothing for a run that was begun before."""
    monkeypatch.setattr(state, "fingerprint", lambda settings, *weights: json.loads(settings))
    plain = recipe()
    usual = {"tasks.0.task": "text→image", "tasks.0.verifiers": ["digit"], "rollout.prompts": 2, "rollout.samples": 4}
    assert origin_of(model(), plain) == usual | {"update.learning_rate": 1e-3, "update.bf16": False}
    free = replace(plain, rollout=replace(plain.rollout, worker="process", timeout=5.0), verifying=VerifyingConfig(3.0, 1, 2))
    assert origin_of(model(), free) == origin_of(model(), plain)
    shared = replace(plain, tasks=(*plain.tasks, replace(plain.tasks[0], share=2.0)))
    assert origin_of(model(), shared).items() >= {"tasks.0.task": "text→image", "tasks.1.share": 2.0}.items()


def test_a_look_that_was_cut_is_taken_again_and_those_of_a_run_before_go(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    looks, settings = tmp_path / "run/looks", recipe(1, assess=2)
    looks.mkdir(parents=True)
    for name in ("0000000.json", "0000003.json", "0000003.safetensors"):
        (looks / name).write_text("of another recipe, killed before its first state")
    policy(tmp_path / "run", settings).train(lambda step, measures: None)
    written = {path.name: path.read_bytes() for path in looks.iterdir()}
    assert sorted(written) == [f"{step:07d}.{kind}" for step in (0, 1) for kind in ("json", "safetensors")]
    (looks / "0000001.json").unlink()
    policy(tmp_path / "run", settings).train(lambda step, measures: None)
    assert {path.name: path.read_bytes() for path in looks.iterdir()} == written


def test_a_norm_that_is_none_is_seen_behind_others():
    """A later step of the optimiser than the first."""
    measures = update._Measures()
    measures.norms += [1.0, math.nan]
    assert math.isnan(measures.summary()["norm"])


def test_a_number_that_is_none_stops_the_run_and_is_named(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    made = model()
    run = policy(tmp_path / "run", recipe(3), made)
    before = weights(run)
    real = loop.update_policy
    monkeypatch.setattr(loop, "update_policy", lambda *arguments: real(*arguments) | {"loss": math.nan})
    with pytest.raises(ArithmeticError, match=r"step 0: loss is nan; its weights and measures are in .*stopped-0000000"):
        run.train(lambda step, measures: None)
    saved = load_tensors(tmp_path / "run/stopped-0000000/model.safetensors")
    assert saved.keys() == before.keys()
    assert not list((tmp_path / "run").glob("step-*"))


def test_gradients_that_are_no_numbers_take_no_step(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    run = policy(tmp_path / "run", recipe(1))
    before = weights(run)
    monkeypatch.setattr(update, "policy_loss", _poisoned)
    measures = run.take_step()
    assert math.isnan(measures["norm"])
    assert equal(before, weights(run))


def _poisoned(units, advantage, config, share=None):
    from ernest.rl.objectives import Outcome

    return Outcome(units.new.sum() * math.nan, 0.0, 1.0, 0.0, 0.0)


def test_tasks_and_verifiers_are_refused_by_name():
    for settings, message in (
        (recipe(task="text→smell"), "'text→smell' is none of text→video"),
        (recipe(verifier="taste"), "verifier 'taste' is none of digit, colour and place, nor"),
        (replace(recipe(), tasks=(TaskConfig("text→image", ("digit",), guidance=1.5),)), r"text→image\.guidance = 1\.5"),
    ):
        with pytest.raises(ValueError, match=message):
            tasks.check_tasks(settings)


def test_states_go_and_files_of_others_stay(tmp_path, monkeypatch):
    verifier(monkeypatch, "digit", coin)
    folder = tmp_path / "run" / "rollouts"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    policy(tmp_path / "run", recipe(2)).train(lambda step, measures: None)
    assert sorted(path.name for path in folder.iterdir()) == ["0000002.json", "0000002.safetensors", "notes.txt"]
