"""What one client may cost the others: sizes, counts and times, each with what it guards against."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The limits of one server; times are in seconds."""

    body: int = 32 << 20
    """Bytes of a request."""
    values: int = 32_768
    """Values, lists and objects of a request in JSON."""
    prompt: int = 16_384
    """Characters of all texts of a request; the model itself refuses more positions than its training had."""
    parts: int = 16
    """Pictures, films and sounds of a request."""
    samples: int = 10
    """Answers to one request."""
    queue: int = 256
    """Answers that are waited for at once, over all clients; more are told to come again."""
    rows: int = 64
    """Answers that are made at once; the rest of the queue waits."""
    connections: int = 1024
    """Requests that are open at once."""
    pixels: int = 64_000_000
    """Of all frames of a picture or film, decoded: a small file can hold a huge one."""
    head_seconds: float = 20.0
    """For a connection to say what it wants; for a body to arrive between two pieces of it."""
    body_seconds: float = 120.0
    """For a whole body to arrive."""
    read_seconds: float = 60.0
    """For a client to take what it was sent, before the connection is cut."""
    answer_seconds: float = 590.0
    """For an answer, waiting included: OpenAI's client gives up after 600."""
    silence_seconds: float = 15.0
    """Until a stream that has nothing to say says so."""
    drain_seconds: float = 30.0
    """For answers under way, when the server is told to end."""
    videos: int = 64
    """Jobs of `/v1/videos` that are kept."""
    video_seconds: float = 3600.0
    """For which a finished one is kept."""

    def __post_init__(self) -> None:
        for name in ("rows", "queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be at least 1")
