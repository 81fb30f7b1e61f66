"""The claims of PP-LCNet's paper (arXiv 2109.15099), table by table, and what stands for each of them here."""

from ernest.results.claims.claim import ByTest, Claim, Gain, Measured, Quote

SPEED, TRAINING = "docs/lcnet/speed.md", "docs/lcnet/training.md"
HERE = "here, top-1 %"
RIVALS = "better and no slower, both by OpenVINO fp32"
ABLATION = "python -m benchmarks.lcnet.ablation"
SMALL = "20×20 MNIST in 240 steps, which decides little; ± is the 95 % interval of three seeds"


def _rule(label: str, row: str, other: str) -> Gain:
    """What a rule brings: the difference of two rows of the ablation."""
    return Gain(f"{label}, points", TRAINING, row, other, HERE)


def _photographs(where: str, words: str, paper: str) -> Claim:
    """A claim on the rules, tried on photographs."""
    return Claim(where, words, paper, Measured("photographs", words), "ernest results photographs --photographs ZIP")


LCNET = (
    Claim("Tab 1", "the network as drawn: parameters and operations of all widths", "1.5–9.0 M, 18–906 M",
          ByTest(("tests/lcnet/profiling/test_cost.py::test_the_first_version_costs_what_its_tables_say",))),
    Claim("Tab 2, 3", "top-1 on ImageNet", "51.86–76.60", why="no ImageNet here, and months of its training"),
    Claim("Fig 1, Tab 3", "nothing as accurate is faster on a processor", "true of 2021",
          tuple(Quote(width, SPEED, f"LCNet {width}", RIVALS, equals="nothing")
                for width in ("x0.25", "x0.5", "x1.0", "x1.5", "x2.0", "x2.5")), "python -m benchmarks.lcnet",
          "named is what is better and no slower, by others' accuracies, in 2026"),
    Claim("Tab 4", "as a detector's backbone", "20.3 and 26.9 mAP on COCO", why="no COCO here"),
    Claim("Tab 4", "detectors learn at all: collages of the world (not in the paper)", "–",
          (Quote("AP@0.5", SPEED, "19: PicoDet, AP@0.5 on held-out collages"),), "python -m benchmarks.lcnet.scenes"),
    Claim("Tab 5", "as a segmenter's backbone", "58.36 and 66.03 mIoU on Cityscapes", why="no Cityscapes here"),
    Claim("Tab 5", "segmenters learn at all: collages of the world (not in the paper)", "–",
          (Quote("DeepLabV3+ mIoU", SPEED, "20: deeplab, mIoU on held-out collages"),
           Quote("LiteSeg mIoU", SPEED, "20: liteseg, mIoU on held-out collages")), "python -m benchmarks.lcnet.scenes"),
    Claim("Tab 9", "all four additions together are better than the plain network", "+7.56",
          (_rule("all − none", "+ dropout", "BaseNet"),), ABLATION, SMALL),
    Claim("Tab 9", "h-swish", "+2.60", (_rule("h-swish", "+ h-swish", "BaseNet"),), ABLATION, SMALL),
    Claim("Tab 9", "5×5 kernels in the last blocks", "+.91", (_rule("5×5", "+ 5×5", "+ h-swish"),), ABLATION, SMALL),
    Claim("Tab 9", "squeeze-and-excite in the last two blocks", "+.82", (_rule("SE", "+ SE", "+ 5×5"),), ABLATION, SMALL),
    Claim("Tab 9", "the wide layer after the pooling", "+2.59",
          (_rule("1280", "+ 1280, no dropout", "+ SE"),), ABLATION, SMALL),
    Claim("Tab 9", "dropout before the classifier", "+.64",
          (_rule("dropout", "+ dropout", "+ 1280, no dropout"),), ABLATION, SMALL),
    Claim("Tab 6", "each of the four is missed", "−1.21, −.63, −.70, −3.23",
          tuple(_rule(label, "all of them", row) for label, row in (
              ("all − without h-swish", "h-swish → ReLU"), ("all − without SE", "no SE"),
              ("all − without 5×5", "3×3 everywhere"), ("all − without 1280", "no 1280 layer"))), ABLATION, SMALL),
    _photographs("Tab 6–9", "the same on photographs (CIFAR-10), trained to the end, three seeds", "as above"),
    _photographs("Tab 7, 8", "SE and 5×5 pay at the end of the network", "63.14 against 61.73; 62.70"),
    Claim("§3", "distillation without labels helps", "+2.96, +3.07, +4.22",
          (Quote("points on digits", SPEED, "18: gain of a student by a teacher without labels, points"),),
          "python -m benchmarks.lcnet.digits"),
)  # fmt: skip
