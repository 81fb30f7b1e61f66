#!/usr/bin/env bash
# pillow 13.0.0: a TIFF whose zero is white is read right with 8 bits, and as its own negative with 16.
#
# TIFF says of a grey picture whether 0 is black or white (PhotometricInterpretation 1 or 0); scanners and X-ray detectors write
# both, and 16 bits are usual there. Pillow turns the levels of 8 bits, so that one comes to trust that 0 is black whatever the file
# says; those of 16 bits (mode I;16) it hands over as they are stored, without a warning. The tag is still in `tag_v2[262]`. Seen, of
# a black, a dark grey and a white pixel:
#
#      8 bits, black is zero: L    [0, 63, 255]
#      8 bits, white is zero: L    [0, 63, 255]
#     16 bits, black is zero: I;16 [0, 16191, 65535]
#     16 bits, white is zero: I;16 [65535, 49344, 0]
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct
import sys

from PIL import Image

PICTURE = (0.0, 63 / 255, 1.0)  # a row from black to white


def tiff(bits: int, white_is_zero: bool) -> bytes:
    """The picture as an uncompressed TIFF of one strip."""
    most = 2**bits - 1
    levels = [round((1 - share if white_is_zero else share) * most) for share in PICTURE]
    pixels = struct.pack(f"<{len(levels)}{'B' if bits == 8 else 'H'}", *levels)
    entries = {256: 3, 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: None, 277: 1, 278: 1, 279: len(pixels)}
    start = 8 + 2 + 12 * len(entries) + 4  # of the pixels, behind the header and the only directory
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, start if value is None else value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0) + pixels


seen = {}
for bits in (8, 16):
    for white_is_zero in (False, True):
        with Image.open(io.BytesIO(tiff(bits, white_is_zero))) as picture:
            seen[bits, white_is_zero] = [picture.getpixel((x, 0)) for x in range(len(PICTURE))]
            name = f"{bits:>2} bits, {'white' if white_is_zero else 'black'} is zero:"
            print(f"{name} {picture.mode:<4} {seen[bits, white_is_zero]}")
black = [0, 16191, 65535]
right = [0, 63, 255]
expected = {(8, False): right, (8, True): right, (16, False): black, (16, True): [65535 - level for level in black]}
sys.exit(0 if seen == expected else 1)
PYTHON
