"""Chooses a smaller model inside a checkpoint and cuts it out.  `python examples/submodel.py [checkpoint]`

Without a checkpoint it makes one of random weights. `ernest slice` does the same from the shell.
"""

import sys
import tempfile
from pathlib import Path

import torch

import ernest
from ernest.checkpoint import load_expert_importance, save_model, tokenizer_spec
from ernest.config.recipe import load_recipe, to_tree
from ernest.config.submodel_size import SubModelSize
from ernest.data.examples import EncodedSegment
from ernest.generation.engine import Engine
from ernest.generation.sampling import Sampling
from ernest.model.cost import active_parameters, total_parameters
from ernest.model.network import Ernest
from ernest.model.slicing import choose, extract
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig


def make_checkpoint(folder: Path) -> Path:
    """A network of random weights, whose experts are all equally important."""
    recipe = load_recipe(overrides=["size=6", "model.experts=8"])
    text = TextTokenizer.train(["three plus four is seven"] * 10, 290)
    tokenizers = Tokenizers(text, VisionTokenizer(VisionTokenizerConfig()).eval(), AudioTokenizer().eval())
    model = Ernest(recipe.model, tokenizer_spec(tokenizers))
    save_model(folder, model, tokenizers, to_tree(recipe), torch.ones(recipe.model.layers, recipe.model.experts))
    return folder


def main(checkpoint: Path, layers: int = 5, experts: int = 4, top_k: int = 1) -> tuple[str, str]:
    """Returns what the part of the network and the network cut out of it answer to one prompt: the same."""
    model, tokenizers = ernest.load(checkpoint)
    submodel = choose(model, load_expert_importance(checkpoint), SubModelSize(layers, experts, top_k))
    small = extract(model, submodel)
    print(f"layers {submodel.layers} of {model.config.layers}, {top_k} of {experts} experts instead of {model.config.experts}")
    for name, config in (("all", model.config), ("cut", small.config)):
        total, active = total_parameters(config, model.spec), active_parameters(config)
        print(f"{name}: {total / 1e6:.2f} million parameters, of which a position uses {active / 1e6:.2f} in the layers")

    prompt = [EncodedSegment("text", "what is three plus four?", made=False)]
    greedy = Sampling(temperature=0.0)
    engines = Engine(model, tokenizers, submodel), Engine(small, tokenizers)
    masked, cut = (engine.texts([prompt], greedy)[0] for engine in engines)
    print(f"the same answer: {masked == cut}")
    return masked, cut


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else make_checkpoint(Path(folder) / "model"))
