"""Devices by name or from a TOML file: what they hold, how fast they compute, how fast they reach each other."""

from dataclasses import dataclass
from pathlib import Path

from ernest.device import HOST
from ernest.overrides import build, check_least, check_positive, read_tree
from ernest.storage import write_text


@dataclass(frozen=True)
class Device:
    """`memory` in bytes, `rate` of products in bfloat16 in FLOP/s, `bandwidth` of the memory and `link` to the other devices in
    bytes per second (of a link, in one direction); all as the maker tells them. With `keeps_shares`, attention keeps its shares
    for the backward pass, as the kernels for processors do, whose experts copy no weights; without `bf16`, products are taken in
    float32.

    The last five are of a calibration: bytes of a process without its network; bytes held for each byte of activations, since
    allocators keep what is freed; seconds that a step takes whatever its rows; how many times as long experts' products take in
    widths that a processor's kernels do not take, and everything but links while another process works beside it."""

    memory: float
    rate: float
    bandwidth: float
    link: float
    keeps_shares: bool = False
    bf16: bool = True
    process: float = 0.0
    slack: float = 1.0
    fixed: float = 0.0
    odd: float = 1.0
    crowd: float = 1.0

    def __post_init__(self) -> None:
        check_positive(self, "device", "memory", "rate", "bandwidth", "link", "crowd")
        check_least(self, "device", process=0.0, slack=0.0, fixed=0.0, odd=1.0)


DEVICES = {
    "H100": Device(80e9, 989e12, 3.35e12, 450e9),
    "H200": Device(141e9, 989e12, 4.8e12, 450e9),
    "A100": Device(80e9, 312e12, 2.0e12, 300e9),
    "4090": Device(24e9, 165e12, 1.0e12, 32e9),
    HOST: Device(8e9, 0.15e12, 10e9, 5e9, keeps_shares=True, bf16=False, process=0.5e9),
}
"""Of a processor, one core with vectors of 512 bits and its share of the memory, in float32 as most compute, roughly: write a
file for yours."""


def write_device(path: Path, device: Device) -> None:
    """A TOML file of a device, for `read_devices`."""
    told = {name: str(value).lower() if isinstance(value, bool) else f"{value:.4g}" for name, value in vars(device).items()}
    write_text(path, "".join(f"{name} = {value}\n" for name, value in told.items()))


def read_devices(text: str) -> tuple[int, Device]:
    """The count and the device of "8xH100", "2xcpu" or "4xmine.toml". Raises ValueError that says what would be right."""
    count, times, name = text.partition("x")
    if not times or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"devices {text!r}: expected a count and a device, such as 8xH100")
    if name in DEVICES:
        return int(count), DEVICES[name]
    file = Path(name).expanduser() if name.startswith("~/") else Path(name)  # no shell resolves it behind a count
    if file.is_file():
        return int(count), build(Device, read_tree(file), str(file))
    raise ValueError(
        f"devices {text!r}: expected one of {', '.join(DEVICES)}, or a TOML file with memory, rate, bandwidth and link"
    )
