"""A plan beside a finished run: what is read of it, what is refused, and that the differences are those of the numbers."""

import json
from dataclasses import replace

import pytest

from ernest.cli import planner as commands
from ernest.config.parallel import ParallelConfig
from ernest.config.recipe import Recipe, to_tree
from ernest.config.tables import TrainingConfig
from ernest.planner.check import compare, read_run
from ernest.planner.devices import DEVICES, Device, read_devices, write_device
from ernest.planner.layout import Layout
from ernest.planner.plan import plan

HERE = Device(8e9, 1e11, 1e10, 1e9, keeps_shares=True, bf16=False, process=3e8)
SMALL = replace(Recipe(), training=TrainingConfig(steps=5), parallel=ParallelConfig(checkpoint_activations=True))


@pytest.fixture
def run(tmp_path):
    """Of two processes, whose documents have 64 positions; the first step is slow, and the last holds most."""
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(SMALL)))
    steps = [
        {"step": number, "seconds": 9.0 if number == 0 else 2.0, "memory": 1e9 + number, "processes": 2}
        | {"positions": 6400, "document": 64.2}
        for number in range(5)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    return tmp_path


def test_the_plan_is_that_of_the_runs_processes_and_documents(run):
    needs, memory, seconds = compare(read_run(run), HERE)
    assert needs == plan(SMALL, Layout(2, checkpoint_activations=True), HERE, document=64)
    assert needs.peak == (1e9 + 4) * (1 + memory)
    assert needs.seconds == pytest.approx(2.0 * (1 + seconds))
    assert needs.peak - needs.process == plan(SMALL, Layout(2, checkpoint_activations=True), replace(HERE, process=0.0), 64).peak


@pytest.mark.parametrize(
    ("parallel", "layout"),
    [*(({axis: 2}, Layout(**{axis: 2})) for axis in ("expert", "shard", "tensor")), ({"replicate": 2}, Layout(2))],
)
def test_the_layout_is_that_of_the_run(parallel, layout, run):
    settings = replace(SMALL, parallel=ParallelConfig(**parallel))
    (run / "recipe.json").write_text(json.dumps(to_tree(settings)))
    assert compare(read_run(run), HERE)[0] == plan(settings, layout, HERE, document=64)


def test_the_command_prints_both(run, tmp_path, capsys):
    write_device(tmp_path / "here.toml", HERE)
    commands.plan(check=run, devices=f"2x{tmp_path / 'here.toml'}")
    shown = capsys.readouterr().out
    assert "2 processes" in shown
    assert "1.000 GB measured" in shown
    assert "2.000 measured" in shown
    with pytest.raises(ValueError, match="the run had 2 processes"):
        commands.plan(check=run, devices="4xcpu")
    for wrong in ({"recipe": "tiny"}, {"recipe": "tiny", "check": run, "devices": "2xcpu"}, {"devices": "2xcpu"}):
        with pytest.raises(ValueError, match=r"^expected RECIPE --devices"):
            commands.plan(**wrong)
    with pytest.raises(ValueError, match=r"^--check takes recipe and layout from the run: leave --layout and --set out"):
        commands.plan(check=run, devices="2xcpu", set_=(("sequence.rows=2",),))
    with pytest.raises(ValueError, match=r"^--calibrate measures this machine and plans nothing: leave all else out"):
        commands.plan("tiny", calibrate=run / "mine.toml")
    (run / "mine").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):  # before minutes of measuring
        commands.plan(calibrate=run / "mine/mine.toml")


def test_a_run_is_measured_where_it_is_what_is_planned(run):
    """Its first steps were taken in one process, its next ones had fewer rows."""
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps[0] |= {"processes": 1, "memory": 9e9, "seconds": 90.0, "document": 5.0}
    steps[1] |= {"rows": 1, "length": SMALL.sequence.length, "memory": 5e8, "seconds": 1e-3, "document": 5.0}
    (run / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    found = read_run(run)
    assert (found.processes, found.memory, found.seconds, found.document) == (2, 1e9 + 4, 2.0, 64)


def test_what_is_no_finished_run_is_one_line(run):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3]) + '{"step": 3, "sec')
    with pytest.raises(ValueError, match="3 of 5 steps are done"):
        read_run(run)
    (run / "metrics.jsonl").write_text("".join(line.replace("memory", "other") for line in lines))
    with pytest.raises(ValueError, match="do not tell their memory"):
        read_run(run)
    (run / "recipe.json").write_text('{"tasks": []}')
    with pytest.raises(ValueError, match=r"recipe\.json: no recipe of a training: unknown field 'tasks'"):
        read_run(run)
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"expected recipe\.json and metrics\.jsonl"):
        read_run(run)


@pytest.mark.parametrize("device", [HERE, *DEVICES.values()])
def test_a_device_comes_back_from_its_file(device, tmp_path):
    write_device(tmp_path / "device.toml", device)
    assert read_devices(f"3x{tmp_path / 'device.toml'}") == (3, device)
