"""The three learned judges of a run, loaded together: of digits, of families of videos, of spoken words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from torch import nn

from ernest.verifiers.speech import WordJudge
from ernest.verifiers.vision import load_digit_judge, load_family_judge


@dataclass(frozen=True)
class Judges:
    """Networks that verify what no rule can."""

    digits: nn.Module
    families: nn.Module
    words: WordJudge

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(
            load_digit_judge(folder / "digits.safetensors"),
            load_family_judge(folder / "families.safetensors"),
            WordJudge.load(folder / "words.safetensors"),
        )
