import math

import numpy as np
import pytest

from ernest.phasefield.compiled import transforms
from ernest.phasefield.compiled.transforms import ENGINES, describe_engines, engine_times, fastest_plan, installed_engines

SIZES = [(24,), (16, 12), (6, 8, 10), (7, 9)]


def plan_of(engine: str, points: tuple[int, ...]) -> transforms.Plan:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    return ENGINES[engine](points, 1)


@pytest.mark.parametrize("points", SIZES)
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_the_transform_of_numpy(engine, points):
    plan = plan_of(engine, points)
    field = np.random.default_rng(1).standard_normal(points)
    plan.real[...] = field
    plan.forward()
    expected = np.fft.rfftn(field)
    assert np.abs(plan.modes - expected).max() <= 1e-12 * np.abs(expected).max()
    plan.inverse()
    assert np.abs(plan.real - math.prod(points) * field).max() <= 1e-12 * math.prod(points)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_transform_can_end_in_another_array_and_come_back_to_its_own(engine):
    plan = plan_of(engine, (16, 16))
    field = np.random.default_rng(2).standard_normal((16, 16))
    elsewhere = plan_of(engine, (16, 16)).modes
    plan.modes[...] = 7
    plan.real[...] = field
    plan.forward(elsewhere)
    assert (plan.modes == 7).all()
    plan.real[...] = field
    plan.forward()
    assert np.array_equal(plan.modes, elsewhere)


@pytest.mark.parametrize("points", SIZES)
def test_in_place_a_field_lies_where_its_modes_do_and_its_transform_can_end_elsewhere(points):
    pytest.importorskip("pyfftw")
    plan, field = fastest_plan(points, in_place=True), np.random.default_rng(3).standard_normal(points)
    expected, elsewhere = np.fft.rfftn(field), fastest_plan(points).modes
    assert np.may_share_memory(plan.real, plan.modes)
    for target in (elsewhere, None, elsewhere):
        plan.real[...] = field
        assert np.array_equal(plan.lines[:, : points[-1]], field.reshape(-1, points[-1]))
        plan.forward(target)
        assert np.abs((plan.modes if target is None else target) - expected).max() <= 1e-12 * np.abs(expected).max()
        if target is None:
            plan.inverse()
            assert np.abs(plan.real - math.prod(points) * field).max() <= 1e-12 * math.prod(points)


def test_times_are_measured_for_every_engine_and_told_fastest_first():
    times = engine_times((32, 32))
    assert set(times) == set(installed_engines())
    assert all(0 < ms < 1000 for ms in times.values())
    line = describe_engines((32, 32))
    assert line.startswith("ms per FFT of 32 x 32 on 1 thread: " + min(times, key=times.__getitem__))


def test_without_fftw_the_fastest_of_the_others_is_taken(monkeypatch):
    monkeypatch.setattr(transforms, "installed_engines", lambda: ["scipy", "torch"])
    monkeypatch.setattr(transforms, "engine_times", lambda points, threads: {"scipy": 2.0, "torch": 1.0})
    assert isinstance(fastest_plan((8, 8)), transforms.TorchPlan)


def test_plans_are_kept_on_disk_for_the_next_process(monkeypatch, tmp_path):
    pytest.importorskip("pyfftw")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    transforms.FftwPlan((20, 22))
    assert b"fftw" in (tmp_path / "ernest" / "fftw-wisdom").read_bytes()
    assert [path.name for path in (tmp_path / "ernest").iterdir()] == ["fftw-wisdom"]
    file = tmp_path / "ernest" / "fftw-wisdom"
    first, *plans, last = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join((first, *reversed(plans), last)))  # FFTW tells the same plans in another order in each process
    before = file.stat()
    transforms._keep_wisdom.__wrapped__((20, 22), 1, False)
    assert file.stat() == before
