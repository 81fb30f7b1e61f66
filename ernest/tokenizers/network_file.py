"""Reads and writes a network and its sizes as one safetensors file: weights, and the configuration in the header."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ernest.overrides import build
from ernest.storage import load_tensors, read_header, save_tensors

Network = TypeVar("Network", bound=nn.Module)


def save_network(path: str | Path, kind: str, network: nn.Module, config: Any) -> None:
    """Writes weights and `config`, a frozen dataclass from which `load_network` makes the network again; `kind` names what it
    is."""
    save_tensors(path, network.state_dict(), {"kind": kind, "config": json.dumps(asdict(config))})


def load_network(path: str | Path, kind: str, config: type, make: Callable[[Any], Network], mapped: bool = False) -> Network:
    """The network that `save_network` wrote, in evaluation mode; `make` makes it from a `config`. Weights that are `mapped`
    share memory with the file.

    Raises ValueError, in one line that names the file, where it is damaged or holds something else.
    """
    metadata, tensors = read_header(path).metadata, load_tensors(path, mapped)
    actual = metadata.get("kind", "something else")
    if actual != kind:
        raise ValueError(f"{path}: expected {kind}, found {actual}")
    try:
        with torch.device("meta"):  # no memory and no random draws for weights that are replaced
            network = make(build(config, json.loads(metadata["config"])))
        network.load_state_dict(tensors, assign=True)
    except (ValueError, KeyError, TypeError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(f"{path}: damaged: {' '.join(str(error).split())[:300]}") from None
    return network.eval()
