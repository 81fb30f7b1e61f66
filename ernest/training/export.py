"""Writes the network of a run's newest state as the ordinary folder of a model, however many processes it was dealt out over."""

import json
from pathlib import Path

from torch import Tensor

from ernest.checkpoint import learnt_in_all, load_learnt, save_model, tokenizer_spec
from ernest.config.recipe import Recipe, read_recipe, to_tree
from ernest.config.stages import longest, sequence_at
from ernest.data.collate import collate
from ernest.data.drawn import Examples
from ernest.data.learnt import what_is_learnt
from ernest.data.sampler import plan
from ernest.device import HOST, without_weights
from ernest.model.network import Ernest
from ernest.model.slicing import expert_importance
from ernest.tokenizers.bundle import Tokenizers
from ernest.training.adapters import Adapters
from ernest.training.makers import open_examples
from ernest.training.parts import read_parts
from ernest.training.resume import PROGRESS, newest_state, state_files
from ernest.training.run_settings import START
from ernest.training.sharding import parts_of
from ernest.training.switching import FIRST


def export_checkpoint(run: Path, out: Path) -> int:
    """Writes the checkpoint `out` in one process, and returns the steps that it was trained for. A run that goes on may do so.

    Raises ValueError where `run` holds no state, or none with all bits yet.
    """
    state = newest_state(run)
    if state is None and newest_state(run / FIRST) is not None:
        raise ValueError(f"{run} has tokenizers.first_bits yet: a checkpoint can be written once it has switched to all bits")
    if state is None:
        raise ValueError(f"{run} holds no state of a training: `ernest train` writes one every training.save_every steps")
    recipe = read_recipe(run / "recipe.json")
    tokenizers = Tokenizers.load(run / "tokenizers")
    store = open_examples(run, tokenizers)
    model = read_network(state, recipe, tokenizers)
    done = int(json.loads((state / PROGRESS).read_text())["step"])
    learnt = what_is_learnt(store, recipe.weights(store.tasks), sequence_at(recipe, done - 1).length)
    if (run / START / "learnt.json").is_file():
        learnt = learnt_in_all(load_learnt(run / START), learnt)
    save_model(out, model, tokenizers, to_tree(recipe), training_importance(model, store, tokenizers, recipe), learnt)
    return done


def training_importance(model: Ernest, store: Examples, tokenizers: Tokenizers, recipe: Recipe) -> Tensor:
    """What each expert contributes on two steps of the run's training mixture, in its longest rows, `[layers, experts]`."""
    sequence = longest(recipe)
    rows = [plan(store, recipe.weights(store.tasks), tokenizers, sequence, recipe.seed, step) for step in range(2)]
    return expert_importance(model, [collate(row, sequence.length, tokenizers) for row in rows])


def read_network(state: Path, recipe: Recipe, tokenizers: Tokenizers) -> Ernest:
    """The whole network of a state; of a run that trains adapters its state has their factors alone, beside the weights it began
    with."""
    with without_weights():
        model = Ernest(recipe.model, tokenizer_spec(tokenizers))
    model.to_empty(device=HOST)
    rank, files = recipe.training.adapter_rank, state_files(state, "model")
    read_parts([state.parent / START / "model.safetensors"] if rank else files, parts_of(model, model.state_dict().items()))
    if rank:
        adapters = Adapters(model, rank)
        read_parts(files, parts_of(adapters.factors, adapters.factors.state_dict().items()))
        adapters.apply_change()
    return model.train()
