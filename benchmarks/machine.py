"""The machine and the versions that a measurement comes from, in a line."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FEATURES = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "bf16", "i8mm", "sve"),
)
"""What matters here of the flags in /proc/cpuinfo, on x86 and on ARM."""


def machine(*packages: str) -> str:
    """Processor, its features and cores, and the versions of Python and of `packages`."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return f"{processor()}; {', '.join((f'Python {platform.python_version()}', *found))}"


def processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "CPU part"))]
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    features = " ".join(feature for feature in FEATURES if feature in flags)
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores ({features})"
