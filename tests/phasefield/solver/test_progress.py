"""How far a run is: told by a line now and then in a log, by one line in a notebook, or to a function of the user's."""

import io
import sys

import pytest

from ernest.phasefield import AllenCahn, Grid, StepRecord, initial_conditions, solve
from ernest.phasefield.solver import progress
from ernest.phasefield.solver.progress import progress_bar


def records(count: int) -> list[StepRecord]:
    return [StepRecord(time=(i + 1) / count, tau=1 / count, energy=[1.0, 2.0], mass=0.0, largest=1.0) for i in range(count)]


def shown(monkeypatch, stream: io.StringIO, seconds_a_step: float, steps: int) -> str:
    now = [100.0]
    monkeypatch.setattr(progress.clock, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(True, 0.0, 1.0) as show:
        for record in records(steps):
            now[0] += seconds_a_step
            show(record)
    return stream.getvalue()


def test_a_log_gets_a_line_every_few_seconds_and_fewer_in_a_long_run(monkeypatch):
    lines = shown(monkeypatch, io.StringIO(), 1.0, 20).splitlines()
    assert lines == [
        "25.0% of t = 1, step 5: t 0.25  τ 5.00e-02  energy 2, about 15 s left",
        "50.0% of t = 1, step 10: t 0.5  τ 5.00e-02  energy 2, about 10 s left",
        "75.0% of t = 1, step 15: t 0.75  τ 5.00e-02  energy 2, about 5 s left",
        "100.0% of t = 1, step 20: t 1  τ 5.00e-02  energy 2, about 0 s left",
    ]
    assert shown(monkeypatch, io.StringIO(), 0.1, 20) == ""  # a short run says nothing
    day = shown(monkeypatch, io.StringIO(), 1.0, 86_400).splitlines()
    assert len(day) < 500
    assert day[0].endswith("left")
    assert " h left" in day[0]


def test_what_there_is_to_tell_first_is_a_line(capfd):
    with progress_bar(True, 0.0, 1.0, "compiling"):
        pass
    with progress_bar(False, 0.0, 1.0, "compiling"):
        pass
    assert capfd.readouterr().err == "compiling\n"


def test_a_notebook_gets_one_line_that_is_renewed(monkeypatch):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    written = shown(monkeypatch, stream, 0.5, 4)
    assert written.count("\r") == 4
    assert written.count("\n") == 1
    assert written.endswith((" left\n", " \n"))


def test_a_function_gets_the_record_of_every_step(capfd):
    grid, seen = Grid((16,), (6.0,)), []
    run = solve(AllenCahn(0.3), grid, initial_conditions.circle(grid, 0.3), 1.0, step=0.125, progress=seen.append)
    assert tuple(seen) == run.records[1:]
    assert capfd.readouterr().err == ""


def test_what_a_function_raises_ends_the_run():
    grid = Grid((16,), (6.0,))

    def enough(record: StepRecord) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        solve(AllenCahn(0.3), grid, initial_conditions.circle(grid, 0.3), 1.0, step=0.125, progress=enough)
