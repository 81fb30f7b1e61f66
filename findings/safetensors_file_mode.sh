#!/usr/bin/env bash
# safetensors 0.8.0: `save_file` creates files that only their owner can read (mode 600), whatever the umask.
#
# Files that Python's `open` creates follow the umask; a checkpoint that is written for others to read has to be given its
# mode afterwards. Seen, under umask 022:
#
#     open:      644
#     save_file: 600
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6

"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy

folder = Path(sys.argv[1])
os.umask(0o022)
(folder / "opened").open("w").close()
safetensors.numpy.save_file({"a": np.zeros(2)}, folder / "saved.safetensors")
modes = {name: (folder / name).stat().st_mode & 0o777 for name in ("opened", "saved.safetensors")}
print(f"open:      {modes['opened']:o}\nsave_file: {modes['saved.safetensors']:o}")
sys.exit(0 if list(modes.values()) == [0o644, 0o600] else 1)
PYTHON
