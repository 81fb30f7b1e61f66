"""From 8 bits to 16 in the middle of a training, beside one of 16 bits from its start: the same pictures in the same order."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ernest.config.recipe import Recipe
from ernest.data.examples import encode
from ernest.data.store import ExampleStore
from ernest.device import set_threads
from ernest.fit import no_progress
from ernest.results.films.long_films import small
from ernest.results.held_out import losses
from ernest.results.small_runs import Study
from ernest.results.units import file_name, kept
from ernest.storage import read_log
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import VisionTokenizer
from ernest.training.frames import labelled_frames
from ernest.training.loop import run_fingerprint, train
from ernest.training.resume import newest_state
from ernest.training.switching import FIRST, switch
from ernest.training.tokenizers import vision_tokenizer
from ernest.world.split import HELD_OUT
from ernest.world.world import records

STEPS, FEW, TOKENIZER_STEPS = 200, 8, 800
LEARNT, READ = 3000, 200
"""Pictures that are learnt from, and held-out ones."""
TASK = "text→image"
SCRATCH, SWITCHED = "all bits from the start", "few bits first"


def measure(study: Study, seed: int) -> dict[str, dict[str, float]]:
    """The loss of held-out pictures in the bits of all, of both trainings, and how far the switched one lies above the other in
    training: in the steps right behind the switch, and from a tenth of all steps behind it on."""
    settings = {"steps": STEPS, "few": FEW, "tokenizer": TOKENIZER_STEPS, "learnt": LEARNT, "read": READ}
    folder = study.build / f"seed-{seed}"

    def made(name: str) -> dict:
        return kept(folder / f"{file_name(name)}.json", settings, lambda: _measured(study, name, seed))

    curves = {name: made(name) for name in (SCRATCH, SWITCHED)}
    found = {name: {"nats a bit": curve["held out"]} for name, curve in curves.items()}
    excess = np.array(curves[SWITCHED]["vision"]) - np.array(curves[SCRATCH]["vision"])
    at, tenth, few = STEPS // 2, STEPS // 10, max(1, STEPS // 20)
    found[SWITCHED] |= {"excess, right behind the switch": float(excess[at : at + few].mean()),
                        "excess, a tenth behind it": float(excess[at + tenth : at + tenth + few].mean()),
                        "excess, last tenth": float(excess[-tenth:].mean())}  # fmt: skip
    return found


def _recipe(study: Study, name: str, seed: int) -> Recipe:
    recipe = small(study, seed, {TASK: 1.0}, steps=STEPS, warmup=STEPS // 10)
    few = replace(recipe.tokenizers, first_bits=FEW if name == SWITCHED else 0)
    return replace(recipe, tokenizers=few)


def _measured(study: Study, name: str, seed: int) -> dict:
    set_threads(1)
    study.tell(f"seed {seed}: {name}")
    recipe, run = _recipe(study, name, seed), study.build / f"seed-{seed}" / file_name(name)
    run.mkdir(parents=True, exist_ok=True)
    few = _few_bits(study) if name == SWITCHED else None
    store = _examples(study, study.tokenizers, "learnt", range(LEARNT))
    if few is not None:
        (run / FIRST).mkdir(exist_ok=True)
        if newest_state(run) is None:  # else the switch is behind the run
            train(recipe, _examples(study, few, "learnt-few", range(LEARNT)), few, run / FIRST, until=recipe.first_steps)
        origin = run_fingerprint(recipe, store, study.tokenizers)
        switch(run, FEW, study.tokenizers.vision.spec.bits, seed, origin)
    network = train(recipe, store, study.tokenizers, run).eval().requires_grad_(False)
    lines = {line["step"]: line["vision"] for line in read_log(run / "metrics.jsonl")}
    unseen = _examples(study, study.tokenizers, "unseen", range(HELD_OUT, HELD_OUT + READ))
    held_out = losses(network, unseen, study.tokenizers, (TASK,))[f"bits, {TASK}"]
    shutil.rmtree(run)
    return {"held out": held_out, "vision": [lines[step] for step in range(STEPS)]}


def _few_bits(study: Study) -> Tokenizers:
    """The demo's tokenizers with one of few bits for pictures, which all seeds share."""
    path = study.build / "few-bits.safetensors"
    if not path.is_file():
        study.tell(f"a tokenizer of {FEW} bits")
        shown = records("image→text", study.whole().seed, range(LEARNT))
        frames = np.stack([record.segments[0].data for record in shown])
        labels = np.array([record.facts["digit"] for record in shown])
        whole = study.whole()
        recipe = replace(whole, tokenizers=replace(whole.tokenizers, vision_steps=TOKENIZER_STEPS))
        vision_tokenizer([labelled_frames(frames, labels)], recipe, no_progress, bits=FEW).save(path)
    vision = VisionTokenizer.load(path).eval().requires_grad_(False)
    return replace(study.tokenizers, vision=vision)


@torch.inference_mode()
def _examples(study: Study, tokenizers: Tokenizers, name: str, indices: range) -> ExampleStore:
    folder: Path = study.build / name
    if not any(folder.glob("*/index.json")):
        ExampleStore.write(folder / "own", encode(records(TASK, study.whole().seed, indices), tokenizers))
    return ExampleStore(folder)
