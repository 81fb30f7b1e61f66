"""Default sizes of the world's pictures, videos and collages; every maker takes others as an argument."""

from ernest.config.media import USUAL

SIZE = USUAL.height
"""Height and width of pictures and videos, in pixels."""
FRAMES = USUAL.frames
"""Frames of a video."""
COLLAGE_SIZE = 96
"""Height and width of collages, in pixels."""
BOX = 32.0
"""Side of the canvas in the units in which objects are placed and physics is solved: pixels, where `SIZE` is not changed."""
