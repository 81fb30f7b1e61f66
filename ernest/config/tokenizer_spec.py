"""The sizes of tokenizers, as far as the network must know them."""

from dataclasses import dataclass

from ernest.config.media import BITS, USUAL, MediaSpec


@dataclass(frozen=True)
class TokenizerSpec:
    """The sizes of the tokenizers, which fix the shapes of embeddings and heads."""

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
    voice: int = 0
    """Numbers of the embedding of a voice; 0 where voices are not known by samples."""

    @property
    def merged_grid(self) -> tuple[int, int]:
        """Merging joins 2 x 2 patches (ERNIE 5.0 §2.2.2: K = 4)."""
        return self.grid[0] // 2, self.grid[1] // 2


def usual_spec(vocabulary: int, media: MediaSpec = USUAL) -> TokenizerSpec:
    """The sizes of Ernest's own tokenizers with a vocabulary, for media of such sizes, known before they are trained."""
    patch = 4
    return TokenizerSpec(
        vocabulary=vocabulary,
        bits=BITS,
        scales=media.scales,
        levels=4,
        codes=256,
        patch=patch,
        grid=(media.height // patch, media.width // patch),
        features=192,
    )
