"""The native executor: a whole PP-LCNet in one call of C++ that is compiled at first use; see `docs/lcnet/native.md`."""

from typing import TYPE_CHECKING, Any

from ernest.lcnet.native.build import INSTRUCTIONS, BuildError, available

if TYPE_CHECKING:
    from ernest.lcnet.native.executor import Executor, LayerTime, Precision

__all__ = ["INSTRUCTIONS", "BuildError", "Executor", "LayerTime", "Precision", "available"]


def __getattr__(name: str) -> Any:
    """What executes is imported when it is asked for: kernels of others are compiled without it."""
    if name not in ("Executor", "LayerTime", "Precision"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ernest.lcnet.native import executor

    return getattr(executor, name)
