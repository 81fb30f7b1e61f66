"""Sizes and rates of pictures, videos and sounds, written once: whatever reads, makes or tokenises media takes them from here."""

import json
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

from ernest.overrides import build

CELL = 8
"""Pixels on a side of what becomes one cell of the finest scale, and of what is merged to one position when it is given."""
BITS = 16
"""Bits of a cell of each scale of a made frame."""
CLIP = 4
"""Frames of a given video that are merged to one position, after the first."""
STRIDES = (1, 2, 4)
"""Frames of a made video that one latent can stand for."""
MOST_FRAMES = 33
"""Of a video."""
LARGEST = 256
"""Pixels on a side of a frame, at most."""
SAMPLE_RATES = (8000, 16000, 24000)
"""Samples per second that a sound can have."""
LONGEST_SOUND = 30.0
"""Seconds of a sound, at most."""
CODE_RATE = 12.5
"""Frames of codes per second of a sound, at every sample rate."""


def latent_count(frames: int, stride: int) -> int:
    """Latents of a film of so many frames; one that ends within a group is filled up with its last frame."""
    return 1 + ceil((frames - 1) / stride)


@dataclass(frozen=True)
class MediaSpec:
    """The sizes and rates to which every picture, video and sound of a run is brought. What follows from them is a property."""

    height: int = 32
    """Pixels of a picture, and of each frame of a video, from top to bottom. A picture is fitted in whole; the bars are white."""
    width: int = 32
    """And from left to right."""
    frames: int = 9
    """Frames of a video, where a record says nothing else: 1, and then a multiple of 4."""
    frame_rate: float | None = None
    """Frames per second of a video: a longer one is cut, a shorter one ends with its last frame again. Nothing: its frames are
    spread over the whole of it, however long it is."""
    sample_rate: int = 8000
    """Samples per second of a sound, in one channel: 8000, 16000 or 24000."""
    longest_sound: float = 8.0
    """Seconds. A longer sound is refused and not cut, since its caption speaks of all of it."""
    longest_answer: float = 2.08
    """Seconds of sound that the model makes at most."""
    longest_text: int = 48
    """Tokens of a text that the model makes at most."""
    temporal_stride: int = 1
    """Frames of a video, behind its first, that the model makes at once, by one latent: 1, 2 or 4."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            nearest = _multiple(getattr(self, name), CELL, CELL, LARGEST)
            _check(name, getattr(self, name), nearest, f"a multiple of {CELL}, from {CELL} to {LARGEST}")
        frames = 1 + _multiple(self.frames - 1, CLIP, 0, MOST_FRAMES - 1)
        _check("frames", self.frames, frames, f"1 and a multiple of {CLIP}, to {MOST_FRAMES} in all")
        stride = min(STRIDES, key=lambda one: abs(one - self.temporal_stride))
        _check("temporal_stride", self.temporal_stride, stride, f"one of {', '.join(map(str, STRIDES))}")
        rate = min(SAMPLE_RATES, key=lambda one: abs(one - self.sample_rate))
        _check("sample_rate", self.sample_rate, rate, f"one of {', '.join(map(str, SAMPLE_RATES))}")
        if self.frame_rate is not None:
            _check("frame_rate", self.frame_rate, min(max(self.frame_rate, 0.1), 1000.0), "from 0.1 to 1000 a second")
        least = 1 / CODE_RATE
        longest = min(max(self.longest_sound, least), LONGEST_SOUND)
        _check("longest_sound", self.longest_sound, longest, f"from {least:g} to {LONGEST_SOUND:g} seconds")
        answer = min(max(self.longest_answer, least), LONGEST_SOUND)
        _check("longest_answer", self.longest_answer, answer, f"from {least:g} to {LONGEST_SOUND:g} seconds")
        _check("longest_text", self.longest_text, max(self.longest_text, 1), "at least 1 token")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        return self.height, self.width

    @property
    def scales(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the cells of a made frame, from a single cell to one for every 8 x 8 pixels."""
        return scales_of(self.size)

    @property
    def cells(self) -> int:
        """Cells of a made frame, which is also the number of positions that it takes."""
        return sum(rows * columns for rows, columns in self.scales)

    @property
    def merged_grid(self) -> tuple[int, int]:
        """Rows and columns of the positions of a given frame, or of a clip of four."""
        return self.height // CELL, self.width // CELL

    def latents(self, frames: int) -> int:
        """Latents of a made picture (one frame) or video: one for the first frame, and one for every `temporal_stride` then."""
        return latent_count(frames, self.temporal_stride)

    def made_positions(self, frames: int) -> int:
        """Positions of a made picture (one frame) or video, with its two control tokens."""
        return self.latents(frames) * self.cells + 2

    def given_positions(self, frames: int) -> int:
        """Positions of a given picture or video, with its three control tokens."""
        rows, columns = self.merged_grid
        return (1 + ceil((frames - 1) / CLIP)) * rows * columns + 3

    def sound_positions(self, seconds: float) -> int:
        """Positions of a sound, given or made, with its begin and its end."""
        return ceil(round(seconds * CODE_RATE, 6)) + 2  # 0.56 s are 7 frames and not a hair more

    def __str__(self) -> str:
        pace = f"at {self.frame_rate:g} a second" if self.frame_rate else "spread over each video"
        if self.temporal_stride > 1:
            pace += f", made as 1 and then {self.temporal_stride} at once"
        scales = ", ".join(f"{rows}x{columns}" for rows, columns in self.scales)
        made, given, heard = self.made_positions, self.given_positions, self.sound_positions
        return (
            f"pictures of {self.height} x {self.width} pixels in scales of {scales} cells: {made(1)} positions made, {given(1)} "
            f"given; videos of {self.frames} frames {pace}: {made(self.frames)} made, {given(self.frames)} given; "
            f"sounds at {self.sample_rate / 1000:g} kHz up to {self.longest_sound:g} s: {heard(self.longest_sound)} positions, "
            f"{heard(self.longest_answer)} of the longest made"
        )


FILE = "media.json"
"""The file in which a folder of tokenizers or of records names the sizes and rates of its media."""


def to_json(spec: MediaSpec) -> str:
    """The content of `FILE`."""
    return json.dumps(asdict(spec), indent=1)


def read_media(folder: Path) -> MediaSpec:
    """The sizes and rates that `folder` names. Raises ValueError, naming the file, where it is damaged."""
    if not (folder / FILE).is_file():
        return USUAL
    try:
        return build(MediaSpec, json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / FILE}: damaged: {error}") from error


def scales_of(size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Rows and columns of the scales of frames of a size: half as many, rounded up, from each to the one before it."""
    rows, columns = size[0] // CELL, size[1] // CELL
    scales = [(rows, columns)]
    while scales[0] != (1, 1):
        scales.insert(0, (ceil(scales[0][0] / 2), ceil(scales[0][1] / 2)))
    return tuple(scales)


def written_differently(made_for: MediaSpec, wanted: MediaSpec, kind: str) -> tuple[str, str, str] | None:
    """How stored media of a `kind` differ from what is wanted: what they are, what is wanted, and the settings that suit them;
    None where they do not."""
    names = {"image": ("height", "width"), "video": ("height", "width", "frame_rate"), "audio": ("sample_rate",)}[kind]
    if all(getattr(made_for, name) == getattr(wanted, name) for name in names):
        return None
    settings = " ".join(f"media.{name}={'null' if (v := getattr(made_for, name)) is None else f'{v:g}'}" for name in names)
    return _told(made_for, kind), _told(wanted, kind), settings


def _told(spec: MediaSpec, kind: str) -> str:
    if kind == "audio":
        return f"{spec.sample_rate} samples a second"
    pace = "" if kind == "image" or spec.frame_rate is None else f" at {spec.frame_rate:g} frames a second"
    return f"{spec.height} x {spec.width} pixels{pace}"


def _multiple(value: int, step: int, least: int, most: int) -> int:
    """The multiple of `step` nearest to a value, from `least` to `most`."""
    return min(max(round(value / step) * step, least), most)


def _check(name: str, value: float, nearest: float, right: str) -> None:
    if value != nearest:
        raise ValueError(f"media.{name} = {value:g}: expected {right}; the nearest is {nearest:g}")


USUAL = MediaSpec()
"""The sizes and rates of the demo, and of a folder that names none."""
