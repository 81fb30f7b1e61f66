"""Accuracies as others have published them: ImageNet-1k, top-1, 224x224. Nothing here was measured by us.

Recipes differ from network to network, so gaps below one point are ties.
"""

from dataclasses import dataclass
from typing import Literal

Source = Literal["paper", "paper, figure", "PaddleClas", "timm", "none"]


@dataclass(frozen=True)
class Published:
    """`name`: of `ernest.lcnet.PUBLISHED`, of timm, or of `shufflenet`. `top1` is None where nobody has published one.

    Sources: arXiv 2109.15099, Tables 2 and 3 ("paper") or read off its Figure 1 ("paper, figure"); the documentation of
    PaddleClas; timm's list of results on ImageNet. `distilled` adds the accuracy with knowledge distillation (SSLD), where
    the same source has one.
    """

    name: str
    label: str
    top1: float | None
    source: Source
    distilled: float | None = None


OURS = (
    Published("PPLCNet_x0_25", "LCNet x0.25", 51.86, "paper", 53.43),
    Published("PPLCNet_x0_35", "LCNet x0.35", 58.09, "paper"),
    Published("PPLCNet_x0_5", "LCNet x0.5", 63.14, "paper", 66.10),
    Published("PPLCNet_x0_75", "LCNet x0.75", 68.18, "paper"),
    Published("PPLCNet_x1_0", "LCNet x1.0", 71.32, "paper", 74.39),
    Published("PPLCNet_x1_5", "LCNet x1.5", 73.71, "paper"),
    Published("PPLCNet_x2_0", "LCNet x2.0", 75.18, "paper"),
    Published("PPLCNet_x2_5", "LCNet x2.5", 76.60, "paper", 80.82),
    Published("PPLCNetV2_base", "LCNetV2 base", 77.04, "PaddleClas", 80.07),
)

PEERS = (
    Published("mobilenetv3_small_050", "MobileNetV3-small 0.5", 57.9, "timm"),
    Published("mobilenetv3_small_075", "MobileNetV3-small 0.75", 65.3, "timm"),
    Published("mobilenetv3_small_100", "MobileNetV3-small 1.0", 67.6, "timm"),
    Published("mobilenetv3_large_100", "MobileNetV3-large 1.0", 75.8, "timm"),
    Published("mobilenetv4_conv_small_050", "MobileNetV4-conv-small 0.5", 64.8, "timm"),
    Published("mobilenetv4_conv_small", "MobileNetV4-conv-small", 73.8, "timm"),
    Published("mobilenetv2_050", "MobileNetV2 0.5", 65.9, "timm"),
    Published("mobilenetv2_100", "MobileNetV2 1.0", 72.9, "timm"),
    Published("mobilenetv1_100", "MobileNetV1", 71.0, "paper"),
    Published("shufflenetv2_x0.5", "ShuffleNetV2 x0.5", 60.3, "paper"),
    Published("shufflenetv2_x1.0", "ShuffleNetV2 x1.0", 68.8, "paper, figure"),
    Published("ghostnet_050", "GhostNet 0.5", 66.8, "paper, figure"),
    Published("ghostnet_100", "GhostNet 1.0", 74.0, "paper, figure"),
    Published("mnasnet_small", "MNASNet-small", 66.2, "timm"),
    Published("mnasnet_100", "MNASNet 1.0", 74.7, "timm"),
    Published("repghostnet_050", "RepGhost 0.5", 67.0, "timm"),
    Published("repghostnet_100", "RepGhost 1.0", 74.2, "timm"),
    Published("starnet_s050", "StarNet s050", None, "none"),
    Published("starnet_s1", "StarNet s1", 73.5, "timm"),
    Published("mobileone_s0", "MobileOne s0", 71.4, "timm"),
    Published("mobileone_s1", "MobileOne s1", 75.8, "timm"),
    Published("efficientnet_b0", "EfficientNet-B0", 77.7, "timm"),
    Published("fastvit_t8", "FastViT-t8", 76.2, "timm"),
    Published("repvit_m0_9", "RepViT-m0.9", 78.7, "timm"),
)
"""FastViT's accuracy belongs to 256x256; RepViT's was reached with distillation."""
