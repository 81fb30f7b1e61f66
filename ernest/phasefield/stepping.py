"""The marching loop, and what schemes and the loop tell each other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ernest.phasefield.element import Element, Time
from ernest.phasefield.flows import Flow, check_flow
from ernest.phasefield.grid import Space


@dataclass(frozen=True)
class State:
    """All that a scheme needs to go on, so all that a checkpoint has to keep: tensors and numbers.

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
    def remembers(self) -> bool:
        """Whether there is a history."""
        return self.history is not None


@dataclass(frozen=True)
class StepFacts:
    """What a step took. `iterations` counts the sweeps (2p FFTs each, with p nodes on the full grid).

    `differences` holds, for each sweep after the first, by how much it moved the end of the element (root of the mean
    square over the box, the greatest of the batch); `contraction` is the ratio of the last two, None where there are
    less than two.
    """

    iterations: int
    differences: tuple[float, ...] = ()

    @property
    def contraction(self) -> float | None:
        if len(self.differences) < 2:
            return None
        return self.differences[-1] / self.differences[-2] if self.differences[-2] > 0 else 0.0


class DivergenceError(RuntimeError):
    """An iteration that does not converge: a shorter step may help."""

    def __init__(self, time: Time, tau: Time, iteration: int, change: float) -> None:
        super().__init__(f"no convergence at time {time} with step {tau}: the change is {change:.2e} in iteration {iteration}")
        self.time, self.tau, self.iteration, self.change = time, tau, iteration, change


class Stepper(Protocol):
    """A scheme made ready for one flow, grid, precision and device. Steps never change a state: any may be repeated."""

    def begin(self, start: Tensor, time: Time = 0.0) -> State:
        """The state of fields `[..., *points]`."""
        ...

    def advance(self, state: State, tau: Time) -> tuple[State, Element, StepFacts]:
        """One element of length `tau`. Raises ValueError for a length that is not positive, DivergenceError from iterations."""
        ...


class Scheme(Protocol):
    """The parameters of a method; `like` is a field whose shape, precision and device the stepper is made for."""

    def stepper(self, flow: Flow, grid: Space, like: Tensor) -> Stepper: ...


def march(flow: Flow, grid: Space, start: Tensor, steps: Iterable[Time], scheme: Scheme) -> Iterator[Element]:
    """One `Element` after the other, from the fields `start` `[..., *points]`, in their precision and on their device.

    `steps` holds the lengths of the elements: numbers, or, where the scheme allows it, tensors `[batch]` with one length
    for each field. Raises ValueError for fields and flows that do not fit the grid, and for lengths that are not positive.
    """
    check_flow(flow, grid, start)
    return elements(scheme.stepper(flow, grid, start), start, steps)


def elements(stepper: Stepper, start: Tensor, steps: Iterable[Time]) -> Iterator[Element]:
    """The elements that a stepper makes of fields that it was made for."""
    state = stepper.begin(start)
    for tau in steps:
        state, element, _ = stepper.advance(state, tau)
        yield element
