"""Ahead-of-time compilation of a network by PyTorch's AOTInductor, with frozen weights and channels-last memory."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ernest.lcnet.folding import fold
from ernest.lcnet.network import PPLCNet


def compile_ahead_of_time(network: PPLCNet, height: int = 224, width: int = 224, batch: int = 1) -> Callable[[Tensor], Tensor]:
    """`network` for images `[batch, channels, height, width]` of just this size, through AOTInductor: some ten seconds of work.

    Freezing lets Inductor lay the weights out for oneDNN once, and a call of the result passes Python by. It needs a C++
    compiler; where there is none the folded network is returned, with a warning that says so.
    """
    import torch._inductor
    from torch._inductor import cpp_builder, exc

    copy = fold(network)
    copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        warnings.warn(f"not compiled ahead of time, plain PyTorch instead: {error}", RuntimeWarning, stacklevel=2)
        return torch.inference_mode()(copy)
    program = torch.export.export(copy, (torch.zeros(batch, network.architecture.in_channels, height, width),))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore", category=FutureWarning):
        package = str(Path(folder) / "network.pt2")
        torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs={"freezing": True})
        return torch._inductor.aoti_load_package(package)
