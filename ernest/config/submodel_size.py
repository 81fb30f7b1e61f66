"""The size that a user asks of a sub-model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SubModelSize:
    """A sub-model's size; None keeps the checkpoint's."""

    layers: int | None = None
    """layers of the sub-model; by default all."""
    experts: int | None = None
    """experts that each of its layers keeps; by default all."""
    top_k: int | None = None
    """experts that run per token; by default as many as in the checkpoint."""

    @property
    def is_full(self) -> bool:
        """Whether nothing is left out."""
        return self.layers is None and self.experts is None and self.top_k is None


FULL_SIZE = SubModelSize()
"""Of a whole checkpoint."""
