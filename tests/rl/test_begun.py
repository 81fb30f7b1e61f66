"""A run of reinforcement learning goes on with what it was begun with, and leaves folders of something else alone."""

import copy
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.checkpoint import Learnt, save_model
from ernest.config.media import MediaSpec
from ernest.config.recipe import Recipe, to_tree
from ernest.config.rl import RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.rl.begun import begun_with, check_run, note_begun
from ernest.rl.loop import reinforce
from ernest.rl.tasks import check_fit, needs_judges, trained_tasks
from ernest.storage import save_tensors
from ernest.training.resume import PROGRESS
from ernest.verifiers.judges import Judges
from tests.rl.small import model
from tests.small import CONFIG, tokenizers

RULE = """
from ernest.verifiers.verdict import Verdict

def judge(record, output):
    passed = len(output) > 0 and len(output[0].data) % 2 == 0
    return Verdict(float(passed), passed)
"""


def settings(verifier: str, task: str = "questions in words", **update) -> RLRecipe:
    return RLRecipe(
        (TaskConfig(task, (verifier,)),),
        rollout=RolloutConfig(2, 2),
        update=UpdateConfig(**{"steps": 1, "bf16": False, "assess": 0, **update}),
    )


def test_a_run_goes_on_with_the_reward_that_it_was_begun_with(tmp_path):
    checkpoint, rule, run = tmp_path / "checkpoint", tmp_path / "mine.py", tmp_path / "run"
    save_model(checkpoint, model(), tokenizers(), to_tree(Recipe()), torch.ones(CONFIG.layers, CONFIG.experts))
    rule.write_text(RULE)
    recipe = settings(f"{rule}:judge")
    assert not needs_judges(recipe)
    train = lambda recipe: reinforce(checkpoint, tmp_path / "no judges", run, recipe)
    assert train(recipe) == run / "model"
    kept = (run / "recipe.json").read_bytes()
    with pytest.raises(ValueError, match=r"run that was begun with others \(recipe\.tasks\.0\.verifiers, verifiers\..*restore"):
        train(settings("answer in words"))
    rule.write_text(RULE + "# another one\n")
    with pytest.raises(ValueError, match=r"begun with others \(verifiers\..*mine\.py:judge\)"):
        train(recipe)
    assert (run / "recipe.json").read_bytes() == kept


def test_judges_and_weights_are_what_a_run_was_begun_with(tmp_path):
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        save_tensors(tmp_path / folder / "model.safetensors", {"a": np.full(2, len(folder))})
    recipe, run = settings("word", "speech→text"), tmp_path / "run"
    begun = begun_with(tmp_path / "one", tmp_path / "one", recipe, {})
    check_run(run, begun)
    state = run / "step-0000001" / PROGRESS
    state.parent.mkdir(parents=True)
    note_begun(run, begun, asdict(recipe))
    other = begun_with(tmp_path / "other", tmp_path / "other", recipe, {})
    check_run(run, other)  # nothing has been learnt yet
    state.write_text("{}")
    check_run(run, begun)
    with pytest.raises(ValueError, match=r"begun with others \(checkpoint, judges\)"):
        check_run(run, other)


def test_films_have_the_frames_of_the_judges_whatever_the_model_makes_at_most():
    """Also where a latent stands for several of them."""
    (task,) = trained_tasks(settings("family", "text→video"), Judges(None, None, None), {})
    brought = copy.copy(tokenizers())
    for media, latents in ((MediaSpec(), 9), (MediaSpec(frames=17), 9), (MediaSpec(frames=17, temporal_stride=2), 5)):
        object.__setattr__(brought, "media", media)
        check_fit([task], brought, Learnt((), (), 0), 0)
        assert task.ask(task.task.record(0, 0), brought).frames == latents
    object.__setattr__(brought, "media", MediaSpec(frames=5))
    with pytest.raises(ValueError, match="text→video: its judges look at 9 frames, and the model makes 5 at most"):
        check_fit([task], brought, Learnt((), (), 0), 0)


def test_what_a_kill_left_is_no_other_run(tmp_path: Path):
    for name in ("sampler/text.json", ".aside-begun.json-abc/begun.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("{}")
    check_run(tmp_path, {})


@pytest.mark.parametrize("name", ["metrics.jsonl", "recipe.json", "model/model.json"])
def test_a_folder_of_something_else_is_left_alone(name: str, tmp_path: Path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(json.dumps(to_tree(Recipe())))
    with pytest.raises(ValueError, match="holds something else than a run of `ernest rl`"):
        check_run(tmp_path, {})


def test_what_a_model_never_learnt_and_media_of_other_sizes_are_refused():
    larger = copy.copy(tokenizers())
    object.__setattr__(larger, "media", MediaSpec(height=64, width=64, sample_rate=16000))
    for task, verifier, brought, learnt, message in (
        ("text→image", "colour and place", tokenizers(), ("image→text",), "text→image: the model never learnt to understand"),
        ("text→image", "colour and place", tokenizers(), ("text→text",), "text→image: the model never learnt to make a pict"),
        (
            "image→text",
            "caption",
            larger,
            (),
            "image→text: its prompts and judges are made for 32 x 32 pixels, and the model for 64",
        ),
        ("speech→text", "word", larger, (), "made for 8000 samples a second, and the model for 16000"),
        ("text→image", "colour and place", larger, (), None),
    ):
        tasks = trained_tasks(settings(verifier, task), None, {})
        check = lambda tasks=tasks, brought=brought, learnt=learnt: check_fit(tasks, brought, Learnt(learnt, (), 0), 0)
        if message is None:
            check()
            continue
        with pytest.raises(ValueError, match=message):
            check()
