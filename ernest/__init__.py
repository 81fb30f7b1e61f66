"""Ernest: one model over text, image, video and audio, with PP-LCNet as its eye and phase-field physics as its world."""

__version__ = "0.1.0"
