"""Everything that a run of reinforcement learning can set: defaults here, differences in TOML, overrides beside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ernest.config.submodel_size import SubModelSize
from ernest.overrides import build, check_least, check_positive, read_tree

Method = Literal["GRPO", "GRPO+IcePop", "GSPO", "GSPO+IcePop", "MISC"]
Normaliser = Literal["element", "group", "segment"]
Order = Literal["synchronous", "finish order", "drop and refill", "windowed", "in order", "U-RB"]
Worker = Literal["none", "process", "ray"]

BOUNDS: dict[Method, tuple[float, float]] = {"GRPO+IcePop": (0.5, 5.0), "GSPO+IcePop": (0.98, 1.02), "MISC": (0.5, 5.0)}
"""Of M(k) where a recipe names none; the mean over a response stays so near 1 that the bounds of single units never hold it."""
CLIPS = {"GRPO": (0.2, 0.28), "GRPO+IcePop": (0.2, 0.28)}
SEQUENCE_CLIP = (3e-4, 4e-4)
"""Of s_i, which is a mean as well."""


@dataclass(frozen=True)
class TaskConfig:
    """A direction of the world that is trained: its share of the prompts, who judges, and how responses are sampled."""

    task: str
    verifiers: tuple[str, ...]
    """All of them must pass. One with a colon is the user's own: `module:function`, `file.py:function` or `http://...`."""
    watched: tuple[str, ...] = ()
    """Verifiers whose word is logged and rewards nothing."""
    share: float = 1.0
    begin: int = 0
    """The update at whose turn its first prompts come: tasks that begin together are a stage, and shares are those of a stage."""
    pool: int = 0
    """How many prompts there are, which come up again and again; 0 draws new ones for ever."""
    reward: Literal["passed", "score"] = "passed"
    temperature: float = 1.0
    first_frame_temperature: float | None = None
    top_p: float = 1.0
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not self.verifiers:
            raise ValueError(f"tasks: {self.task}: name at least one of its verifiers")
        if self.share <= 0:
            raise ValueError(f"tasks: {self.task}: share = {self.share} must be more than 0")
        for name in ("begin", "pool"):
            if getattr(self, name) < 0:
                raise ValueError(f"tasks: {self.task}: {name} = {getattr(self, name)} must be at least 0")


@dataclass(frozen=True)
class VerifyingConfig:
    """How long a user's own verifiers may take, and what a verdict that failed counts as."""

    timeout: float = 10.0
    """Seconds of one call."""
    retries: int = 2
    """How often an endpoint is asked again that does not answer."""
    at_once: int = 8
    """Verdicts that are asked of an endpoint at the same time."""
    failure: Literal["left out", "zero"] = "left out"
    """Left out, the response teaches nothing and its group is compared without it; "zero", it counts as one that did not pass."""

    def __post_init__(self) -> None:
        check_positive(self, "verifying", "timeout")
        check_least(self, "verifying", retries=0, at_once=1)


@dataclass(frozen=True)
class HintConfig:
    """Hints for prompts that no answer passes: how much of the true answer is given at first, and how that falls."""

    share: float = 0.0
    """Of the true answer's groups, of a prompt that has just turned out to be hard; 0 gives no hints."""
    decay: float = 1.0
    """The hint falls by exp(-decay) with a turn at which all answers pass, and by a share of it with one at which some do."""
    floor: float = 0.05
    """The least pass rate that a turn counts as, so that hints end where nothing passes even so."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"hints.share = {self.share} must lie from 0 to below 1")
        check_positive(self, "hints", "decay", "floor")
        if self.floor > 1:
            raise ValueError(f"hints.floor = {self.floor} must lie between 0 and 1")
        if not self.share and (self.decay, self.floor) != (1.0, 0.05):
            raise ValueError("hints: decay and floor need a share of more than 0")


@dataclass(frozen=True)
class RolloutConfig:
    """How many responses an update is made of, and in which order they are taken."""

    prompts: int = 5
    samples: int = 12
    """Responses to each prompt, which are compared with each other."""
    order: Order = "synchronous"
    ahead: int = 1
    """Updates' worth of prompts that are under way at once; 1 is those of the update at hand."""
    rows: int = 0
    """Responses that are decoded at once; 0 is all that are under way."""
    overlap: bool = False
    """Whether the responses of the next update are made while one is taken, by weights that are one update older."""
    worker: Worker = "none"
    """Who makes them: this process, another one, or an actor of Ray; all of them make the same."""
    timeout: float = 3600.0
    """Seconds that another process, or an actor, may take for the responses of a phase, until it counts as one that hangs."""
    replay: bool = True
    """Whether the trainer takes the experts that ran in the sampler."""
    bf16: bool = False
    noise: float = 0.0
    """Standard deviation of noise on the weights of the sampler, as a share of each matrix's own: a mismatch to study."""

    def __post_init__(self) -> None:
        check_least(self, "rollout", prompts=1, samples=2, ahead=1, rows=0)
        check_positive(self, "rollout", "timeout")
        if self.order == "synchronous" and self.ahead > 1:
            raise ValueError(f"rollout.ahead = {self.ahead}: the synchronous order takes no prompts ahead; choose another order")
        if self.order != "synchronous" and self.ahead < 2:
            raise ValueError(f"rollout.ahead = {self.ahead}: the order {self.order!r} needs at least 2 updates' worth of prompts")
        if self.noise < 0:
            raise ValueError(f"rollout.noise = {self.noise} must not be negative")


@dataclass(frozen=True)
class ObjectiveConfig:
    """What is maximised. Bounds and clips that are not named are those of the method; what a method does not have is refused."""

    method: Method = "MISC"
    lowest: float | None = None
    highest: float | None = None
    """Bounds of the mismatch between sampler and trainer, beyond which a unit, or a response, is left out."""
    clip_low: float | None = None
    clip_high: float | None = None
    normaliser: Normaliser = "segment"
    unit: Literal["element", "group"] = "element"
    scale_weights: tuple[float, ...] = ()
    """Of the bits of each scale of a picture; none named are those of pre-training, which grow with the side. 0 leaves a scale
    untrained."""
    divide_by_spread: bool = True
    kl: float = 0.0
    """Weight of the divergence from the weights that the run began with."""
    wpsm_alpha: float = 0.0
    """How much of a well-learned response is left out: 0 nothing, 1 all."""
    wpsm_accuracy: float = 0.8
    wpsm_entropy: float = 0.3
    """As a share of the usual entropy."""
    wpsm_positive: bool = True
    """Whether only responses with a positive advantage count as well-learned."""

    def __post_init__(self) -> None:
        if self.method not in BOUNDS and (self.lowest, self.highest) != (None, None):
            raise ValueError(f"objective: {self.method} has no bounds of a mismatch: leave lowest and highest out")
        if self.bounds is not None and not 0 < self.bounds[0] <= 1 <= self.bounds[1]:
            raise ValueError(
                f"objective: the bounds {self.bounds[0]} and {self.bounds[1]} must hold 1 between them, and exceed 0"
            )
        low, high = self.clip
        if not (0 < low < 1 and high > 0):
            raise ValueError(f"objective: clip_low = {low} must lie in (0, 1), and clip_high = {high} be more than 0")
        if any(weight < 0 for weight in self.scale_weights) or (self.scale_weights and not any(self.scale_weights)):
            raise ValueError("objective.scale_weights: expected numbers from 0 on, and one of them more than 0")
        if self.kl < 0:
            raise ValueError(f"objective.kl = {self.kl} must not be negative")
        if not 0 <= self.wpsm_alpha <= 1:
            raise ValueError(f"objective.wpsm_alpha = {self.wpsm_alpha} must lie between 0 and 1")
        named = (self.wpsm_accuracy, self.wpsm_entropy, self.wpsm_positive)
        if not self.wpsm_alpha and named != (0.8, 0.3, True):
            raise ValueError("objective: wpsm_accuracy, wpsm_entropy and wpsm_positive need a wpsm_alpha of more than 0")

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of M(k), or None for a method without it."""
        if self.method not in BOUNDS:
            return None
        lowest, highest = BOUNDS[self.method]
        return lowest if self.lowest is None else self.lowest, highest if self.highest is None else self.highest

    @property
    def clip(self) -> tuple[float, float]:
        """How far the ratio counts below and above 1."""
        low, high = CLIPS.get(self.method, SEQUENCE_CLIP)
        return low if self.clip_low is None else self.clip_low, high if self.clip_high is None else self.clip_high

    @property
    def is_of_sequence(self) -> bool:
        """Whether the ratio is that of the whole response."""
        return not self.method.startswith("GRPO")


@dataclass(frozen=True)
class UpdateConfig:
    """Optimiser and schedule of one run."""

    steps: int = 50
    learning_rate: float = 1e-4
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    updates: int = 1
    """Steps of the optimiser on the responses of one iteration, each on a part of them."""
    positions: int = 3000
    """The most positions in one forward pass: smaller parts take less memory and give the same gradient."""
    bf16: bool | None = None
    save_every: int = 10
    assess_every: int = 0
    """Steps between looks at fresh draws; 0 is only before and after the run."""
    assess: int = 40
    """Fresh draws for every prompt of a look."""

    def __post_init__(self) -> None:
        check_least(self, "update", steps=1, warmup=0, updates=1, positions=1, save_every=1, assess_every=0, assess=0)
        check_positive(self, "update", "learning_rate", "clip")


@dataclass(frozen=True)
class RLRecipe:
    """One run of reinforcement learning. `trained` is the sub-model that learns, and `sampler` the one that samples."""

    tasks: tuple[TaskConfig, ...]
    seed: int = 0
    verifying: VerifyingConfig = field(default_factory=VerifyingConfig)
    hints: HintConfig = field(default_factory=HintConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    trained: SubModelSize = field(default_factory=SubModelSize)
    sampler: SubModelSize = field(default_factory=SubModelSize)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks: name at least one")
        if all(task.begin for task in self.tasks):
            raise ValueError("tasks: one of them must begin at the first update: leave its begin out")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must be at least 0")
        if self.update.updates > self.rollout.prompts * self.rollout.samples:
            raise ValueError(f"update.updates = {self.update.updates}: more than there are responses to a step")


def load_rl_recipe(path: Path, overrides: Sequence[str] = ()) -> RLRecipe:
    """The recipe of a TOML file with overrides such as `update.steps=20`.

    Raises ValueError that names the field for an unknown name or a value of the wrong type.
    """
    tree = read_tree(path, overrides)
    if not tree.get("tasks"):
        raise ValueError(f"{path}: tasks: name at least one")
    return build(RLRecipe, tree)
