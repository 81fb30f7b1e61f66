"""Learned verifiers of pictures and videos: two small networks, one names the digit, the other the family of a video.

Colour, place and the energy law are checked exactly in `ernest.verifiers.rules`; handwriting and the look of a video cannot
be. The networks are trained on draws of their own and never see the model.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ernest.lcnet.network import PPLCNet, small_images
from ernest.sequence.record import Record, Segment
from ernest.storage import load_tensors, read_header, save_tensors
from ernest.tokenizers.vision import to_frames
from ernest.verifiers.verdict import Verdict, Verifier, compare, content, fact
from ernest.world.images import DIGITS, check_levels
from ernest.world.video import FAMILIES


class FamilyNetwork(nn.Module):
    """Videos `[N, frames, 3, 32, 32]` to logits `[N, classes]`: all frames at once, as channels of one picture."""

    def __init__(self, frames: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.frames, self.classes = frames, classes
        self.trunk = nn.Sequential(
            nn.PixelUnshuffle(2),
            *_conv(12 * frames, width, 1),
            *_conv(width, 2 * width, 2),
            *_conv(2 * width, 2 * width, 2),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * width, classes))

    def forward(self, videos: Tensor) -> Tensor:
        return self.head(self.trunk(videos.flatten(1, 2) - 0.5))


def classify(network: nn.Module, media: np.ndarray) -> np.ndarray:
    """The class of every picture uint8 `[N, 32, 32, 3]`, or of every video `[N, frames, 32, 32, 3]`: int `[N]`.

    Raises ValueError for other numbers, and for videos of other frames than the network looks at.
    """
    check_levels(media, "media")
    if isinstance(network, FamilyNetwork) and media.shape[1:2] != (network.frames,):
        raise ValueError(f"the judge looks at videos of {network.frames} frames, got uint8 {list(media.shape)}")
    network.eval()
    with torch.no_grad():
        parts = [network(to_frames(media[start : start + 250])).argmax(-1) for start in range(0, len(media), 250)]
    return torch.cat([torch.zeros(0, dtype=torch.long), *parts]).numpy()


def verify_digit(judge: nn.Module) -> Verifier:
    """A verifier of pictures: the digit judge reads the digit that was asked for."""

    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        pixels = content(output, "image")
        actual = None if pixels is None else DIGITS[int(classify(judge, pixels[None])[0])]
        return compare({"digit": DIGITS[fact(record, "digit")]}, {"digit": actual})

    return verify


def verify_family(judge: nn.Module) -> Verifier:
    """A verifier of videos: the family judge names the family that was asked for."""

    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        frames = content(output, "video")
        named = None if frames is None else int(classify(judge, frames[None])[0])
        actual = FAMILIES[named] if named is not None and named < len(FAMILIES) else None
        return compare({"family": fact(record, "family")}, {"family": actual})

    return verify


def save(judge: PPLCNet | FamilyNetwork, path: str | Path) -> None:
    """Weights as safetensors; the header says which judge it is."""
    about = (
        {"judge": "digit"}
        if isinstance(judge, PPLCNet)
        else {"judge": "family", "frames": judge.frames, "classes": judge.classes}
    )
    save_tensors(path, judge.state_dict(), {"config": json.dumps(about)})


def load_digit_judge(path: str | Path) -> PPLCNet:
    """The digit judge that `save` wrote; ValueError if the file holds something else."""
    _check_judge(path, "digit")
    judge = PPLCNet(small_images(classes=10))
    judge.load_state_dict(load_tensors(path))
    return judge.eval()


def load_family_judge(path: str | Path) -> FamilyNetwork:
    """The family judge that `save` wrote; ValueError if the file holds something else."""
    about = _check_judge(path, "family")
    judge = FamilyNetwork(about["frames"], about["classes"])
    judge.load_state_dict(load_tensors(path))
    return judge.eval()


def _conv(width: int, out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()]


def _check_judge(path: str | Path, judge: str) -> dict[str, Any]:
    about = json.loads(read_header(path).metadata.get("config", "{}"))
    if about.get("judge") != judge:
        raise ValueError(f"{path}: expected a {judge} judge, found {about.get('judge', 'something else')}")
    return about
