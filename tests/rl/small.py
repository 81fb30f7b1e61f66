"""A network, prompts and rollouts of test size for reinforcement learning."""

from dataclasses import replace

import torch

from ernest.data.examples import EncodedSegment
from ernest.generation.engine import Engine
from ernest.generation.request import MaxLengths
from ernest.generation.sampling import Sampling
from ernest.model.network import Ernest
from ernest.model.submodel import SubModel
from ernest.rl.rollout import Ask, Key, Response, run_rollouts
from tests.small import CODES, network, tokenizers

LIMITS = MaxLengths(tokens=6, frames=3, codec_frames=4, segments=3)
HALF = SubModel((0, 2, 3, 4, 5), ((0, 1, 2, 5),) * 6, 1)
CONTROLS = tokenizers().control_tokens
WARM = Sampling(temperature=0.7, first_frame_temperature=1.3)


def model() -> Ernest:
    """Ends of texts, videos and sounds are made likely, so that responses end at different lengths."""
    made = network()
    with torch.no_grad():
        for token in (CONTROLS.eos, CONTROLS.eov):
            made.text_head.weight[token] *= 4
        made.audio.code_heads[0].weight[CODES] *= 6
    return made


def asks(sampling: Sampling = WARM, submodel: SubModel | None = None) -> list[Ask]:
    """One of every kind, a video of a told length among them."""
    words = (EncodedSegment("text", "a red seven at the top left", False),)
    short = (EncodedSegment("text", "a", False),)
    plain = [
        Ask(words, "text", sampling),
        Ask(words, "image", sampling),
        Ask(short, "video", sampling),
        Ask(words, "video", sampling, frames=2),
        Ask(short, "audio", sampling),
    ]
    return [replace(ask, submodel=submodel, sampler=submodel) for ask in plain]


def engine(made: Ernest, rows: int = 100) -> Engine:
    return Engine(made, tokenizers(), max_lengths=LIMITS, rows=rows)


def rollouts(made: Ernest, asked: list[Ask], samples: int = 3, seed: int = 0, rows: int = 100) -> dict[Key, Response]:
    keys = {(n, s): Response(ask, ()) for n, ask in enumerate(asked) for s in range(samples)}
    return run_rollouts(engine(made, rows), keys, seed, 0)


def same(one: Response, other: Response) -> bool:
    """Whether two responses chose the same, by the same odds, whoever was beside them."""
    pairs = list(zip(one.choices, other.choices, strict=False))
    return (
        len(one.choices) == len(other.choices)
        and one.end == other.end
        and all(a.group == b.group and torch.equal(torch.as_tensor(a.value), torch.as_tensor(b.value)) for a, b in pairs)
        and all(a.position == b.position and torch.allclose(a.log_probs, b.log_probs, atol=1e-5) for a, b in pairs)
    )
