"""Responses that have ended and been judged, and what is known of them before an update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernest.rl.rollout import Response
from ernest.rl.tasks import Trained
from ernest.sequence.record import Record, Segment
from ernest.verifiers.verdict import Verdict


@dataclass(frozen=True, eq=False)
class Finished:
    """A response that an update takes, with its output, what the verifiers say of it, and what those say that reward nothing."""

    number: int
    task: Trained
    prompt: Record
    response: Response
    output: Sequence[Segment]
    verdict: Verdict | None
    watched: Mapping[str, Verdict]


def reward(one: Finished) -> float:
    """What a response that was judged is compared by."""
    assert one.verdict is not None
    return float(one.verdict.passed) if one.task.config.reward == "passed" else one.verdict.score


def facts_of(finished: Sequence[Finished], tasks: Sequence[Trained]) -> dict[str, float]:
    """Means over the responses of a step, and over those of each task; of what several tasks have, over those of all of them."""
    known = [one for one in finished if one.verdict is not None]
    hinted = [one for one in known if one.response.ask.hint]
    facts = {
        "reward": mean([reward(one) for one in known]),
        "passed": _passed(known),
        "truncated": mean([one.response.end == "length" for one in finished]),
        "groups": mean([one.response.length for one in finished]),
    }
    if hinted:
        facts["hinted"] = len(hinted) / len(known)
        facts["hint groups"] = mean([len(one.response.ask.hint) for one in hinted])
        facts["passed hinted"] = _passed(hinted)
        facts["passed unhinted"] = _passed([one for one in known if not one.response.ask.hint])
    for task in tasks:
        own = [one for one in known if one.task is task]
        if own and len(tasks) > 1:
            facts[f"passed {task.name}"] = _passed(own)
    for name in dict.fromkeys(name for task in tasks for name in task.watched):
        facts[f"watched {name}"] = mean([one.watched[name].passed for one in known if name in one.watched])
    parts = [(one.task.name, one.verdict.parts) for one in known if one.verdict]
    for name in dict.fromkeys(name for _, some in parts for name in some):
        having = {task for task, some in parts if name in some}
        facts[f"part {name}"] = mean([some.get(name, 0.0) for task, some in parts if task in having])
    return facts


def _passed(some: Sequence[Finished]) -> float:
    return mean([one.verdict.passed for one in some if one.verdict])


def mean(values: Sequence[float]) -> float:
    """0 of nothing."""
    return float(np.mean(values)) if len(values) else 0.0
