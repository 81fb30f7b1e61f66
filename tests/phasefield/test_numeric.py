"""Numbers of numpy and torch are those of Python, in runs, checkpoints and files; what is no number is named in one line."""

import numpy as np
import pytest
import torch

from ernest.phasefield import (
    AllenCahn,
    Checkpoint,
    CoarseGaussSeidel,
    CoupledFlow,
    DoubleWell,
    DynamicalSystem,
    Event,
    ExponentialElements,
    GaussSeidel,
    GradientSystem,
    Grid,
    Implicit,
    Inflow,
    Noise,
    RadauElements,
    SemiImplicit,
    Slope,
    Solution,
    Units,
    Value,
    VariableFlow,
    contact_angle,
    initial_conditions,
    march,
    march_system,
    own_units,
    solve,
    solve_system,
)
from ernest.phasefield.io import read, take_snapshots, write
from ernest.phasefield.plots import draw_snapshots, write_film

LINE = Grid((16,), (6.0,))
U0 = 0.3 * LINE.coordinates()[0].sin()
VARYING = VariableFlow(DoubleWell(), 0.1)
PLAIN = AllenCahn(0.05)
NOISY = VariableFlow(DoubleWell(), 0.1, noise=Noise(np.float64(1e-3), seed=np.int64(2)))
TWO = torch.tensor([1.0, 0.0], dtype=torch.float64)


def half_seen(u):
    """An energy of which torch sees a half."""
    return (u * u.detach()).sum(-1)


def run(flow=PLAIN, t1=0.2, **choices) -> Solution:
    return solve(flow, LINE, U0, t1, **{"tolerance": 1e-4, "progress": False} | choices)


@pytest.mark.parametrize("flow", [PLAIN, VARYING, NOISY])
@pytest.mark.parametrize(
    "choices",
    [
        {"max_step": np.float32(0.05)},
        {"absolute_tolerance": np.float32(1e-4), "units": Units(np.float32(1), torch.tensor(1.0))},
        {"max_step": torch.tensor(0.05)},
    ],
)
def test_a_run_with_numbers_of_numpy_goes_on_with_those_of_python(flow, choices, tmp_path):
    keep = Checkpoint(tmp_path / "run.safetensors", steps=1)
    if getattr(flow, "noise", None) is not None:
        choices = choices | {"step": np.float32(0.05), "max_step": 0.1}
    plain = {name: Units(1, 1) if name == "units" else float(value) for name, value in choices.items()}
    whole = run(flow, **plain)
    run(flow, t1=0.1, **choices, checkpoint=keep)
    if getattr(flow, "noise", None) is not None:
        flow = VariableFlow(DoubleWell(), 0.1, noise=Noise(1e-3, seed=2))
    end = run(flow, **plain, checkpoint=keep, resume=True).end
    assert float((end - whole.end).abs().max()) < 1e-5
    assert all(type(number) is float for number in run(flow, **choices).times.tolist())


@pytest.mark.parametrize(
    "make",
    [
        GaussSeidel,
        lambda p, w, m: CoarseGaussSeidel(p, w, 1, m),
        lambda p, w, m: SemiImplicit(p, m),
        lambda p, w, m: Implicit(p),
        lambda p, w, m: ExponentialElements(p, m),
        lambda p, w, m: RadauElements(p),
    ],
)
def test_a_scheme_of_numbers_of_numpy_is_the_same_scheme(make):
    """Windows are weighed in fractions, in which numpy's 64 bits overflow."""
    three, four, two = np.array([3, 4, 2])
    (*_, one), (*_, other) = (march(PLAIN, LINE, U0, [0.05] * 4, scheme) for scheme in (make(three, four, two), make(3, 4, 2)))
    assert repr(make(three, four, two)) == repr(make(3, 4, 2))
    assert torch.equal(one.end, other.end)


def test_noise_with_a_strength_that_is_a_function_is_known_again(tmp_path):
    """By what it makes: the function itself has another address in another process."""
    noisy = lambda by: VariableFlow(DoubleWell(), 0.1, noise=Noise(strength=lambda u, x, t: by * (1 + u), seed=1))
    keep, fixed = Checkpoint(tmp_path / "run.safetensors", steps=1), {"step": 0.05}
    run(noisy(0.02), t1=0.1, checkpoint=keep, **fixed)
    with pytest.raises(ValueError, match="is of another run: noise was seed 1, strength"):
        run(noisy(0.03), checkpoint=keep, resume=True, **fixed)
    end = run(noisy(0.02), checkpoint=keep, resume=True, **fixed).end
    assert torch.equal(end, run(noisy(0.02), **fixed).end)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"max_step": None}, "max_step: expected a number, got None"),
        ({"steady": "soon"}, "steady: expected a number, got 'soon'"),
        ({"absolute_tolerance": "small"}, "absolute_tolerance: expected a number, got 'small'"),
        ({"stops": np.array(0.05)}, r"stops: expected times, such as \[0.5, 1.0\], got array\(0.05\)"),
        ({"stops": ["half"]}, "stops: expected a number, got 'half'"),
        ({"units": (1, 1)}, r"units: expected Units\(time, field\), got \(1, 1\)"),
    ],
)
def test_what_is_no_number_is_named(choices, said):
    of_systems = not choices.keys() & {"steady", "absolute_tolerance"}  # which they do not take
    decay = lambda: solve_system(DynamicalSystem(lambda t, u: -u), TWO, 1.0, **choices)
    for begin in (lambda: run(PLAIN, **choices), lambda: run(VARYING, **choices), *([decay] if of_systems else [])):
        with pytest.raises(ValueError, match=said):
            begin()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Units("long", 1), "units time: expected a number, got 'long'"),
        (lambda: Noise(temperature="hot"), "noise temperature: expected a number, got 'hot'"),
        (lambda: Noise(temperature=np.inf), "noise temperature: expected a number of 0 or more, got inf"),
        (lambda: contact_angle(1.0, kappa=0), "contact angle: expected a kappa and an s above 0, got 0.0 and 1.0"),
        (lambda: Value(float("nan")), "Value: expected a finite number, an array along the wall or a function, got nan"),
        (lambda: Slope(None), "Slope: expected a finite number, an array along the wall or a function, got None"),
        (lambda: Inflow("much"), "Inflow: expected a finite number, an array along the wall or a function, got 'much'"),
        (
            lambda: Event("here", (0.0,)),
            r"event here: expected a function of the field, or a point by its indices, .* got \(0.0,\)",
        ),
        (lambda: Event("here", 3), r"event here: expected .* such as \(3,\) on a line, got 3"),
        (lambda: run(VariableFlow(DoubleWell(), "0.1")), "kappa: expected a number, a function .* got '0.1'"),
        (lambda: run(VariableFlow(DoubleWell(), 0.1, mobility=np.ones(3))), r"mobility: expected a number, .* got \[3\]"),
        (lambda: VariableFlow(DoubleWell(), 0.1, walls=(Value(1), Slope(0))).coupled(), "walls: expected the walls of each axis"),
        (
            lambda: CoupledFlow(lambda u, x, t: 0.0, (1, 1), (1, 1), True),
            "conserved: expected True or False for each field, got True",
        ),
        (lambda: CoupledFlow(lambda u, x, t: 0.0, (1, 1), (1, 1), ("no", "yes")), "conserved: expected True or False for each"),
        (lambda: initial_conditions.spinodal_noise(LINE, seed=1.5), "spinodal noise: seed: expected a whole number, got 1.5"),
        (lambda: initial_conditions.spinodal_noise(LINE, mean="much"), "spinodal noise: mean: expected a number, got 'much'"),
        (lambda: own_units(PLAIN, LINE, U0[:3], 1.0), "u0: expected .* to fit the grid, got"),
        (lambda: own_units(AllenCahn(0.1), LINE, [1.0], 1.0), "u0: expected a tensor, got list"),
        (lambda: own_units(PLAIN, LINE, U0, "long"), "span: expected a number, got 'long'"),
        (lambda: own_units(PLAIN, LINE, U0, 0), "span: expected the length of a run, more than 0, got 0"),
        (lambda: solve(PLAIN, LINE, U0, 10**400), "t1: expected a number"),
        (lambda: solve(PLAIN, LINE, U0, 0.1, memory=-1), "memory: expected bytes, 0 or more, got -1"),
        (lambda: solve(PLAIN, LINE, U0, 0.1, step=0.1)("late"), "time: expected a number, or several, got 'late'"),
        (lambda: solve(PLAIN, LINE, U0, 0.1, step=0.1).table(lines=-1), "lines: expected how many .*, got -1"),
        (lambda: march(PLAIN, LINE, U0, [0.1], 3), "scheme: expected a scheme such as .*, got 3"),
        (lambda: march(PLAIN, LINE, U0, 0.1, GaussSeidel(3, 4, 2)), "steps: expected lengths, such as .*, got 0.1"),
        (lambda: march_system(GradientSystem(lambda u: u.detach().sum(-1)), TWO, [0.1]), "energy: expected torch operat"),
        (lambda: march_system(GradientSystem(half_seen), TWO, [0.1]), "energy: torch finds another derivative by u"),
        (lambda: march_system(GradientSystem(lambda u: u.sum(-1)), TWO, [0.1], 3), "scheme: a GradientSystem is marched by"),
        (lambda: list(march_system(GradientSystem(lambda u: u.sum(-1)), TWO, 0.1)), "steps: expected lengths, such as"),
        (lambda: list(march_system(GradientSystem(lambda u: u.sum(-1)), [1.0], [0.1])), "u0: expected a tensor, got list"),
        (lambda: GradientSystem(lambda u: u.sum(-1), "much"), r"mobility: expected a matrix \[n, n\], got 'much'"),
    ],
)
def test_what_is_no_number_is_named_where_it_is_made(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_one_name_does_not_both_end_a_run_and_not():
    with pytest.raises(ValueError, match="events: one called up ends the run and another of that name does not"):
        run(events=[Event("up", (0,)), Event("up", (1,), terminal=True)])


def test_numbers_of_every_library_make_the_same_flow_and_field():
    plain = solve(VARYING, LINE, U0, 0.1, 1e-4, progress=False)
    channel, wall = Grid((12,), (2.0,), "dirichlet-neumann"), lambda one, other: {0: (Value(one), Slope(other))}
    at_rest = lambda u, x, t: 0 * u
    held = lambda *of: solve(
        VariableFlow(at_rest, 1.0, walls=wall(*of)),
        channel,
        torch.zeros(12).double(),
        0.1,
        step=0.1,
        progress=False,
        units=Units(),
    )
    assert torch.equal(held(np.int64(1), np.array(-0.5)).end, held(1.0, -0.5).end)
    for kappa in (np.float64(0.1), np.array(0.1), torch.tensor(0.1, dtype=torch.float64)):
        flow = VariableFlow(DoubleWell(), kappa, conserved=np.bool_(False))
        assert torch.equal(solve(flow, LINE, U0, 0.1, 1e-4, progress=False).end, plain.end)
    noise = initial_conditions.spinodal_noise
    assert torch.equal(noise(LINE, seed=np.int64(3)), noise(LINE, seed=3))
    drops, square = initial_conditions.two_drops, Grid.cube(16, 6.0)
    assert torch.equal(drops(square, np.array(0.1), np.array([1, 0.7])), drops(square, 0.1, (1, 0.7)))
    turned = np.array([[0, -1], [1, 0]])
    march = lambda by: list(march_system(GradientSystem(lambda u: u.square().sum(-1) / 2, by), TWO, np.full(3, 0.1)))[-1].end
    assert torch.equal(march(turned), march(torch.from_numpy(turned).double()))
    sizes = lambda of: solve_system(DynamicalSystem(lambda t, u: -u), TWO, 1.0, sizes=of).end
    assert torch.equal(sizes([1, 2]), sizes(torch.tensor([1.0, 2.0], dtype=torch.float64)))


def test_a_gradient_energy_that_is_nothing_along_one_direction_is_none_that_is_negative():
    """The least eigenvalue of v v^T is 0, and often a round-off below."""
    square = Grid.cube(8, 6.0)
    for seed in (9, 10, 21, 26):
        v = np.random.default_rng(seed).uniform(0.1, 1, 2)
        solve(
            VariableFlow(DoubleWell(), tuple(map(tuple, np.outer(v, v)))),
            square,
            torch.zeros(8, 8).double(),
            1e-3,
            progress=False,
        )
    with pytest.raises(ValueError, match="kappa: expected a tensor that is nowhere negative"):
        solve(VariableFlow(DoubleWell(), ((0.1, 0.2), (0.2, 0.1))), square, torch.zeros(8, 8).double(), 1e-3)


def test_facts_may_be_numbers_of_any_length(tmp_path):
    facts = {"long": np.longdouble(0.5), "several": np.array([1, 2], np.longdouble), "wave": np.clongdouble(1j)}
    write(tmp_path / "run.npz", take_snapshots(run(), **facts))
    known = read(tmp_path / "run.npz").facts
    assert (known["long"], known["several"], known["wave"]) == (0.5, [1.0, 2.0], "1j")


def test_limits_may_be_an_array_and_frames_are_whole(tmp_path):
    pytest.importorskip("matplotlib")
    draw_snapshots(tmp_path / "run.png", take_snapshots(run()), limits=np.array([-1, 1]))
    with pytest.raises(ValueError, match=r"film frames: expected a whole number, got 3\.0"):
        write_film(tmp_path / "run.gif", run(), 0, 0.2, frames=3.0)


def test_a_rate_that_torch_cannot_differentiate_is_refused_but_not_with_its_jacobian():
    """Newton's method would take it for one that does not depend on u."""
    cut = lambda t, u: torch.from_numpy(-u.detach().numpy())
    for rate in (cut, lambda t, u: torch.from_numpy(-u.numpy())):
        with pytest.raises(ValueError, match="rate: expected torch operations on u all through"):
            solve_system(DynamicalSystem(rate), TWO, 1.0)
    end = solve_system(DynamicalSystem(cut, jacobian=lambda t, u: -torch.eye(2, dtype=torch.float64)), TWO, 1.0, 1e-8).end
    assert float((end - TWO * np.exp(-1.0)).abs().max()) < 1e-7
    constant = solve_system(DynamicalSystem(lambda t, u: 0 * u.detach() + 2.0), TWO, 1.0).end
    assert float((constant - TWO - 2).abs().max()) < 1e-9
    for field, value in (
        ("pattern", [[1, 0], [0, 1]]),
        ("jacobian", lambda t, u: [[-1, 0], [0, -1]]),
        ("invariant", lambda u: u),
    ):
        with pytest.raises(ValueError, match=f"{field}: expected a "):
            solve_system(DynamicalSystem(lambda t, u: -u, **{field: value}), TWO, 1.0)
