"""How a run can end before its time: no step works, or somebody interrupts it. Both keep what was done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ernest.phasefield.solver.solution import Solution


class RunFailed(ArithmeticError):
    """No step length works. `path` holds the last good state, as a checkpoint."""

    def __init__(self, time: float, step: int, iteration: int, tau: float, path: Path) -> None:
        super().__init__(
            f"the run fails at time {time:.9g} in step {step}, iteration {iteration}: elements of every length down to {tau:.2e} "
            f"diverge or miss the tolerance; the last good state is in {path}"
        )
        self.time, self.step, self.iteration, self.tau, self.path = time, step, iteration, tau, path


class RunInterrupted(KeyboardInterrupt):
    """The run was interrupted, by Ctrl-C as a rule. `solution` is what it had done, and `path` its checkpoint, if it has one."""

    def __init__(self, solution: Solution, t1: float, path: Path | None) -> None:
        onwards = "" if path is None else f"; with resume=True it goes on from {path}"
        super().__init__(f"the run was interrupted at time {solution.times[-1]:.9g} of {t1:.9g}{onwards}")
        self.solution, self.path = solution, path


@contextmanager
def rescue(interrupted: Callable[[], RunInterrupted | None], save_aside: Callable[[], Path]) -> Iterator[None]:
    """Raises what `interrupted` returns in place of an interruption, if anything was done.

    Any other error, as one of a function of the user, gets a note that says where the last good state is: in the checkpoint, or
    where `save_aside` has put it.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        done = interrupted()
        if done is None:
            raise
        raise done from stop
    except RunFailed:
        raise
    except Exception as error:
        with suppress(OSError):
            done = interrupted()
            if done is not None:
                reached = f"{done.solution.times[-1]:.9g}"
                error.add_note(f"the last good state of the run, at time {reached}, is in {done.path or save_aside()}")
        raise
