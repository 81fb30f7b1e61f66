"""Says how much memory this process may use: the container's or the user's limit where there is one, not the host's memory."""

import os
from pathlib import Path


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
