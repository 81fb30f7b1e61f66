"""Saves and loads the tokenizers of text, pictures and sounds together, as a checkpoint carries them."""

from dataclasses import dataclass
from pathlib import Path

from ernest.sequence.groups import ControlTokens
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer


@dataclass(frozen=True)
class Tokenizers:
    """The tokenizers of a checkpoint: of text, of pictures and videos, of sounds."""

    text: TextTokenizer
    vision: VisionTokenizer
    audio: AudioTokenizer

    @property
    def control_tokens(self) -> ControlTokens:
        text = self.text
        return ControlTokens(text.eos, text.boi, text.eoi, text.bov, text.eov, text.boa, text.sep, text.cont)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder / "text.json")
        self.vision.save(folder / "vision.safetensors")
        self.audio.save(folder / "audio.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Tokenizers":
        return cls(
            TextTokenizer.load(folder / "text.json"),
            VisionTokenizer.load(folder / "vision.safetensors").eval().requires_grad_(False),
            AudioTokenizer.load(folder / "audio.safetensors").eval().requires_grad_(False),
        )
