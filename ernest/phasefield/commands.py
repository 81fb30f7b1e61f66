"""The run behind the command `ernest phasefield run`."""

from ernest.phasefield.scenes import run_scene as run

__all__ = ["run"]
