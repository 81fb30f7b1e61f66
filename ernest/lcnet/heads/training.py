"""Trains detectors and segmenters on pairs of a picture and its boxes or mask: one short loop for both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.lcnet.heads.boxes import Objects
from ernest.lcnet.heads.detection import Detector
from ernest.lcnet.heads.detection_loss import detection_loss
from ernest.lcnet.heads.segmentation import Segmenter
from ernest.lcnet.native.norms import fused_norms
from ernest.lcnet.network import PPLCNet
from ernest.lcnet.training.schedule import learning_rate, update_average

IGNORED = 255
"""The label of pixels that nothing is to be learnt from."""

Target = Objects | Tensor
"""What is on a picture: objects for a detector, a class for every pixel (int `[H, W]`, or 255) for a segmenter."""

Network = TypeVar("Network", Detector, Segmenter)
ProgressCallback = Callable[[int, int, Mapping[str, float]], None]
Optimiser = Literal["adamw", "sgd"]


class Examples(Protocol):
    """A data set: pictures, float `[C, H, W]` as `normalise_pictures` makes them, all of one size, each with its target."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Target]: ...


@dataclass(frozen=True)
class TrainingSettings:
    """How to train. Raises ValueError, which names the field, if a value makes no sense.

    `rate` is the highest learning rate, after `warmup` steps; a cosine takes it down to zero. Normalisation and biases do not
    decay. `average` is the decay of an average of the weights, which is then the result; 0 for none. In the first share
    `by_geometry` of the steps a detector's points are assigned by geometry: PicoDet has 100 epochs of 300.
    """

    steps: int = 1000
    batch: int = 16
    rate: float = 2e-3
    optimiser: Optimiser = "adamw"
    weight_decay: float = 0.02
    warmup: int = 50
    average: float = 0.0
    by_geometry: float = 1 / 3
    clip: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "batch": 2, "warmup": 0, "weight_decay": 0, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        for name in ("rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average: expected a decay from 0 to below 1, got {self.average}")
        if not 0 <= self.by_geometry <= 1:
            raise ValueError(f"by_geometry: expected a share from 0 to 1, got {self.by_geometry}")
        if self.optimiser not in get_args(Optimiser):
            raise ValueError(f"optimiser: expected one of {', '.join(get_args(Optimiser))}, got {self.optimiser}")


def train(
    network: Network, examples: Examples, settings: TrainingSettings | None = None, progress: ProgressCallback | None = None
) -> Network:
    """Trains `network` in place and returns it, ready to detect or to segment. `progress` hears (step, steps, figures).

    The order of the pictures depends on the seed alone. Raises ValueError, which names the example, for pictures of different
    sizes and for targets that are not of this network.
    """
    settings = settings or TrainingSettings()
    if len(examples) < 2:
        raise ValueError(f"examples: expected at least 2, since normalisation compares them, got {len(examples)}")
    optimiser = _optimiser(network, settings)
    average = deepcopy(network) if settings.average else None
    batches = _batches(len(examples), settings)
    network.train()
    for step in range(settings.steps):
        images, targets = _stacked(examples, next(batches), network)
        with fused_norms():
            loss = _loss(network, images, targets, step / settings.steps < settings.by_geometry)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, settings.steps, 1, settings.rate, settings.warmup)
        optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        # Pictures of one colour have no variance to normalise by; their gradients pass float32 in some kernels and teach nothing.
        if norm.isfinite():
            optimiser.step()
        if average is not None:
            update_average(average, network, settings.average, step)
        if progress:
            progress(step + 1, settings.steps, {"loss": loss.item()})
    if average is not None:
        network.load_state_dict(average.state_dict())
    return network.eval()


def load_backbone(network: Detector | Segmenter, pretrained: PPLCNet) -> None:
    """Gives the backbone the weights of a classifier of the same architecture, as `lcnet.load` reads them.

    Raises ValueError if the two differ in what they are made of.
    """
    wanted, given = network.backbone.state_dict(), pretrained.state_dict()
    for name, tensor in wanted.items():
        if name not in given or given[name].shape != tensor.shape:
            found = list(given[name].shape) if name in given else "none"
            raise ValueError(f"pretrained: expected {name} {list(tensor.shape)}, as in the backbone, got {found}")
    network.backbone.load_state_dict({name: given[name] for name in wanted})


def _optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, settings.rate, momentum=0.9, fused=True)
    return torch.optim.AdamW(groups, settings.rate, fused=True)


def _batches(count: int, settings: TrainingSettings) -> Iterator[list[int]]:
    """Numbers of examples without end: all of them in a new order, again and again; what fills no batch is left out."""
    generator = torch.Generator().manual_seed(int(settings.seed))
    size = min(settings.batch, count)
    while True:
        order = torch.randperm(count, generator=generator).tolist()
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def _stacked(examples: Examples, numbers: Sequence[int], network: Detector | Segmenter) -> tuple[Tensor, list[Target]]:
    pairs = [examples[number] for number in numbers]
    first, classes = pairs[0][0], network.architecture.classes
    for number, (image, target) in zip(numbers, pairs, strict=True):
        if image.shape != first.shape or not image.is_floating_point():
            wanted = f"a picture float32 {list(first.shape)}, as in examples[{numbers[0]}]"
            raise ValueError(f"examples[{number}]: expected {wanted}, got {image.dtype} {list(image.shape)}")
        labels = _labels(network, image, target, f"examples[{number}]")
        labels = labels[labels != IGNORED] if isinstance(network, Segmenter) else labels
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            found = f"{int(labels.min())} to {int(labels.max())}"
            raise ValueError(f"examples[{number}]: expected labels from 0 to {classes - 1}, got {found}")
    targets = [Objects(target.boxes.to(first), target.labels) if isinstance(target, Objects) else target for _, target in pairs]
    return torch.stack([image for image, _ in pairs]), targets


def _labels(network: nn.Module, image: Tensor, target: Target, name: str) -> Tensor:
    """The labels of a target of the right kind for the network."""
    if isinstance(network, Detector):
        if not isinstance(target, Objects):
            raise ValueError(f"{name}: expected Objects, which a detector learns from, got {type(target).__name__}")
        return target.labels
    if not isinstance(target, Tensor) or target.shape != image.shape[1:] or target.is_floating_point():
        found = f"{target.dtype} {list(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{name}: expected a mask of whole numbers {list(image.shape[1:])}, got {found}")
    return target


def _loss(network: Detector | Segmenter, images: Tensor, targets: Sequence[Target], by_geometry: bool) -> Tensor:
    if isinstance(network, Detector):
        return detection_loss(network(images), [one for one in targets if isinstance(one, Objects)], by_geometry)
    masks = torch.stack([one for one in targets if isinstance(one, Tensor)]).long()
    # The mean over what counts, which may be nothing at all.
    loss = F.cross_entropy(network(images), masks, ignore_index=IGNORED, reduction="sum")
    return loss / (masks != IGNORED).sum().clamp(min=1)
