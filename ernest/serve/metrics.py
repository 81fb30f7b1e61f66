"""Counts what the server does, as text for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, of the histograms of times."""

Labels = tuple[tuple[str, str], ...]


@dataclass
class Histogram:
    """How many times lie below each of `BOUNDS` and above the one before, and the sum of all."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Metrics:
    """Counters, gauges and histograms by name and labels; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counters: dict[tuple[str, Labels], float] = {}
        self._gauges: dict[tuple[str, Labels], float] = {}
        self._times: dict[tuple[str, Labels], Histogram] = {}

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        key = name, _labels(labels)
        with self._lock:
            self._counters[key] = self._counters.get(key, 0) + by

    def show(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        with self._lock:
            self._gauges[name, _labels(labels)] = value

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """Adds to a histogram."""
        with self._lock:
            self._times.setdefault((name, _labels(labels)), Histogram()).add(seconds)

    def value(self, name: str, **labels: str) -> float:
        """Of a gauge or a counter; 0 for one that was never set."""
        key = name, _labels(labels)
        with self._lock:
            return self._gauges.get(key, self._counters.get(key, 0))

    def text(self) -> str:
        """All of them in Prometheus's text format, 0.0.4."""
        with self._lock:
            lines = [*_series("counter", self._counters), *_series("gauge", self._gauges), *_histograms(self._times)]
        return "\n".join([*lines, ""])


HELP = {
    "ernest_requests_total": "Requests by endpoint and status.",
    "ernest_request_seconds": "Time from a request to the end of its answer.",
    "ernest_answers_total": "Answers by kind and by what ended them.",
    "ernest_answer_seconds": "Time from the queue to the end of an answer, by kind.",
    "ernest_groups_total": "Groups that the model chose: tokens, scales of pictures, frames of sound.",
    "ernest_steps_total": "Steps of the engine.",
    "ernest_step_seconds_total": "Time in the engine's steps; groups a second are the groups over this.",
    "ernest_queue": "Answers that wait for a row.",
    "ernest_rows": "Answers under way, the batch of a step.",
    "ernest_cache_bytes": "Keys and values that are held.",
    "ernest_ready": "1 once the checkpoints are loaded.",
    "ernest_faults_total": "Steps that failed, whose answers were given up.",
}
"""What every series means."""


def _labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _head(name: str, kind: str) -> list[str]:
    return [f"# HELP {name} {HELP.get(name, name)}", f"# TYPE {name} {kind}"]


def _series(kind: str, values: Mapping[tuple[str, Labels], float]) -> list[str]:
    lines: list[str] = []
    for name in sorted({name for name, _ in values}):
        lines += _head(name, kind)
        lines += [
            f"{name}{_braces(labels)} {_exact(value)}" for (other, labels), value in sorted(values.items()) if other == name
        ]
    return lines


def _histograms(times: Mapping[tuple[str, Labels], Histogram]) -> list[str]:
    lines: list[str] = []
    for name in sorted({name for name, _ in times}):
        lines += _head(name, "histogram")
        for (other, labels), one in sorted(times.items(), key=lambda item: item[0]):
            if other == name:
                lines += _buckets(name, labels, one)
    return lines


def _buckets(name: str, labels: Labels, one: Histogram) -> Iterable[str]:
    so_far = 0
    for bound, count in zip((*(f"{bound:g}" for bound in BOUNDS), "+Inf"), one.counts, strict=True):
        so_far += count
        yield f"{name}_bucket{_braces((*labels, ('le', bound)))} {so_far}"
    yield f"{name}_sum{_braces(labels)} {_exact(one.total)}"
    yield f"{name}_count{_braces(labels)} {so_far}"


def _exact(value: float) -> str:
    """With all digits: of a counter that is rounded, nobody can tell the rate."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _braces(labels: Labels) -> str:
    written = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{','.join(written)}}}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
