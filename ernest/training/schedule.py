"""The schedules of a run: learning rate, speed of the experts' balance, loss weight of the token after next."""

import math
from dataclasses import dataclass

from ernest.config.tables import TrainingConfig


@dataclass(frozen=True)
class ScheduleValues:
    """The scheduled values of one step."""

    learning_rate: float
    bias_speed: float
    mtp_weight: float


def schedule_values(step: int, config: TrainingConfig) -> ScheduleValues:
    """Linear from 0 over the warm-up and constant to the border; in mid-training a cosine to the final share (ERNIE 5.0 §3.2).

    There the balance bias moves ten times slower, which calms its oscillation, and the token after next counts a third. How rows
    grow stands in `ernest.config.stages`.
    """
    warmup = min(config.warmup, config.steps // 4)
    decay, late = config.steps - config.border, step - config.border
    if step < warmup:
        return ScheduleValues(config.learning_rate * (step + 1) / warmup, config.bias_speed, config.mtp_weight)
    if late < 0:
        return ScheduleValues(config.learning_rate, config.bias_speed, config.mtp_weight)
    share = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * (late + 1) / decay))
    return ScheduleValues(config.learning_rate * share, config.bias_speed / 10, config.mtp_weight / 3)
