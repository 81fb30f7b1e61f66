"""Sizes of pictures, videos and sounds, written once: whatever reads, makes or tokenises media takes them from here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MediaSpec:
    """The sizes and rates to which every picture, video and sound is brought."""

    size: int = 32
    """Pixels on a side of a picture, and of each frame of a video."""
    frames: int = 9
    """Frames of a video, where a record says nothing else."""
    sample_rate: int = 8000
    """Samples per second of a sound, in one channel."""
    longest_sound: float = 8.0
    """Seconds. A longer sound is refused and not cut, since its caption speaks of all of it."""
    longest_answer: float = 2.08
    """Seconds of sound that the model makes at most."""
    longest_text: int = 48
    """Tokens of a text that the model makes at most."""
