"""A run of reinforcement learning that is killed among rollouts goes on to what the unbroken one comes to, bit for bit."""

import json
import multiprocessing
import random
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from ernest.config.rl import ObjectiveConfig, RLRecipe, RolloutConfig, TaskConfig, UpdateConfig
from ernest.rl import phase, tasks
from ernest.rl.loop import Policy
from ernest.storage import load_tensors
from ernest.verifiers.verdict import Verdict
from tests.rl.small import model
from tests.small import CONFIG, tokenizers

PHASES = "phases"
PAUSE = 0.01
"""Seconds between the steps of the sampler, so that a phase is long enough to be hit."""


def settings(steps: int) -> RLRecipe:
    """Texts of all lengths in U-RB, some of which are cut and go on under newer weights; every state is kept."""
    return RLRecipe(
        (TaskConfig("questions in words", ("answer in words",)),),
        rollout=RolloutConfig(2, 4, "U-RB", 3, rows=8),
        objective=ObjectiveConfig(),
        update=UpdateConfig(steps=steps, learning_rate=1e-3, bf16=False, save_every=1, assess=0),
    )


def train(folder: Path, steps: int) -> None:
    """Goes on to the end in this process, and notes where phases of rollouts begin and end."""
    torch.set_num_threads(1)
    real, phases = phase.run_rollouts, folder / PHASES

    def noted(engine, asked, seed, version, enough):
        def slowly(ended) -> bool:
            time.sleep(PAUSE)
            return enough(ended)

        with phases.open("a") as file:
            file.write("begin\n")
        found = real(engine, asked, seed, version, slowly)
        with phases.open("a") as file:
            file.write("end\n")
        return found

    phase.run_rollouts = noted
    even = lambda record, output: Verdict(1.0, bool(output) and len(output[0].data) % 2 == 0)
    tasks.RULES["answer in words"] = even
    importance = torch.ones(CONFIG.layers, CONFIG.experts)
    Policy(model(), tokenizers(), None, settings(steps), folder, importance).train(lambda step, measures: None)


def started(folder: Path, steps: int) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=train, args=(folder, steps))
    process.start()
    return process


def phases(folder: Path) -> list[str]:
    path = folder / PHASES
    return path.read_text().splitlines() if path.exists() else []


def check_kills(tmp_path: Path, kills: int, steps: int) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        folder.mkdir()
    draw, hits = random.Random(0), 0
    for _ in range(kills):
        process, before = started(killed, steps), phases(killed).count("begin")
        reached = before + draw.randint(1, 2)
        while phases(killed).count("begin") < reached and process.is_alive():
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 5 * PAUSE))
        process.kill()
        process.join()
        hits += process.exitcode != 0 and phases(killed)[-1] == "begin"
    assert hits >= 0.8 * kills, f"{hits} of {kills} kills hit a phase of rollouts"
    for folder in (killed, whole):
        last = started(folder, steps)
        last.join()
        assert last.exitcode == 0
    lines, _ = found = outcome(whole)
    assert outcome(killed) == found
    assert sum(line["optimiser steps"] for line in lines) > 0
    assert max(line["age"] for line in lines) > 0


def outcome(folder: Path) -> tuple[list[dict], dict[str, bytes]]:
    """Measures of all steps, without their times, and the bits of weights and moments."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (state,) = folder.glob("step-*")
    tensors = {
        f"{path.name}/{name}": value.numpy().tobytes()
        for path in sorted(state.glob("*.safetensors"))
        for name, value in load_tensors(path).items()
    }
    return [{name: value for name, value in line.items() if not name.startswith("seconds")} for line in lines], tensors


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_killed_twice_among_rollouts_is_the_unbroken_run(tmp_path):
    check_kills(tmp_path, 2, 4)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_killed_twenty_times_among_rollouts_is_the_unbroken_run(tmp_path):
    check_kills(tmp_path, 20, 40)
