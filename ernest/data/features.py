"""Keeps what the frozen vision tokenizer says of given pictures and frames, so that one drawn again is not convolved anew."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from ernest.tokenizers.vision import VisionTokenizer, to_frames

LIMIT = 64 << 20
"""Bytes that are kept: some 2,400 frames."""


class FeatureCache:
    """Features of frames, bit for bit those of `VisionTokenizer.features`; those asked for last are kept, up to `limit` bytes.

    PyTorch convolves one image in another order of sums than several, which all get the same bits: one frame alone is neither
    kept nor looked up, and among others it is never convolved alone.
    """

    def __init__(self, vision: VisionTokenizer, limit: int = LIMIT) -> None:
        self.vision, self.limit = vision, limit
        self.size = 0
        self.known: OrderedDict[bytes, tuple[Tensor, Tensor]] = OrderedDict()

    @torch.no_grad()
    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Of frames uint8 `[N, height, width, 3]`."""
        if len(pixels) == 1:
            return self.vision.features(to_frames(pixels))
        keys = [frame.tobytes() for frame in pixels]
        anew = list({key: number for number, key in enumerate(keys) if key not in self.known}.values())
        found = {}
        if anew:
            fine, coarse = self.vision.stages(to_frames(pixels[anew if len(anew) > 1 else anew * 2]))
            # Channels innermost, as the convolutions leave them: so copies are short, and joining is five times as fast.
            fine, coarse = (stage.movedim(1, -1).contiguous() for stage in (fine, coarse))
            found = {keys[number]: (fine[row].clone(), coarse[row].clone()) for row, number in enumerate(anew)}
        for key in keys:
            if key in self.known:
                self.known.move_to_end(key)
                found[key] = self.known[key]
        self._keep({keys[number]: found[keys[number]] for number in anew})
        fine, coarse = zip(*(found[key] for key in keys), strict=True)
        return self.vision.join(torch.stack(fine).movedim(-1, 1), torch.stack(coarse).movedim(-1, 1))

    def _keep(self, stages: dict[bytes, tuple[Tensor, Tensor]]) -> None:
        for key, value in stages.items():
            self.known[key] = value
            self.size += _bytes(key, value)
        while self.size > self.limit:
            self.size -= _bytes(*self.known.popitem(last=False))


def _bytes(key: bytes, stages: tuple[Tensor, Tensor]) -> int:
    return len(key) + sum(stage.nbytes for stage in stages)
