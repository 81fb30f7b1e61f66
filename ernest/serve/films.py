"""Jobs that make films: created, asked for, fetched and forgotten. They go on when their asker has gone."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ernest.config.media import MediaSpec
from ernest.serve import errors, media_out
from ernest.serve.limits import Limits
from ernest.serve.scheduler import Job

Status = Literal["queued", "in_progress", "completed", "failed"]
"""OpenAI's client takes any other word for success."""


@dataclass(eq=False)
class Film:
    """One job. `frames` uint8 `[frames, height, width, 3]` once it has been completed."""

    job: Job
    prompt: str
    factor: int
    media: MediaSpec
    id: str = field(default_factory=lambda: f"video_{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    completed: int | None = None
    status: Status = "queued"
    progress: int = 0
    error: dict[str, Any] | None = None
    frames: np.ndarray | None = None
    task: "asyncio.Task[None] | None" = None

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed")

    async def follow(self) -> None:
        """Notes what the model has done."""
        try:
            async for update in self.job.updates():
                self.status = "in_progress"
                if update.what == "picture":
                    self.progress = min(99, 100 * (update.frame + 1) // self.media.latents(self.media.frames))
                elif update.what == "end":
                    self.frames = update.made[0].data
                    self.status, self.progress = "completed", 100
        except errors.ApiError as error:
            self.status, self.error = "failed", {"code": error.code or "failed", "message": error.message}
        finally:
            self.completed = int(time.time())
            self.job.close()

    def facts(self, seconds_kept: float) -> dict[str, Any]:
        """As OpenAI shows a video."""
        expires = None if self.completed is None else self.completed + int(seconds_kept)
        return {
            "id": self.id,
            "object": "video",
            "model": str(self.job.work.model),
            "status": self.status,
            "progress": self.progress,
            "created_at": self.created,
            "completed_at": self.completed if self.status == "completed" else None,
            "expires_at": expires,
            "prompt": self.prompt,
            "seconds": "1",
            "size": media_out.shown_size(self.factor, self.media),
            "error": self.error,
            "remixed_from_video_id": None,
        }


class Films:
    """The jobs of a server, oldest first; only so many, and only for so long."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._films: dict[str, Film] = {}

    def make_room(self) -> None:
        """Forgets what is old. Raises ApiError where all places are taken by films that are still being made."""
        now = time.time()
        for film in list(self._films.values()):
            if film.completed is not None and film.completed + self.limits.video_seconds < now:
                del self._films[film.id]
        if len(self._films) >= self.limits.videos:
            over = next((film for film in self._films.values() if film.is_over), None)
            if over is None:
                raise errors.busy(5)
            del self._films[over.id]

    def add(self, film: Film) -> None:
        """Begins to follow it. Raises ApiError, and gives its work up, where others took the last place meanwhile."""
        try:
            self.make_room()
        except errors.ApiError:
            film.job.close()
            raise
        self._films[film.id] = film
        film.task = asyncio.create_task(film.follow())

    def find(self, number: str) -> Film:
        """Raises ApiError where there is none."""
        if number not in self._films:
            raise errors.ApiError(404, f"there is no video {number[:60]!r}", "video_id", "not_found")
        return self._films[number]

    def remove(self, film: Film) -> None:
        """Forgets it, and stops the work on it."""
        film.job.close()
        if film.task is not None:
            film.task.cancel()
        del self._films[film.id]

    def all(self) -> list[Film]:
        """Newest first."""
        return list(reversed(self._films.values()))
