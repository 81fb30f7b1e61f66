"""Ahead-of-time compilation of a network by PyTorch's AOTInductor, with frozen weights and channels-last memory."""

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import Tensor

from ernest.lcnet.folding import fold
from ernest.lcnet.inference import as_input, infer, start_runtime, until_exit
from ernest.lcnet.network import PPLCNet


def compile_ahead_of_time(network: PPLCNet, height: int = 224, width: int = 224, batch: int = 1) -> Callable[[Tensor], Tensor]:
    """`network` for images `[batch, channels, height, width]` of just this size, through AOTInductor: some ten seconds of work.

    Freezing lets Inductor lay the weights out for oneDNN once, and a call of the result passes Python by. It needs a C++
    compiler; where there is none the folded network runs in plain PyTorch, with a warning that says so. The result takes
    images as `Model.run` does, any floating-point type and strides, and raises ValueError for another size: the compiled code
    itself would read whatever lies at the address.
    """
    import torch._inductor
    from torch._inductor import cpp_builder, exc

    folded, size = fold(network), (batch, network.architecture.in_channels, height, width)
    folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        warnings.warn(f"not compiled ahead of time, plain PyTorch instead: {error}", RuntimeWarning, stacklevel=2)
        return _for_size(partial(infer, folded), size)
    program = torch.export.export(folded, (torch.zeros(size, dtype=torch.float32),))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore", category=FutureWarning):
        package = str(Path(folder) / "network.pt2")
        torch._inductor.aoti_compile_and_package(program, package_path=package, inductor_configs={"freezing": True})
        return _for_size(torch._inductor.aoti_load_package(package), size)


def _for_size(forward: Callable[[Tensor], Tensor], size: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    def run(images: Tensor) -> Tensor:
        with until_exit:
            images = as_input(images, size[1])
            if tuple(images.shape) != size:
                raise ValueError(f"images: compiled for {list(size)} and nothing else, got {list(images.shape)}")
            start_runtime()
            return forward(images)

    return run
