"""The native executor: a whole PP-LCNet in one call of C++ that is compiled at first use; see `docs/lcnet/native.md`."""

from ernest.lcnet.native.build import INSTRUCTIONS, BuildError, available
from ernest.lcnet.native.executor import Executor, LayerTime, Precision

__all__ = ["INSTRUCTIONS", "BuildError", "Executor", "LayerTime", "Precision", "available"]
