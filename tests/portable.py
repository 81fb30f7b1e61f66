"""`python -m tests.portable [--short]`: the numerical tests of every room under several instruction sets.

Before, a probe shows that each setting changes the bits of something.
Every library chooses its kernels by the processor that it finds, once,
when it is loaded; so a setting is a table of environment variables, for a process that is yet to start.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

_AVX512 = ("AVX512F", "AVX512VL", "AVX512BW", "AVX512DQ", "AVX512CD")
_AVX = ("AVX", "AVX2", "FMA", "FMA4", "BMI1", "BMI2", "LZCNT", "MOVBE")


def _processor() -> set[str]:
    """Flags of this processor, upper case; empty where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].upper().split()) for line in lines if line.startswith("flags")), set())


def _numpy_without(vectors: str) -> str:
    """Features that numpy must be told to do without, of those that it was built to look for and finds here.

    numpy warns of names that it does not know, and they changed with numpy 2.4; so they are asked of numpy itself. A process
    that is under a setting has them still, though numpy does without.
    """
    from numpy._core import _multiarray_umath as umath

    without = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
    found = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name) or name in without]
    newer = [name for name in found if name == "X86_V4" or name.startswith("AVX512")]
    return " ".join(newer if vectors == "avx2" else found)


def _settings() -> dict[str, dict[str, str]]:
    """Those that this processor can tell apart: each takes away what it has."""
    flags = _processor()
    settings: dict[str, dict[str, str]] = {"as it is": {}}
    if "AVX512F" in flags:
        settings["avx2"] = {
            "ERNEST_INSTRUCTIONS": "avx2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "MKL_CBWR": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": _numpy_without("avx2"),
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+avx,+avx2,+fma",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in _AVX512),
        }
    if "AVX2" in flags:
        settings["no vectors"] = {
            "ERNEST_INSTRUCTIONS": "generic",
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": _numpy_without("sse"),
            "NUMBA_CPU_NAME": "x86-64",
            "NUMBA_CPU_FEATURES": "+sse,+sse2",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=" + ",".join(f"-{name}" for name in (*_AVX512, *_AVX)),
        }
    return settings


SETTINGS: dict[str, dict[str, str]] = _settings()
"""Name of a setting -> environment variables. Where the processor has no AVX-512, "as it is" is AVX2 and stands for it."""


def environment(setting: str) -> dict[str, str]:
    """The environment of a process under a setting: this one's, without what other settings may have left in it."""
    clean = {name: value for name, value in os.environ.items() if not any(name in one for one in SETTINGS.values())}
    return clean | SETTINGS[setting]


def run(setting: str, code: str) -> str:
    """What the Python `code` writes in a process under a setting, at the repository's root.

    Raises RuntimeError with the end of its complaints if it fails.
    """
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(setting), cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"under {setting!r}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def probe_under(setting: str) -> dict[str, str]:
    """The probe's digests in a process under a setting."""
    code = "import json, sys; from tests.portable import probe; sys.stdout.write(json.dumps(probe()))"
    return json.loads(run(setting, code))


def probe() -> dict[str, str]:
    """Digests of a few results in this process, by library and operation: the last bits show which kernels made them."""
    import torch

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((50, 1000)), rng.standard_normal((1000, 50))
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    x32, y32 = x.float(), y.float()
    results = {
        "torch product float32": x32 @ y32,
        "torch product float64": x @ y,
        "torch product bfloat16": (x32[:, :96].bfloat16() @ y32[:96].bfloat16()).float(),
        "torch transform float32": torch.view_as_real(torch.fft.rfft2(x32)),
        "torch transform float64": torch.view_as_real(torch.fft.rfft2(x)),
        "torch sums float32": torch.cat([x32.sum(1), x32.exp().sum(1), y32.tanh().sum(0)]),
        "torch softmax float32": x32.softmax(1),
        "torch convolution float32": torch.conv2d(x32.view(1, 8, 50, 125), y32.view(-1)[:4800].view(8, 8, 3, 25)),
        "numpy product float32": a.astype(np.float32) @ b.astype(np.float32),
        "numpy product float64": a @ b,
        "numpy sums float32": a.astype(np.float32).sum(1),
        "numpy functions float64": np.stack([np.tanh(a), np.exp(a), np.sin(a), np.arctan2(a, b.T)]),
        "libm": np.array([function(v) for v in a.ravel().tolist() for function in (math.sin, math.exp, math.atan)]),
        **_numba(a[0], a[1]),
    }
    return {name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16] for name, value in results.items()}


def _numba(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """A sum that is free to be taken in any order, of products that may be fused; nothing where numba is not installed."""
    try:
        import numba
    except ImportError:
        return {}

    @numba.njit(fastmath=True)
    def dot(a: np.ndarray, b: np.ndarray) -> float:
        total = 0.0
        for i in range(len(a)):
            total += a[i] * b[i]
        return total

    return {"numba sum float64": np.array([dot(a[:n], b[:n]) for n in range(8, len(a))])}


NUMERICAL = (
    *("config", "sequence", "tokenizers", "model", "data", "world", "generation", "verifiers", "training", "evaluation"),
    *("report", "lcnet", "phasefield", "test_checkpoint.py", "test_fit.py", "test_storage.py", "test_device.py"),
)
"""Tests whose outcome could hang on how numbers are computed."""
SHORT = (
    *("sequence", "tokenizers/test_bitwise_quantiser.py", "tokenizers/test_mel.py", "generation/test_engine.py"),
    *(f"model/test_{part}.py" for part in ("attention", "backbone", "decoding", "encoder", "experts", "likelihood", "native")),
    *("model/test_network.py", "model/test_slicing.py", "training/test_loss.py", "lcnet/test_folding.py"),
    *("lcnet/test_network.py", "lcnet/heads/test_boxes.py", "phasefield/test_timeelement.py", "phasefield/test_stepping.py"),
    *("phasefield/test_grid.py", "phasefield/test_legendre.py"),
)
"""A minute of each setting. The world is not among them: that its records are the same bits is a test of every run."""


def pytest_under(setting: str, paths: tuple[str, ...], marks: str) -> tuple[str, int]:
    """pytest's closing line and exit status under a setting."""
    tests = Path(__file__).parent
    found = [str(tests / path) for path in paths if (tests / path).exists()]
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("-n", "2", "--dist", "loadfile", "--max-worker-restart", "0"),  # restarted, a worker leaves the others waiting for ever
        *("-m", marks),
        *found,
    ]
    done = subprocess.run(command, env=environment(setting), cwd=tests.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stdout.write(done.stdout[-6000:] + done.stderr[-2000:])
    return (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1], done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.portable", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few files of each room, and not as it is: `make test` does that")
    short = parser.parse_args().short
    plain, worst, rows = probe_under("as it is"), 0, []
    for setting in SETTINGS:
        if setting == "as it is" and short:
            continue
        other = probe_under(setting)
        changed = sum(plain[name] != other[name] for name in plain)
        if setting != "as it is" and not changed:
            sys.stdout.write(f"{setting}: changes the bits of no probe, so that a run under it would show nothing\n")
            return 1
        begun = time.monotonic()
        line, code = pytest_under(setting, SHORT if short else NUMERICAL, "not slow and not long" if short else "not long")
        worst = max(worst, code)
        minutes = (time.monotonic() - begun) / 60
        rows.append(f"{setting:12} {changed:2} of {len(plain)} probes differ; {line} ({minutes:.1f} min)")
        sys.stdout.write(rows[-1] + "\n")
        sys.stdout.flush()
    return worst


if __name__ == "__main__":
    sys.exit(main())
