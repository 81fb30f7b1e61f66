"""The variants of PP-LCNet x0.5 in the tables of its ablation (arXiv 2109.15099, 6 to 9), and what the paper says of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ernest.lcnet import PP_LCNET, PUBLISHED, Architecture, rewire

FULL = PUBLISHED["PPLCNet_x0_5"]


def marked(ones: str) -> list[bool]:
    """One value for each of the 13 blocks, as the paper prints positions."""
    return [one == "1" for one in ones]


def kernels(ones: str) -> list[int]:
    return [5 if on else 3 for on in marked(ones)]


NO_SE, PLAIN = marked("0" * 13), kernels("0" * 13)
BASE = replace(FULL, stages=rewire(PP_LCNET, PLAIN, NO_SE), activation="relu", head_width=0, dropout=0.0)
HSWISH = replace(BASE, activation="h-swish")
LARGE = replace(HSWISH, stages=rewire(PP_LCNET, squeeze=NO_SE))
SQUEEZED = replace(LARGE, stages=PP_LCNET)
WIDE = replace(SQUEEZED, head_width=1280)

VARIANTS: Mapping[str, Architecture] = {
    "BaseNet": BASE,
    "+ h-swish": HSWISH,
    "+ 5×5": LARGE,
    "+ SE": SQUEEZED,
    "+ 1280, no dropout": WIDE,
    "+ dropout": FULL,
    "h-swish → ReLU": replace(FULL, activation="relu"),
    "no SE": replace(FULL, stages=rewire(PP_LCNET, squeeze=NO_SE)),
    "3×3 everywhere": replace(FULL, stages=rewire(PP_LCNET, PLAIN)),
    "no 1280 layer": SQUEEZED,
    "SE in the first two": replace(FULL, stages=rewire(PP_LCNET, squeeze=marked("1100000000000"))),
    "SE in the middle two": replace(FULL, stages=rewire(PP_LCNET, squeeze=marked("0000001100000"))),
    "SE in all": replace(FULL, stages=rewire(PP_LCNET, squeeze=marked("1" * 13))),
    "5×5 everywhere": replace(FULL, stages=rewire(PP_LCNET, kernels("1" * 13))),
    "5×5 in the first half": replace(FULL, stages=rewire(PP_LCNET, kernels("1111111000000"))),
}


@dataclass(frozen=True)
class Line:
    """A row of a table: a variant, and what the paper says of it (top-1 on ImageNet in percent, milliseconds)."""

    variant: str
    top1: float
    milliseconds: float
    shown: str = ""


FULL_LINE = Line("+ dropout", 63.14, 2.05, "all of them")
TABLES: Mapping[str, tuple[Line, ...]] = {
    "Table 9: one rule after the other": (
        Line("BaseNet", 55.58, 1.61),
        Line("+ h-swish", 58.18, 1.66),
        Line("+ 5×5", 59.09, 1.70),
        Line("+ SE", 59.91, 1.85),
        Line("+ 1280, no dropout", 62.50, 2.05),
        Line("+ dropout", 63.14, 2.05),
    ),
    "Table 6: all but one": (
        Line("h-swish → ReLU", 61.93, 1.94),
        Line("no SE", 62.51, 1.87),
        Line("3×3 everywhere", 62.44, 2.01),
        Line("no 1280 layer", 59.91, 1.85),
        FULL_LINE,
    ),
    "Table 7: places of squeeze-and-excite": (
        Line("SE in the first two", 61.73, 2.06),
        Line("SE in the middle two", 62.17, 2.03),
        replace(FULL_LINE, shown="SE in the last two"),
        Line("SE in all", 64.27, 3.80),
    ),
    "Table 8: places of 5×5 kernels": (
        Line("5×5 everywhere", 63.22, 2.08),
        Line("5×5 in the first half", 62.70, 2.07),
        replace(FULL_LINE, shown="5×5 in the last seven"),
    ),
}
