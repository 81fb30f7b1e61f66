"""The interface of verifiers, which scores and rewards share: a record and an output in, a verdict out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from ernest.sequence.record import Kind, Record, Segment


@dataclass(frozen=True)
class Verdict:
    """`score` in [0, 1] is the share of `parts` that are correct, `passed` says whether all of it is.

    `parts` are what was checked, by name, each in [0, 1]; `reason` says what is wrong, and is empty where nothing is.
    """

    score: float
    passed: bool
    reason: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


Verifier = Callable[[Record, Sequence[Segment]], Verdict]
"""Judges an output, as segments of the kinds that the record makes, by the facts and the given segments of the record.

What the record itself makes is not looked at: an output may be correct in many ways.
"""


class VerifierFailed(Exception):
    """A verifier gave no verdict: it raised, hung, or answered what is none. The message is one line."""


def plain_verdict(value: object) -> Verdict:
    """`value` as a verdict of plain numbers, which those of numpy and torch become. Raises ValueError, one line, where it is
    none."""
    if not isinstance(value, Verdict):
        raise ValueError(f"expected a Verdict, got {value!r:.60}")
    passed = _single(value.passed)
    if not isinstance(passed, bool):
        raise ValueError(f"passed = {value.passed!r:.60} must be true or false")
    if not isinstance(value.parts, Mapping):
        raise ValueError(f"parts = {value.parts!r:.60} must be numbers by name")
    parts = {str(name): _share(f"part {name}", part) for name, part in value.parts.items()}
    return Verdict(_share("score", value.score), passed, str(value.reason), parts)


def _share(name: str, value: Any) -> float:
    number = _single(value)
    if not isinstance(number, Real):
        raise ValueError(f"{name} = {value!r:.60} must be a number between 0 and 1")
    if not 0 <= float(number) <= 1:
        raise ValueError(f"{name} = {value!r:.60} must lie between 0 and 1")
    return float(number)


def _single(value: Any) -> Any:
    """The one number of an array or a tensor that has one, as Python's; anything else as it is."""
    try:
        return value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return value


def one_line(error: BaseException) -> str:
    """An error as one short line: its kind, but of an own error, and the first line of what it says."""
    said = (str(error).splitlines() or [""])[0][:200]
    if isinstance(error, ValueError | VerifierFailed) and said:
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def compare(expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Verdict:
    """The verdict on the `actual` value of each name, against the `expected` one."""
    parts = {name: float(actual.get(name) == value) for name, value in expected.items()}
    wrong = [f"{name}: expected {expected[name]!r}, found {actual.get(name)!r}" for name, part in parts.items() if not part]
    return Verdict(sum(parts.values()) / len(parts), not wrong, "; ".join(wrong), parts)


def all_pass(*verifiers: Verifier) -> Verifier:
    """A verifier that passes what all of `verifiers` pass, with the parts of each; each score counts as much as it has parts."""

    def verify(record: Record, output: Sequence[Segment]) -> Verdict:
        verdicts = [verifier(record, output) for verifier in verifiers]
        parts = {name: part for verdict in verdicts for name, part in verdict.parts.items()}
        reasons = dict.fromkeys(verdict.reason for verdict in verdicts if verdict.reason)
        passed = all(verdict.passed for verdict in verdicts)
        weights = [max(1, len(verdict.parts)) for verdict in verdicts]
        score = sum(weight * verdict.score for weight, verdict in zip(weights, verdicts, strict=True)) / sum(weights)
        return Verdict(score, passed, "; ".join(reasons), parts)

    return verify


def fact(record: Record, name: str) -> Any:
    """What a record says of itself. Raises ValueError, which names it, where it says nothing: it cannot be judged by that."""
    if name not in record.facts:
        raise ValueError(f"a record of the task {record.task!r} has no fact {name!r}, by which it is to be judged")
    return record.facts[name]


def content(output: Sequence[Segment], kind: Kind) -> Any:
    """The data of an output of one segment of `kind`; None of any other output, and of one of no segment."""
    return output[0].data if len(output) == 1 and output[0].kind == kind else None


def given_text(record: Record) -> str:
    """The words of a record that are given, such as its question."""
    return " ".join(segment.data for segment in record.segments if segment.kind == "text" and not segment.made)
