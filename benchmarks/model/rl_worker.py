"""One measurement of reinforcement learning with a random network of the demo's sizes, on one thread: what is asked on standard
input is answered by a line with seconds of the processor.

    iteration          sampling sixty films of nine frames, drawing them, and one update by a coin's rewards; judges left out
    batch KIND COUNT   the engine alone on so many requests
    rollouts KIND COUNT   the same requests as rollouts, whose odds and experts are kept

`rl_worker.py before` is the iteration of commit 1be877d, whose engine and names were others, written down as a loop over it.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from decoding_worker import FRAMES, SENTENCES, Before, Now

CAPTIONS, SAMPLES, ROWS = 5, 12, 15
"""Prompts of an update, answers to each, and rows of a pass."""
WARM, FIRST = 0.8, 1.2
"""Temperatures of later frames and of the first."""


def coins(count: int) -> torch.Tensor:
    """Rewards by a coin: every group has a signal."""
    return torch.randint(2, (count,), generator=torch.Generator().manual_seed(0)).float()


class Earlier:
    """The update as it was tried on the engine of 1be877d: bits weighed by scale, AdamW, bf16."""

    def __init__(self) -> None:
        self.side = Before()
        self.model = self.side.engine.model.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0)

    def iteration(self) -> None:
        from ernest.training.batches import place  # type: ignore[import-not-found]
        from ernest.training.documents import Document, Piece  # type: ignore[import-not-found]

        from ernest.generation.engine import Engine
        from ernest.generation.sampling import Sampling

        words = [SENTENCES[0] for _ in range(CAPTIONS * SAMPLES)]
        tokenizers = self.side.tokenizers
        engine: Any = Engine(self.model.eval(), tokenizers, bf16=True)
        prompts = [(Piece("text", one, False),) for one in words]
        made = engine.make(prompts, "video", Sampling(temperature=WARM, opening=FIRST), seed=0)  # type: ignore[call-arg]
        engine.draw(made.values)
        reward = coins(len(words)).view(CAPTIONS, SAMPLES)
        advantage = ((reward - reward.mean(1, keepdim=True)) / (reward.std(1, keepdim=True) + 1e-3)).flatten()
        latents = [Piece("latent", value.numpy(), True, True) for value in made.values]
        documents = [Document((*prompt, latent), "text→video") for prompt, latent in zip(prompts, latents, strict=True)]
        rows = [place(document, tokenizers, tokenizers.text.encode) for document in documents]
        self.model.train()
        self.optimizer.zero_grad()
        for start in range(0, len(rows), ROWS):
            self._learn(rows[start : start + ROWS], made.bits[start : start + ROWS], advantage[start : start + ROWS], len(rows))
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def _learn(self, rows: list[Any], bits: list[torch.Tensor], advantage: torch.Tensor, total: int) -> None:
        from ernest.training.batches import collate  # type: ignore[import-not-found]

        from tests.references.likelihood import with_bits

        tokenizers = self.side.tokenizers
        length = max(len(row.layout) for row in rows)
        batch: Any = with_bits(collate([[row] for row in rows], length, tokenizers), list(bits), tokenizers.vision.quantiser)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = self.model(batch).bits.float()
        targets = batch.cell_targets
        row = targets.at // batch.symbol.shape[1]
        warm = torch.full((len(row), 1), WARM)
        for r in range(len(rows)):
            warm[torch.nonzero(row == r)[: tokenizers.vision.quantiser.cells, 0]] = FIRST
        log_prob = -F.binary_cross_entropy_with_logits(predicted / warm, targets.bits, reduction="none")
        loss = -(advantage[row, None] * log_prob * targets.weight[:, None]).sum() / (FRAMES * total * predicted.shape[1])
        loss.backward()


class Today:
    """An update of the recipe `laws` with a coin in place of its verifiers; and rollouts beside the engine alone."""

    def __init__(self) -> None:
        from dataclasses import replace

        from ernest.config.recipe import find_recipe
        from ernest.config.rl import load_rl_recipe
        from ernest.lcnet.network import PPLCNet, small_images
        from ernest.rl import tasks
        from ernest.rl.loop import Policy
        from ernest.verifiers.judges import Judges
        from ernest.verifiers.speech import WordJudge
        from ernest.verifiers.verdict import Verdict
        from ernest.verifiers.vision import FamilyNetwork

        coin = iter(coins(100_000).tolist())
        tasks.RULES["energy law"] = lambda record, output: Verdict(1.0, bool(next(coin)))  # type: ignore[index]
        shipped = load_rl_recipe(find_recipe("laws", "rl"))
        films = replace(shipped.tasks[0], verifiers=("energy law",), watched=())
        judges = Judges(PPLCNet(small_images(classes=10)), FamilyNetwork(FRAMES, CAPTIONS + 1), WordJudge())
        self.engine = Now().engine
        model, self.tokenizers = self.engine.model, self.engine.tokenizers
        importance = torch.ones(model.config.layers, model.config.experts)
        run = Path(tempfile.mkdtemp())
        self.policy = Policy(model, self.tokenizers, judges, replace(shipped, tasks=(films,)), run, importance)

    def iteration(self) -> None:
        self.policy.take_step()

    def batch(self, kind: Any, count: str) -> None:
        from ernest.generation.request import Request

        requests = [
            Request(ask.prompt, (ask.kind,), ask.sampling, (0, n, 0, 0), frames=ask.frames)
            for n, ask in enumerate(self._asks(kind, int(count)))
        ]
        self.engine.generate(requests)

    def rollouts(self, kind: Any, count: str) -> None:
        from ernest.rl.rollout import Response, run_rollouts

        run_rollouts(self.engine, {(n, 0): Response(ask, ()) for n, ask in enumerate(self._asks(kind, int(count)))}, 0, 0)

    def _asks(self, kind: Any, count: int) -> list[Any]:
        from ernest.data.examples import EncodedSegment
        from ernest.generation.sampling import Sampling
        from ernest.rl.rollout import Ask

        words = (EncodedSegment("text", SENTENCES[0], False),)
        return [Ask(words, kind, Sampling(temperature=1.0), FRAMES if kind == "video" else None) for _ in range(count)]


def main(version: str) -> None:
    torch.set_num_threads(1)
    side = Earlier() if version == "before" else Today()
    for line in sys.stdin:
        asked, *arguments = line.split()
        begun = time.process_time()
        getattr(side, asked)(*arguments)
        print(json.dumps({"seconds": time.process_time() - begun}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
