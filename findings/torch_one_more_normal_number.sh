#!/usr/bin/env bash
# torch 2.13.0, CPU: asked for one normal number more, a generator of the same seed gives other numbers from the second on.
#
# `rand` of 17 begins with `rand` of 16, as one expects of a stream of numbers. `randn` of 17 does not: it makes whole blocks of
# sixteen from uniform numbers, and what is left over by a last block that reaches back to the sixteenth number from the end and
# replaces what was there. Below sixteen it takes another way, in which sixteen and fifteen have nothing in common. So weights or
# noise of another length are not a piece of the same ones, unless both lengths are multiples of sixteen. Seen, as the places
# at which the shorter one is the beginning of the longer one, float32, seed 0:
#
#     rand  of 16 and 17: 16 of 16
#     randn of 16 and 17:  1 of 16
#     randn of 16 and 20:  4 of 16
#     randn of 16 and 32: 16 of 16
#     randn of 15 and 16:  0 of 15
#     randn of 14 and 15: 14 of 14
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch


def alike(draw, short: int, long: int) -> int:
    """At how many places a draw of `short` numbers is the beginning of one of `long`."""
    first, second = (draw(count, generator=torch.Generator().manual_seed(0)) for count in (short, long))
    count = int((first == second[:short]).sum())
    print(f"{draw.__name__:<5} of {short} and {long}: {count:>2} of {short}")
    return count


seen = [alike(torch.rand, 16, 17)]
seen += [alike(torch.randn, *lengths) for lengths in ((16, 17), (16, 20), (16, 32), (15, 16), (14, 15))]
sys.exit(0 if seen == [16, 1, 4, 16, 0, 14] else 1)
PYTHON
