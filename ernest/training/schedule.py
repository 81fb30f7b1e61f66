"""What changes over a run: learning rate, balance speed, weight of the token after next."""

import math
from dataclasses import dataclass

MAY_CHANGE = ("processes", "save_every", "show_every", "tensorboard")
"""Fields with which a run may go on differently: they change none of its numbers."""


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser and schedule of one run."""

    steps: int = 550
    learning_rate: float = 2e-3
    final_share: float = 0.05
    """Learning rate of the last step as a share of the peak."""
    warmup: int = 40
    decay_share: float = 0.4
    """Share of the steps in which the rate falls."""
    weight_decay: float = 0.05
    clip: float = 1.0
    bias_speed: float = 2e-3
    future_weight: float = 0.3
    bf16: bool | None = None
    """Trunk in half precision; where nothing is said, it is used where the processor has it."""
    processes: int = 0
    """Data-parallel processes of one thread each; 0 takes one per core, up to the rows of a step."""
    save_every: int = 100
    show_every: int = 100
    """Steps between looks at what the model can do so far; 0 is never."""
    tensorboard: bool = False
    """Also write the metrics for TensorBoard, which comes with the extra of that name."""

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "save_every": 1, "warmup": 0, "processes": 0, "show_every": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"training.{name} = {getattr(self, name)} must be at least {least}")
        for name in ("learning_rate", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"training.{name} = {getattr(self, name)} must be more than 0")
        for name in ("final_share", "decay_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"training.{name} = {getattr(self, name)} must lie between 0 and 1")


@dataclass(frozen=True)
class Rates:
    learning_rate: float
    bias_speed: float
    future_weight: float


def rates(step: int, config: TrainingConfig) -> Rates:
    """Warm-up, stable, decay: linear from 0 over the warm-up, constant, then a cosine to the final share (ERNIE 5.0 §3.2).

    In the decay the balance bias moves ten times slower, which calms its oscillation, and the token after next counts a third.
    """
    warmup = min(config.warmup, config.steps // 4)
    decay = round(config.steps * config.decay_share)
    late = step - (config.steps - decay)
    if step < warmup:
        return Rates(config.learning_rate * (step + 1) / warmup, config.bias_speed, config.future_weight)
    if late < 0:
        return Rates(config.learning_rate, config.bias_speed, config.future_weight)
    share = config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * (late + 1) / decay))
    return Rates(config.learning_rate * share, config.bias_speed / 10, config.future_weight / 3)
