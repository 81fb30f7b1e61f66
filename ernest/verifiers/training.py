"""Trains the judges, and the vision tokenizer's teacher: networks that name the digit, the family of a video, the word.

They are trained on draws of their own, which the model never sees. The judges of pictures and videos share one recipe; the
judge of words learns as the audio tokenizer's recogniser does.
"""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from ernest.fit import Fitting, Network, Progress, fit, no_progress
from ernest.lcnet.image_io.augment import elastic_distort
from ernest.lcnet.network import PPLCNet, small_images
from ernest.tokenizers.training.recogniser import train_recogniser
from ernest.tokenizers.training.vision import Teacher
from ernest.tokenizers.vision import to_frames
from ernest.verifiers.speech import WordJudge, canvas
from ernest.verifiers.vision import FamilyNetwork
from ernest.world.speech import WORDS

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A step to a batch of its own: pictures uint8 `[N, 32, 32, 3]` and their classes, int `[N]`."""


def train_digit_judge(draw: Draw, steps: int, seed: int = 0, progress: Progress = no_progress) -> PPLCNet:
    """A PP-LCNet that reads the digit of a picture, from `steps` batches of `draw`."""
    torch.manual_seed(seed)
    network = PPLCNet(small_images(classes=10))
    generator = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        pictures, digits = draw(step)
        return distort(to_frames(pictures), generator), torch.from_numpy(digits).long()

    return _train(network, batch, steps, 4e-3, progress)


def train_family_judge(
    videos: np.ndarray, families: np.ndarray, steps: int, seed: int = 0, progress: Progress = no_progress
) -> FamilyNetwork:
    """A network that names the family of a video: uint8 `[N, frames, 32, 32, 3]` and int `[N]` to learn from."""
    torch.manual_seed(seed)
    network = FamilyNetwork(videos.shape[1], int(families.max()) + 1)
    rng = np.random.default_rng((seed, 1))
    generator = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        picks = rng.integers(len(videos), size=32)
        frames = to_frames(videos[picks])
        strength = 0.06 * torch.rand(len(frames), 1, 1, 1, 1, generator=generator)
        noise = torch.randn(frames.shape, generator=generator) * strength
        return frames + noise, torch.from_numpy(families[picks]).long()

    return _train(network, batch, steps, 2e-3, progress)


def train_word_judge(
    waves: Sequence[np.ndarray], words: Sequence[str], steps: int, seed: int, progress: Progress = no_progress
) -> WordJudge:
    """A judge trained on `waves` float32 `[samples]`, of which `words` says what each says.

    Raises `ValueError` when clips and words differ in number or a word is not one of the twenty.
    """
    if len(waves) != len(words) or not waves:
        raise ValueError(f"expected one word for each clip and at least one clip, got {len(waves)} clips and {len(words)} words")
    unknown = sorted(set(words) - set(WORDS))
    if unknown:
        raise ValueError(f"the judge knows {', '.join(WORDS)}, not {', '.join(unknown)}")
    torch.manual_seed(seed)
    labels = torch.tensor([WORDS.index(word) for word in words])
    return train_recogniser(WordJudge(), canvas(waves), labels, steps, progress)


def as_teacher(network: PPLCNet) -> Teacher:
    """The teacher of a perceptual loss, from the last feature maps of a trained classifier; of a copy, so that `network` stays as
    it is."""
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    return Teacher(lambda frames: frozen.features(frames)[-1], network.architecture.classes)


def distort(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Augment pictures `[N, 3, H, W]`: random elastic distortion, blur of random strength and Gaussian noise.

    Blur and noise make the judge read what tokenizers and models draw as it reads clean pictures.
    """
    n, _, height, width = frames.shape
    bent = elastic_distort(frames, generator)
    soft = functional.interpolate(functional.avg_pool2d(bent, 2), (height, width), mode="bilinear", align_corners=False)
    share = torch.rand(n, 1, 1, 1, generator=generator) ** 2
    strength = 0.06 * torch.rand(n, 1, 1, 1, generator=generator)
    return bent + share * (soft - bent) + strength * torch.randn(frames.shape, generator=generator)


def _train(
    network: Network, batch: Callable[[int], tuple[Tensor, Tensor]], steps: int, rate: float, progress: Progress
) -> Network:
    """`batch` gives the media of a step and their classes. The rate rises to `rate` over a tenth of the steps, then falls."""

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        media, classes = batch(step)
        value = functional.cross_entropy(network(media), classes, label_smoothing=0.05)
        return value, {"loss": value.item()}

    fitting = Fitting(steps, lambda optimizer: OneCycleLR(optimizer, rate, max(2, steps), pct_start=0.1), weight_decay=0.02)
    return fit(network, loss, fitting, progress)
