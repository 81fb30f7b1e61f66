"""Derives the sizes of a network from one number."""

from typing import Any

BLOCK = 16
"""Columns that the kernels for processors take at once, of positions, heads and experts."""


def sized(size: int) -> dict[str, Any]:
    """The network of a size: as many layers, and for every two of them a head of 64 columns and a block of an expert's.
    Raises ValueError below 5."""
    if size < 5:
        raise ValueError(f"size = {size} must be at least 5: four layers carry audio heads, and one stands below them")
    heads = size // 2
    return {
        "layers": size,
        "width": 64 * heads,
        "heads": heads,
        "kv_heads": heads // 2 if heads % 2 == 0 else heads,
        "expert_width": BLOCK * heads,
    }
