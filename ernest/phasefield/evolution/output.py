"""Elements of a run that their own stepper refines where it is asked for a time between their ends, and events in them."""

from typing import Any, Protocol

from ernest.phasefield.element import Element
from ernest.phasefield.solver.events import Event, EventOccurrence, find_events
from ernest.phasefield.solver.solution import DenseOutput


class Refiner(Protocol):
    """A stepper that knows a better polynomial through the ends of an element."""

    @property
    def grid(self) -> Any:
        """The grid, or the mesh, of the fields."""
        ...

    def refined(self, element: Element) -> Element:
        """The element, as exact between its ends as there."""
        ...


class RefinedOutput(DenseOutput):
    """The elements of a run, refined by their own stepper."""

    def __init__(self, stepper: Refiner, memory: float) -> None:
        super().__init__(stepper, memory)  # pyright: ignore[reportArgumentType]
        self._stepper = stepper

    def covering(self, time: float) -> Element:
        """The element that `time` lies in, as exact between its ends as there."""
        index = self._index(time)
        return self._refined.get(index, lambda: self._stepper.refined(self._element(index)))


def events_in(events: tuple[Event, ...], stepper: Refiner, element: Element) -> list[EventOccurrence]:
    """What happens in the element, at times as exact as its ends."""
    found = find_events(events, element)
    if not found:
        return found
    names = {each.name for each in found}
    return find_events([event for event in events if event.name in names], stepper.refined(element))


def is_terminal(events: tuple[Event, ...], name: str) -> bool:
    """Whether the event of this name ends the run."""
    return any(event.terminal and event.name == name for event in events)
