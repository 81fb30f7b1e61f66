"""The stepping loop `march`, and the interface of schemes: `Scheme`, `Stepper`, `State`, `StepStats`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flow_terms import check_flow
from ernest.phasefield.flows import Flow
from ernest.phasefield.grid import Space


@dataclass(frozen=True)
class State:
    """State of a stepper between two steps: tensors and numbers, which a checkpoint can hold.

    `modes` `[..., *mode_shape]` are those of u at `time`; `history` `[..., rows, *mode_shape]` are the rows that the
    scheme predicts from, oldest first, or None; `taus` the lengths of the elements that the rows belong to, oldest
    first; `count` the number of elements done.
    """

    time: Time
    modes: Tensor
    history: Tensor | None = None
    taus: tuple[Time, ...] = ()
    count: int = 0

    @property
    def has_history(self) -> bool:
        """Whether there is a history; cheaper than asking for it."""
        return self.history is not None


@dataclass(frozen=True)
class StepStats:
    """Cost and convergence of one step. `iterations` counts the sweeps (2p FFTs each, with p nodes on the full grid).

    `differences` holds, for each sweep after the first, by how much it moved the end of the element (root of the mean
    square over the box, the greatest of the batch); `contraction` is the ratio of the last two, None where there are
    less than two. Where sweeps miss a part of the field their differences do not tell all: then `unsettled` gives the modes of
    N(u) - N at a node of the element, N being what its equations were solved with.
    """

    iterations: int
    differences: tuple[float, ...] = ()
    unsettled: Callable[[], Tensor] | None = field(default=None, compare=False)

    @property
    def contraction(self) -> float | None:
        if len(self.differences) < 2:
            return None
        return self.differences[-1] / self.differences[-2] if self.differences[-2] > 0 else 0.0


class DivergenceError(RuntimeError):
    """Raised by an iteration that does not converge; a shorter step may help."""

    def __init__(self, time: Time, tau: Time, iteration: int, change: float) -> None:
        super().__init__(f"no convergence at time {time} with step {tau}: the change is {change:.2e} in iteration {iteration}")
        self.time, self.tau, self.iteration, self.change = time, tau, iteration, change


class Stepper(Protocol):
    """A scheme prepared for one flow, grid, precision and device. A step never changes the state, so it can be repeated."""

    def init(self, u0: Tensor, time: Time = 0.0) -> State:
        """The state of initial fields `u0` `[..., *points]`."""
        ...

    def step(self, state: State, tau: Time) -> tuple[State, Element, StepStats]:
        """One step of length `tau`: the state after it, its element and its cost.

        Raises ValueError for a length that is not positive, and DivergenceError from iterations.
        """
        ...


class Scheme(Protocol):
    """Parameters of a method. `stepper` prepares it for fields with the shape, precision and device of `like`."""

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> Stepper: ...


def march(flow: Flow, grid: Space, u0: Tensor, steps: Iterable[Time], scheme: Scheme) -> Iterator[Element]:
    """Takes the given steps from the fields `u0` `[..., *points]`, and yields the `Element` of each step.

    All is computed in the precision and on the device of u0.

    `steps` holds the lengths of the elements: numbers, or, where the scheme allows it, tensors `[batch]` with one length
    for each field. Raises ValueError for fields and flows that do not fit the grid, and for lengths that are not positive.
    """
    check_flow(flow, grid, u0)
    check_scheme(scheme)
    return elements(scheme.stepper(flow, grid, u0), u0, steps)


def check_scheme(scheme: object) -> None:
    """Raise ValueError for what is no scheme."""
    if isinstance(scheme, type) or not hasattr(scheme, "stepper"):
        raise ValueError(f"scheme: expected a scheme such as GaussSeidel(3, 4, 2), got {scheme!r}")


def check_steps(steps: object) -> None:
    """Raise ValueError for what are no lengths of steps, one after the other."""
    if not isinstance(steps, Iterable) or isinstance(steps, str) or getattr(steps, "ndim", 1) == 0:
        raise ValueError(f"steps: expected lengths, such as [0.1] * 10, got {steps!r}")


def elements(stepper: Stepper, u0: Tensor, steps: Iterable[Time]) -> Iterator[Element]:
    """Takes steps with a stepper from the fields `u0`, and yields the element of each step."""
    check_steps(steps)

    def taken() -> Iterator[Element]:
        state = stepper.init(u0)
        for tau in steps:
            state, element, _ = stepper.step(state, tau)
            yield element

    return taken()
