"""A checkpoint on the model thread: its engine, its sub-models, and requests made of works."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from ernest.checkpoint import Learnt, load_expert_importance, load_learnt, load_model
from ernest.config.submodel_size import SubModelSize
from ernest.data.examples import encode_segments
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.model import cost
from ernest.model.decoding import usable
from ernest.model.network import Ernest
from ernest.model.slicing import choose
from ernest.model.submodel import SubModel, droppable
from ernest.sequence.record import Kind
from ernest.serve.work import Work
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import to_frames


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint can be cut to, and what it makes: the least and the most layers, experts and top-k, its directions, and
    the scales of a picture."""

    layers: tuple[int, int]
    experts: tuple[int, int]
    top_k: tuple[int, int]
    directions: tuple[str, ...]
    scales: int
    longest_text: int


class Loaded:
    """A checkpoint, ready to answer."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.rows = rows
        self.model: Ernest
        self.tokenizers: Tokenizers
        self.model, self.tokenizers = load_model(folder)
        self.importance: Tensor = load_expert_importance(folder)
        self.learnt: Learnt = load_learnt(folder)
        self.has_kernels = usable(self.model.backbone, self.model.config)
        self.renew()
        self.submodel = lru_cache(maxsize=64)(self._submodel)

    def renew(self) -> None:
        """A fresh engine: after a step that failed, nobody knows what the old one holds."""
        self.engine = Engine(self.model, self.tokenizers, rows=self.rows, learnt=self.learnt)

    def request(self, work: Work) -> Request:
        """Raises ValueError for what cannot be asked of this model."""
        segments = encode_segments(work.segments, self.tokenizers)
        beginning = None if work.first_frame is None else self._latents(work.first_frame[None])
        return Request(
            segments,
            work.kinds,
            work.sampling,
            work.seed,
            work.samples,
            None if work.model.size.is_full else self.submodel(work.model.size),
            first_frames=beginning,
            experts=work.experts,
        )

    def sizes(self) -> Sizes:
        """What it can be cut to."""
        config, levels = self.model.config, self.model.spec.levels
        least = config.layers - len(droppable(config, levels))
        scales, longest = len(self.tokenizers.vision.quantiser.sizes), self.engine.max_lengths.tokens
        directions = self.learnt.directions
        return Sizes((least, config.layers), (1, config.experts), (1, config.top_k), directions, scales, longest)

    def cost(self, size: SubModelSize) -> dict[str, int]:
        """Floating-point operations for one more position, and parameters, of a sub-model. Raises ValueError for a size that it
        cannot be cut to."""
        config, spec = self.model.config, self.model.spec
        submodel = None if size.is_full else self.submodel(size)
        # Two operations for each entry of a matrix, and nothing for the attention, which grows with the prompt.
        flops = 2 * cost.active_parameters(config, submodel)
        return {"flops": flops, "parameters": cost.total_parameters(config, spec, submodel)}

    def makes(self) -> tuple[Kind, ...]:
        """The kinds that it learnt to make; all, where that is not known."""
        made = {name.rpartition("→")[2] for name in self.learnt.directions} or {"text", "image", "video", "audio"}
        return tuple(kind for kind in ("text", "image", "video", "audio") if kind in made)

    def _submodel(self, size: SubModelSize) -> SubModel:
        return choose(self.model, self.importance, size)

    def _latents(self, frames: np.ndarray) -> Tensor:
        return self.tokenizers.vision.encode_film(to_frames(frames))
