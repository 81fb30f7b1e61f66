"""Text by Ernest's engine and by `generate` of transformers on the exported equal model: cached tokens per processor second.

The library runs with the fastest of its implementations of experts; both make the same greedy tokens, which is checked.
"""

import json
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.findings import Findings
from benchmarks.model.throughput import prepare
from benchmarks.tables import Figure, Table
from ernest.checkpoint import save_model, tokenizer_spec
from ernest.config.recipe import load_recipe, to_tree
from ernest.generation.answer import load_engine
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths, Request
from ernest.model.network import Ernest
from ernest.sequence.record import given
from ernest.tokenizers.bundle import Tokenizers

BATCHES = 1, 16
BAR = 4.0
PROMPT = "a red seven at the top left and a disk shrinking"
EXPERTS = "eager", "batched_mm", "grouped_mm"


def measure(folder: Path, rounds: int, quick: bool, progress: Callable[[str], None]) -> Findings:
    del folder
    if find_spec("transformers") is None:
        return Findings(notes=("transformers is not installed: pip install 'ernest-ai[hf]'",))
    tokens = 16 if quick else 128
    with tempfile.TemporaryDirectory() as scratch:
        engine, model, processor = pair(Path(scratch), tokens)
    figures, rows = [], []
    for batch in BATCHES:
        asked = processor(text=[PROMPT] * batch)
        theirs = {name: lambda name=name, asked=asked: generated(model, asked, name, tokens) for name in EXPERTS}
        spent = {name: min(seconds(one) for _ in range(2)) for name, one in theirs.items()}
        best = min(EXPERTS, key=spent.__getitem__)
        ours = lambda batch=batch: decoded(engine, batch)
        if ours() != theirs[best]():
            raise RuntimeError(f"batch {batch}: the engine and transformers made different tokens")
        pairs = []
        for turn in range(2 if quick else 3 * rounds):
            progress(f"batch {batch}: round {turn + 1}")
            pairs.append((seconds(ours), seconds(theirs[best])))
        ratio = median(slow / fast for fast, slow in pairs)
        speeds = [batch * tokens / median(times) for times in zip(*pairs, strict=True)]
        figures += [
            Figure(f"text: engine ÷ transformers' generate, batch {batch}", ratio, BAR),
            Figure(f"text: engine's tokens per CPU second, batch {batch}", speeds[0]),
            Figure(f"text: transformers' tokens per CPU second, batch {batch}", speeds[1]),
        ]
        rows.append((str(batch), f"{speeds[0]:,.0f}", f"{speeds[1]:,.0f}", best, f"{ratio:.2f}"))
    header = ("rows", "engine, tokens / CPU s", "transformers, tokens / CPU s", "its best experts", "ratio")
    note = f"The demo's sizes, random weights, {tokens} greedy tokens behind 11 words, one thread; medians of interleaved pairs."
    return Findings(tuple(figures), (Table("Text by the engine and by transformers", header, tuple(rows), note),))


def pair(folder: Path, tokens: int) -> tuple[Engine, Any, Any]:
    """The engine, and the model and processor of transformers, of one checkpoint that never ends a text."""
    prepare(folder)
    tokenizers = Tokenizers.load(folder / "tokenizers")
    model = Ernest(load_recipe().model, tokenizer_spec(tokenizers))
    with torch.no_grad():
        model.text_head.weight[tokenizers.text.eos] = 0.0  # the likeliest token has a logit above that
    importance = torch.ones(model.config.layers, model.config.experts)
    save_model(folder / "model", model, tokenizers, to_tree(load_recipe()), importance)
    from ernest.export import hf
    from ernest.export.folder import write_hf

    write_hf(folder / "model", folder / "hf")
    exported = hf.ErnestForCausalLM.from_pretrained(folder / "hf")
    loaded = load_engine(folder / "model")
    engine = Engine(loaded.model, loaded.tokenizers, max_lengths=MaxLengths(tokens=tokens))
    return engine, exported, hf.ErnestProcessor.from_pretrained(folder / "hf")


def decoded(engine: Engine, batch: int) -> list[list[int]]:
    from ernest.data.examples import encode_segments

    prompt = encode_segments([given("text", PROMPT)], engine.tokenizers)
    answers = engine.generate([Request(prompt, ("text",)) for _ in range(batch)])
    return [answer.segments[0].value for (answer,) in answers]


def generated(model: Any, asked: Any, experts: str, tokens: int) -> list[list[int]]:
    model.set_experts_implementation(experts)
    return model.generate(**asked, max_new_tokens=tokens)[:, asked["input_ids"].shape[1] :].tolist()


def seconds(run: Callable[[], object]) -> float:
    """Of the processor."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([vars(figure) for figure in measure(Path(), 2, False, lambda text: None).figures], indent=1))
