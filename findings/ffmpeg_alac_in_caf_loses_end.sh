#!/usr/bin/env bash
# av 18.1.0 (PyAV, with its own FFmpeg) and soundfile 0.14.0: a lossless sound in CAF comes back without its end.
#
# Apple's container tells, for coders of fixed packets such as Apple Lossless (ALAC), how many frames of the last packet do not count.
# libsndfile writes it and reads every sample back; FFmpeg tells the right duration, and then leaves that many samples out, though
# the last packet does not hold them: a second at 48 kHz lacks its last 24 ms. Nothing is said. Where the last packet has fewer
# samples than that, all come. PCM in CAF is read whole. Seen:
#
#     ALAC, 16000 samples: soundfile 16000, FFmpeg says 16000 and gives 15616
#     ALAC, 24000 samples: soundfile 24000, FFmpeg says 24000 and gives 23424
#     ALAC, 48000 samples: soundfile 48000, FFmpeg says 48000 and gives 46848
#     PCM, 48000 samples:  soundfile 48000, FFmpeg says 48000 and gives 48000
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 av==18.1.0 soundfile==0.14.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import av
import numpy as np
import soundfile

RATE = 48_000


def read_back(coder: str, count: int) -> tuple[bool, int, int]:
    """Whether soundfile reads what it wrote, and how many samples FFmpeg says that there are, and gives."""
    noise = np.random.default_rng(0).standard_normal(count + 3)
    sound = np.rint(6000 * np.convolve(noise, np.ones(4) / 4, "valid")).astype(np.int16)
    soundfile.write("sound.caf", sound, RATE, subtype=coder)
    whole = np.array_equal(soundfile.read("sound.caf", dtype="int16")[0], sound)
    with av.open("sound.caf") as file:
        said = round(file.streams.audio[0].duration * file.streams.audio[0].time_base * RATE)
        given = np.concatenate([frame.to_ndarray().ravel() for frame in file.decode(audio=0)])
    assert np.array_equal(given, sound[: len(given)])
    name = f"{coder.partition('_')[0]}, {count} samples:"
    print(f"{name:<20} soundfile {count if whole else 'others'}, FFmpeg says {said} and gives {len(given)}")
    return whole, said, len(given)


seen = [read_back("ALAC_16", count) for count in (16_000, 24_000, 48_000)] + [read_back("PCM_16", 48_000)]
expected = [(True, 16_000, 15_616), (True, 24_000, 23_424), (True, 48_000, 46_848), (True, 48_000, 48_000)]
sys.exit(0 if seen == expected else 1)
PYTHON
