"""Saves and restores a training run in one safetensors file: weights, momentum, average of weights, counters as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ernest import storage
from ernest.lcnet.training.schedule import Descent

KEY = "progress"


@dataclass(frozen=True)
class TrainerState:
    """Counters of a training run: epochs and steps done, sums of the current epoch, scores of finished epochs, fingerprint.

    `fingerprint` names recipe, data and start; `bf16` is the precision that was chosen once and stays.
    """

    fingerprint: str
    bf16: bool
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    correct: int = 0
    labelled: int = 0
    images: int = 0
    history: tuple[Mapping[str, float], ...] = ()

    def after_step(self, loss: float, correct: int, labelled: int, images: int) -> "TrainerState":
        """One step on; `loss` is the mean over the `images` pictures, of which so many had a label."""
        sums = {"correct": self.correct + correct, "labelled": self.labelled + labelled, "images": self.images + images}
        return replace(self, step=self.step + 1, loss=self.loss + loss * images, **sums)

    def after_epoch(self, scores: Mapping[str, float]) -> "TrainerState":
        """At the beginning of the next epoch, with a line about this one."""
        loss, accuracy = self.means()
        line = {"epoch": self.epoch + 1, "loss": loss, "accuracy": accuracy, **scores}
        return TrainerState(self.fingerprint, self.bf16, self.epoch + 1, history=(*self.history, line))

    def means(self) -> tuple[float, float]:
        """Loss and accuracy of the epoch so far, the latter of the pictures with a label."""
        return self.loss / max(1, self.images), self.correct / max(1, self.labelled)


def save_state(path: Path, network: nn.Module, optimizer: Descent, average: nn.Module | None, state: TrainerState) -> None:
    """Everything that the next step depends on; the file appears whole or not at all."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in (average.state_dict() if average else {}).items()}
    for name, parameter in network.named_parameters():
        if parameter in optimizer.momenta:
            tensors[f"momentum/{name}"] = optimizer.momenta[parameter]
    storage.save_tensors(path, tensors, {KEY: json.dumps(asdict(state))})


def load_state(
    path: Path, network: nn.Module, optimizer: Descent, average: nn.Module | None, fingerprint: str
) -> TrainerState | None:
    """Puts back what `save_state` wrote; None where there is no file.

    Raises ValueError, which names the file, if it is damaged or belongs to another recipe, other data or another start.
    """
    if not path.exists():
        return None
    try:
        state = _progress(json.loads(storage.read_header(path).metadata[KEY]))
        if state.fingerprint != fingerprint:
            raise ValueError("belongs to another recipe, other data or another start: restore them to go on, or remove it")
        tensors = storage.load_tensors(path)
        network.load_state_dict(_part(tensors, "network"))
        if average is not None:
            average.load_state_dict(_part(tensors, "average"))
    except (KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    momentum = _part(tensors, "momentum")
    for name, parameter in network.named_parameters():
        if name in momentum:
            # The layout of the parameter: the sums of a fused step must run over both in the same order.
            optimizer.momenta[parameter] = torch.empty_like(parameter).copy_(momentum[name])
    return state


def _part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}/"): value for name, value in tensors.items() if name.startswith(f"{kind}/")}


def _progress(tree: dict[str, Any]) -> TrainerState:
    return TrainerState(**{**tree, "history": tuple(tree["history"])})
