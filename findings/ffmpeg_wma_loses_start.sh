#!/usr/bin/env bash
# av 18.1.0 (PyAV, with its own FFmpeg): a sound written as WMA and read back has lost its first 512 samples at 16 kHz.
#
# A lossy coder is expected to put silence before the sound, which a reader can cut. FFmpeg's WMA coders (wmav1, wmav2) do the
# opposite: what is decoded begins 512 samples, 32 ms, within the sound, and nothing can bring them back. The first decoded frame
# says that it belongs at 64 ms. MP3 through the same calls comes back from its first sample on. Seen, for a second of noise:
#
#     wmav2:      15872 of 16000 samples; the first one decoded is number 512; the first frame is said to begin at 0.064 s
#     wmav1:      15872 of 16000 samples; the first one decoded is number 512; the first frame is said to begin at 0.064 s
#     libmp3lame: 16000 of 16000 samples; the first one decoded is number 0; the first frame is said to begin at 0.069 s
#
# Exit status: 0 where it is still so, 1 where it is not.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 av==18.1.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

import av
import numpy as np

RATE = 16_000
noise = np.random.default_rng(0).standard_normal(RATE + 3)
SOUND = (0.2 * np.convolve(noise, np.ones(4) / 4, "valid")).astype(np.float32)  # without the highest frequencies


def written_and_read(codec: str, container: str) -> tuple[np.ndarray, float]:
    """The samples that come back, and the time that the first frame has."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=RATE, layout="mono")
        stream.bit_rate = 128_000
        stream.codec_context.open()
        cutter = av.AudioResampler(stream.format, "mono", RATE, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(SOUND[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for part in (*cutter.resample(frame), *cutter.resample(None), None):
            output.mux(stream.encode(part))
    file.seek(0)
    with av.open(file) as source:
        frames = list(source.decode(audio=0))
    return np.concatenate([frame.to_ndarray().ravel() for frame in frames]).astype(float), frames[0].time


seen = {}
for codec, container in (("wmav2", "asf"), ("wmav1", "asf"), ("libmp3lame", "mp3")):
    samples, time = written_and_read(codec, container)
    piece = SOUND[6000:9000].astype(float)
    found = int(np.correlate(samples[: 6000 + 4 * 3000], piece, "valid").argmax())
    seen[codec] = 6000 - found
    print(
        f"{codec + ':':<11} {len(samples)} of {RATE} samples; the first one decoded is number {seen[codec]}; "
        f"the first frame is said to begin at {time:.3f} s"
    )
sys.exit(0 if seen == {"wmav2": 512, "wmav1": 512, "libmp3lame": 0} else 1)
PYTHON
