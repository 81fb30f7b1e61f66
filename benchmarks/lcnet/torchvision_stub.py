"""Hollow modules in place of torchvision, which timm imports at its top and needs for none of the networks measured here."""

import enum
import sys
import types
from importlib.machinery import ModuleSpec

import torch

MODULES = (
    "torchvision",
    *("torchvision.datasets", "torchvision.models", "torchvision.models.feature_extraction", "torchvision.ops"),
    *("torchvision.ops.misc", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.utils"),
)


class Hollow(types.ModuleType):
    """Every name in it is a class that takes anything and does nothing."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (torch.nn.Module,), {"__init__": lambda self, *_, **__: None})
        setattr(self, name, made)
        return made


class InterpolationMode(enum.Enum):
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


def install() -> None:
    """Puts them where an import finds them, unless they are there."""
    if "torchvision" in sys.modules:
        return
    for name in MODULES:
        module = Hollow(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        module.__dict__["__version__"] = "0.0"
        sys.modules[name] = module
        if "." in name:
            parent, leaf = name.rsplit(".", 1)
            setattr(sys.modules[parent], leaf, module)
    for name in ("torchvision.transforms", "torchvision.transforms.functional"):
        setattr(sys.modules[name], "InterpolationMode", InterpolationMode)  # noqa: B010
