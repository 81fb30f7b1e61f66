"""Saves and loads the tokenizers of text, pictures and sounds together, as a checkpoint carries them."""

from dataclasses import dataclass
from pathlib import Path

from ernest.config.media import FILE, USUAL, MediaSpec, read_media, to_json
from ernest.sequence.groups import ControlTokens
from ernest.storage import write_text
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer
from ernest.tokenizers.voice import VoiceEncoder


@dataclass(frozen=True)
class Tokenizers:
    """The text, vision and audio tokenizer of one checkpoint, and the sizes and rates of its media; and what knows voices from
    samples of them, where the model was trained on such.

    Raises ValueError where a tokenizer is of other sizes than the media.
    """

    text: TextTokenizer
    vision: VisionTokenizer
    audio: AudioTokenizer
    media: MediaSpec = USUAL
    voice: VoiceEncoder | None = None

    def __post_init__(self) -> None:
        size, rate = self.vision.spec.size, self.audio.spec.sample_rate
        if size != self.media.size:
            pixels = f"{size[0]} x {size[1]} pixels, the recipe's of {self.media.height} x {self.media.width}"
            raise ValueError(f"the vision tokenizer is one of {pixels}")
        stride = self.vision.spec.temporal_stride
        if stride != self.media.temporal_stride:
            raise ValueError(
                f"the vision tokenizer has a temporal stride of {stride}, the recipe of {self.media.temporal_stride}"
            )
        if rate != self.media.sample_rate:
            raise ValueError(f"the audio tokenizer is one of {rate} samples a second, the recipe's of {self.media.sample_rate}")
        if self.voice is not None and self.voice.config.sample_rate != rate:
            raise ValueError(f"the encoder of voices is one of {self.voice.config.sample_rate} samples a second, not of {rate}")

    @property
    def control_tokens(self) -> ControlTokens:
        """The ids of the control tokens in the text vocabulary."""
        text = self.text
        return ControlTokens(text.eos, text.boi, text.eoi, text.bov, text.eov, text.boa, text.sep, text.cont)

    def save(self, folder: Path) -> None:
        """Writes the tokenizers as files of `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.text.save(folder / "text.json")
        self.vision.save(folder / "vision.safetensors")
        self.audio.save(folder / "audio.safetensors")
        if self.voice is not None:
            self.voice.save(folder / "voice.safetensors")
        write_text(folder / FILE, to_json(self.media))

    @classmethod
    def load(cls, folder: Path, mapped: bool = False) -> "Tokenizers":
        """Reads what `save` wrote; weights that are `mapped` share memory with their files."""
        voice = folder / "voice.safetensors"
        return cls(
            TextTokenizer.load(folder / "text.json"),
            VisionTokenizer.load(folder / "vision.safetensors", mapped).eval().requires_grad_(False),
            AudioTokenizer.load(folder / "audio.safetensors", mapped).eval().requires_grad_(False),
            read_media(folder),
            VoiceEncoder.load(voice).eval().requires_grad_(False) if voice.is_file() else None,
        )
