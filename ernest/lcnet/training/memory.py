"""Says how much memory this process may use: the container's or the user's limit where there is one, not the host's memory."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from ernest.lcnet.training.losses import Pair, student

FRACTION = 3
"""A training may take a third of the memory for what it keeps of the pictures of a step; pictures themselves take a quarter."""


def pictures_at_once(network: nn.Module, sides: tuple[int, int], channels: int, memory: int) -> int:
    """How many pictures can go through a training step together: each keeps what all layers make of it, and its gradient."""
    numbers = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal numbers
        numbers += output.numel() if isinstance(output, Tensor) else 0

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    training = network.training
    with torch.inference_mode():
        student(network.eval())(torch.zeros(1, channels, *sides))
    network.train(training)
    for hook in hooks:
        hook.remove()
    copies = 2 if isinstance(network, Pair) else 1
    return max(2, memory // FRACTION // (2 * 4 * copies * numbers))


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes: the least of the machine's memory, the limits of its control groups (version 1 and 2), and RLIMIT_AS."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [8 << 30]
    limits += _address_space()
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        if number == "0":
            limits += _group_limits(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _group_limits(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return min(limits)


def _group_limits(top: Path, group: str, name: str) -> list[int]:
    """Limits of a group and of all those above it. Inside a container the group's own path may not be there, only `top`."""
    path = top / group.lstrip("/")
    texts = [_text(folder / name).strip() for folder in (path, *path.parents) if folder == top or top in folder.parents]
    return [int(text) for text in texts if text.isdigit()]


def _address_space() -> list[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
