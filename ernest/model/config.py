"""Sizes of the network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """One decoder over all modalities. The report discloses no sizes; these are the demo's."""

    layers: int = 8
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    experts: int = 48
    top_k: int = 2
    expert_width: int = 64
    rope_base: float = 1e6
    norm_eps: float = 1e-5
    qk_norm: bool = True
    vit_width: int = 64
    vit_layers: int = 2
    multi_token: bool = True

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "kv_heads", "experts", "expert_width", "vit_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} = {getattr(self, name)} must be at least 1")
        if self.vit_width % 4:
            raise ValueError(f"model.vit_width = {self.vit_width} must be a multiple of 4, the heads of the patch merger")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"model.width = {self.width} must be an even multiple of model.heads = {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"model.heads = {self.heads} must be a multiple of model.kv_heads = {self.kv_heads}")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"model.top_k = {self.top_k} must lie between 1 and model.experts = {self.experts}")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class Interface:
    """What the tokenizers give and take, which fixes the shapes of embeddings and heads."""

    vocabulary: int
    bits: int
    scales: tuple[tuple[int, int], ...]
    levels: int
    codes: int
    patch: int
    """Pixels on a side of a patch of the understanding path."""
    grid: tuple[int, int]
    """Patches of a frame, before merging."""
    features: int
    """Channels of the tokenizer's features on that grid."""

    @property
    def merged_grid(self) -> tuple[int, int]:
        """Merging joins 2 x 2 patches (ERNIE 5.0 §2.2.2: K = 4)."""
        return self.grid[0] // 2, self.grid[1] // 2
