"""Saves and loads the tokenizers of text, pictures and sounds together, as a checkpoint carries them."""

from dataclasses import dataclass
from pathlib import Path

from ernest.sequence.groups import ControlTokens
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer


@dataclass(frozen=True)
class Tokenizers:
    """The text, vision and audio tokenizer of one checkpoint."""

    text: TextTokenizer
    vision: VisionTokenizer
    audio: AudioTokenizer

    @property
    def control_tokens(self) -> ControlTokens:
        """The ids of the control tokens in the text vocabulary."""
        text = self.text
        return ControlTokens(text.eos, text.boi, text.eoi, text.bov, text.eov, text.boa, text.sep, text.cont)

    def save(self, folder: Path) -> None:
        """Writes the three tokenizers as files of `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder / "text.json")
        self.vision.save(folder / "vision.safetensors")
        self.audio.save(folder / "audio.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Tokenizers":
        """Reads what `save` wrote."""
        return cls(
            TextTokenizer.load(folder / "text.json"),
            VisionTokenizer.load(folder / "vision.safetensors").eval().requires_grad_(False),
            AudioTokenizer.load(folder / "audio.safetensors").eval().requires_grad_(False),
        )
