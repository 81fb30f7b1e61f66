#!/usr/bin/env bash
# numpy 2.4.6: NPY_DISABLE_CPU_FEATURES no longer knows the names that numpy 2.3 knew, and then disables nothing.
#
# numpy 2.3 dispatches on AVX2 and FMA3 one by one; numpy 2.4 on groups (X86_V3, X86_V4) that hold them. An old name
# gives an ImportWarning, which Python hides unless it is run with -W, and the kernels stay what they were. So a setting
# that made numpy reproducible across processors stops doing so with an upgrade, in silence. Seen, on an x86-64 processor
# with AVX2 ("on" is numpy's own word on AVX2 and FMA3, after it was told to do without):
#
#     numpy 2.3.5: AVX2 on, FMA3 on; said: nothing
#     numpy 2.3.5, without "AVX2 FMA3": AVX2 off, FMA3 off; said: nothing
#     numpy 2.4.6, without "AVX2 FMA3": AVX2 on, FMA3 on; said: nothing
#     numpy 2.4.6 -W always, without "AVX2 FMA3": AVX2 on, FMA3 on; said: ImportWarning
#     numpy 2.4.6, without "X86_V3": X86_V3 off; said: nothing
#
# Exit status: 0 where it is still so, 1 where it is not, 2 on a processor without AVX2, where it cannot be shown.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 2.3.5 2.4.6; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet "numpy==$version"
done

python3 - "$folder" <<'PYTHON'
import os
import subprocess
import sys

folder = sys.argv[1]


def ask(version, disabled, names, *options):
    code = f"""
from numpy._core._multiarray_umath import __cpu_features__ as features
print(", ".join(name + (" on" if features[name] else " off") for name in {names}))
"""
    command = [f"{folder}/{version}/bin/python", *options, "-c", code]
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": disabled}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    said = next((word for word in done.stderr.replace(":", " ").split() if word.endswith("Warning")), "nothing")
    line = f"{done.stdout.strip()}; said: {said}"
    print(f"numpy {' '.join([version, *options])}, without \"{disabled}\": {line}" if disabled else f"numpy {version}: {line}")
    return line


old, new = ("AVX2", "FMA3"), ("X86_V3",)
if "off" in ask("2.3.5", "", old):
    sys.exit(2)
seen = [
    ask("2.3.5", "AVX2 FMA3", old),
    ask("2.4.6", "AVX2 FMA3", old),
    ask("2.4.6", "AVX2 FMA3", old, "-W", "always"),
    ask("2.4.6", "X86_V3", new),
]
expected = [
    "AVX2 off, FMA3 off; said: nothing",
    "AVX2 on, FMA3 on; said: nothing",
    "AVX2 on, FMA3 on; said: ImportWarning",
    "X86_V3 off; said: nothing",
]
sys.exit(0 if seen == expected else 1)
PYTHON
