"""Derives the sizes of a network from one number."""

from typing import Any


def sized(size: int) -> dict[str, Any]:
    """The network of a size: as many layers, 32 columns and 8 columns of an expert for each, heads of 64 columns."""
    if size < 5:
        raise ValueError(f"size = {size} must be at least 5: four layers carry audio heads, and one stands below them")
    width = max(64, 32 * size // 64 * 64)
    heads = width // 64
    return {
        "layers": size,
        "width": width,
        "heads": heads,
        "kv_heads": heads // 2 if heads % 2 == 0 else heads,
        "expert_width": 8 * size,
    }
