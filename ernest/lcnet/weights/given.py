"""What the user knows of a file of others, which goes before whatever the file tells, and how the options of commands say it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast, get_args

from ernest.lcnet.architecture import Activation, Stride
from ernest.lcnet.image_io.preprocess import HUGGING_FACE, PADDLECLAS, TEXT_LINE, TIMM, Preprocessing


@dataclass(frozen=True)
class Foreign:
    """What you know of a file of others: it goes before whatever the file, its neighbours and its name tell. None: unknown.

    `strides` are those of `Architecture`; `dropout` is the rate of Paddle's dropout, which scales when it classifies.
    `many`: trained for several labels a picture, each by a sigmoid of its own. `activation` is that of the first version.
    """

    strides: tuple[Stride, ...] | None = None
    dropout: float | None = None
    preprocessing: Preprocessing | None = None
    many: bool = False
    activation: Activation | None = None


UNKNOWN = Foreign()

RULES: Mapping[str, Preprocessing] = MappingProxyType(
    {
        "paddleclas": PADDLECLAS,
        "timm": TIMM,
        "timm-bilinear": replace(TIMM, cubic=False),
        "hugging-face": HUGGING_FACE,
        "text-line": TEXT_LINE,
    }
)
"""The pre-processing that a command's `--preprocessing` names."""


def foreign_of(
    strides: str | None = None,
    preprocessing: str | None = None,
    squash: tuple[int, int] | None = None,
    dropout: float | None = None,
    many: bool = False,
    activation: str | None = None,
) -> Foreign:
    """What the options of a command say. `squash` presses whole pictures into (height, width), with the rest of
    `preprocessing`. Raises ValueError, which names the option."""
    if preprocessing is not None and preprocessing not in RULES:
        raise ValueError(f"preprocessing: expected one of {', '.join(RULES)}, got {preprocessing}")
    if activation is not None and activation not in get_args(Activation):
        raise ValueError(f"activation: expected one of {', '.join(get_args(Activation))}, got {activation}")
    rule = RULES[preprocessing] if preprocessing is not None else None
    if squash is not None:
        if rule is None:
            raise ValueError("squash: name the pre-processing, too, whose colours and mean are meant: --preprocessing paddleclas")
        rule = replace(rule, resize=squash, crop=None)
    return Foreign(
        parse_strides(strides) if strides is not None else None, dropout, rule, many, cast(Activation | None, activation)
    )


def parse_strides(text: str) -> tuple[Stride, ...]:
    """Strides as a command takes them: "2,1,2,2,2,2", "2x1" for (vertical, horizontal). Five are those of the stem and of the
    last four stages, as Paddle writes them. Raises ValueError."""
    try:
        sides = [tuple(int(side) for side in one.split("x")) for one in text.replace(" ", "").split(",")]
        if any(len(one) not in (1, 2) or min(one) < 1 for one in sides) or len(sides) not in (5, 6):
            raise ValueError
    except ValueError:
        wanted = "six of the stem and the five stages, or Paddle's five, such as 2,2x1,2x1,2x1,2x1"
        raise ValueError(f"strides: expected {wanted}, got {text}") from None
    strides = [one[0] if len(set(one)) == 1 else (one[0], one[1]) for one in sides]
    return tuple(strides if len(strides) == 6 else [strides[0], 1, *strides[1:]])
