"""Files of weights to tensors by name: Paddle's `.pdparams`, files of torch.save, safetensors. Nothing in a file is run."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ernest import storage
from ernest.lcnet.image_io.find import POINTER, UNFETCHED
from ernest.lcnet.weights.paddle_file import read_paddle
from ernest.lcnet.weights.torch_file import LEGACY, read_legacy, read_zip

DEPLOYED = "a deployed network; give the checkpoint that it was made of"

OTHERS: Mapping[str, str] = {
    ".onnx": DEPLOYED,
    ".xml": DEPLOYED,
    ".bin": "OpenVINO's weights without names",
    ".pdmodel": "a graph of Paddle 2 without weights; give the .pdparams that it was exported from, or export it with Paddle 3",
    ".pdopt": "the state of an optimizer; the weights lie in the .pdparams beside it",
    ".pdiparams": "weights of Paddle without names, which only the .json beside them tells",
}
"""What files with other endings are, for the complaint; a file that can be read may be called anything."""

SHARD = re.compile(r"-0*[0-9]+-of-0*(?!1\b)[1-9][0-9]*\.safetensors$")

INSIDE = ("model.safetensors", "inference.pdiparams", "best.safetensors", "pytorch_model.bin")
"""What the file of weights is called in the folders of others, and in ours."""


def refuse_folder(path: Path) -> None:
    """Raises ValueError for a folder, which names the weights in it."""
    if path.is_dir():
        found = next((f", {path / name}" for name in INSIDE if (path / name).is_file()), "")
        raise ValueError(f"{path}: a folder; name the file of weights in it{found}")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file by the names that they have there. What kind of file it is shows in its first bytes.

    Of a training checkpoint of torch the weights of its network; `find_weights` says which. Raises ValueError, which names
    the file, if it is damaged, of another kind, or asks for anything but tensors.
    """
    return find_weights(path)[1]


def find_weights(path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """As `read_weights`, with the place of the weights in a training checkpoint, such as "state_dict"; empty elsewhere."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if start[:4] == b"PK\x03\x04":
            return read_zip(path)
        if start[5:9] == b"\x00\x00\x00{":  # the end of a length of eight bytes, whose first may be any
            if SHARD.search(path.name):
                raise ValueError("one of several files of a network: save it in one (max_shard_size)")
            return "", storage.load_tensors(path)
        if LEGACY.match(start):
            return read_legacy(path)
        if start[:1] == b"\x80":
            return "", read_paddle(path.read_bytes())
        raise ValueError(f"expected Paddle's .pdparams, a zip file of torch.save, or safetensors{_found(path, start)}")
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _found(path: Path, start: bytes) -> str:
    """What a file is that nothing is read of, where its first bytes or its ending show it."""
    if not start:
        kind = "an empty file"
    elif start.startswith(POINTER):
        kind = UNFETCHED
    elif path.suffix.lower() in OTHERS:
        kind = OTHERS[path.suffix.lower()]
    elif start.startswith(b"<"):
        kind = "a web page, or other text"
    elif start.startswith(b"\x1f\x8b") or start[257:].startswith(b"ustar"):  # as PaddleClas hands out its networks
        kind = "packed: unpack it"
    else:
        return ""
    return f"; this is {kind}"


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError, which names the first, if weights are whole numbers, not finite, or variances below zero."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} holds whole numbers ({str(tensor.dtype).removeprefix('torch.')}), which are no weights")
        # A sum is finite where all are, and is quicker to find; only where it is not are they looked at one by one.
        if not tensor.double().sum().isfinite() and not tensor.isfinite().all():
            raise ValueError(f"{name}: {int((~tensor.isfinite()).sum())} of {tensor.numel()} numbers are not finite")
        # A root is taken of it with 1e-5 added; what rounding leaves of a variance of zero does no harm.
        if name.endswith(("running_var", "_variance")) and tensor.numel() and tensor.min() <= -1e-5:
            raise ValueError(f"{name}: a variance of {tensor.min().item():.3g} is below zero")
