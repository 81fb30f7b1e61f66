"""The frames of a picture or video while it is made: the scale at hand, what stands so far, and what the request brings."""

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.generation.request import MadeSegment
from ernest.sequence.record import Kind
from ernest.tokenizers.bitwise_quantiser import MultiScaleBits


class Frames:
    """A picture, or a video that begins with `first` `[frames, bits, rows, columns]`. At hand is `scale` of `frame`, whose sum so
    far is `total` `[bits, rows, columns]`; `previous` is that of the frame before."""

    def __init__(self, quantiser: MultiScaleBits, first: Tensor | None) -> None:
        self.quantiser, self.first = quantiser, first
        self.finished: list[Tensor] = []
        self.bits: list[Tensor] = []
        self.total = self.previous = torch.zeros(quantiser.bits, *quantiser.sizes[-1], dtype=torch.float32, device=HOST)
        self.frame = self.scale = 0
        self._look_up_known()

    @property
    def known(self) -> int:
        """How many frames the request brings."""
        return 0 if self.first is None else len(self.first)

    def known_bits(self) -> Tensor | None:
        """The bits of the scale at hand, where the request brings its frame."""
        sizes = self.quantiser.sizes
        before = sum(h * w for h, w in sizes[: self.scale])
        h, w = sizes[self.scale]
        return None if self._known is None else self._known[before : before + h * w]

    def take(self, bits: Tensor, total: Tensor) -> bool:
        """The bits of the scale at hand, and the frame's sum with it. Whether the frame is finished."""
        self.bits.append(bits)
        self.total, self.scale = total, self.scale + 1
        if self.scale < len(self.quantiser.sizes):
            return False
        self.finished.append(total)
        return True

    def next(self) -> None:
        """Goes on to the next frame."""
        self.previous, self.total = self.total, torch.zeros_like(self.total)
        self.frame, self.scale = self.frame + 1, 0
        self._look_up_known()

    def segment(self, kind: Kind) -> MadeSegment:
        """What was made."""
        bits = torch.cat(self.bits).unflatten(0, (len(self.finished), -1))
        return MadeSegment(kind, torch.stack(self.finished), bits)

    def _look_up_known(self) -> None:
        self._known: Tensor | None = None
        if self.first is not None and self.frame < len(self.first):
            self._known = self.quantiser.history(self.first[self.frame : self.frame + 1].float()).bits[0]
