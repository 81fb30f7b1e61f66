import numpy as np
import pytest
import scipy.sparse as ss
import torch

from ernest.phasefield.flows import AllenCahn, CahnHilliard
from ernest.phasefield.grid import Grid
from ernest.phasefield.mesh import Mesh
from ernest.phasefield.potentials import DoubleWell, FloryHuggins
from ernest.phasefield.schemes.implicit import Implicit
from ernest.phasefield.schemes.semiimplicit import SemiImplicit
from ernest.phasefield.sparse import (
    Diagonalised,
    OperatorFlow,
    march_operators,
    operator_dissipation,
    operator_energy,
    sparse_flow,
    time_solver,
)
from ernest.phasefield.stepping import DivergenceError, march
from ernest.phasefield.timeelement import coupling

KAPPA = 0.01


def line(n, length=1.0):
    """Cells of a line without flux through its ends: mesh, minus the Laplacian, and the centres of the cells."""
    h = length / n
    diagonal = np.full(n, 2.0)
    diagonal[[0, -1]] = 1
    laplacian = ss.diags_array([-np.ones(n - 1), diagonal, -np.ones(n - 1)], offsets=[-1, 0, 1], format="csc") / h**2
    x = (torch.arange(n, dtype=torch.float64) + 0.5) * h
    return Mesh(torch.full((n,), h, dtype=torch.float64), (x,)), laplacian, x


def uneven_line():
    """The same with cells of different sizes, on which the Laplacian is self-adjoint but not symmetric."""
    sizes = np.linspace(0.5, 1.5, 40) / 40
    fluxes = 2 / (sizes[1:] + sizes[:-1])
    slopes = ss.diags_array([-np.ones(39), np.ones(39)], offsets=[0, 1], shape=(39, 40))
    laplacian = ss.csc_array(ss.diags_array(1 / sizes) @ slopes.T @ ss.diags_array(fluxes) @ slopes)
    return Mesh(torch.from_numpy(sizes)), laplacian, torch.from_numpy(np.cumsum(sizes) - sizes / 2)


def flow_of(name, mesh, laplacian, potential=None):
    mobility = laplacian if name == "Cahn-Hilliard" else 1.0
    return sparse_flow(mesh, KAPPA * laplacian, potential or DoubleWell(), mobility, conserve=name == "conservative Allen-Cahn")


def wave(x):
    return 0.7 * torch.cos(torch.pi * x) + 0.2 * torch.cos(3 * torch.pi * x) + 0.1


@pytest.mark.parametrize("degree", range(1, 9))
@pytest.mark.parametrize("name", ["Allen-Cahn", "conservative Allen-Cahn", "Cahn-Hilliard"])
def test_time_diagonalised_solve_equals_the_whole_system(degree, name):
    mesh, laplacian, _ = uneven_line()
    n, tau, S = len(mesh.node_weights), 1e-4 if name == "Cahn-Hilliard" else 0.1, 0.5
    flow = flow_of(name, mesh, laplacian)
    Lambda = np.stack([flow.mobility(flow.linear(e) + S * e) for e in np.eye(n)], 1)
    right = np.random.default_rng(degree).standard_normal((degree, n))
    whole = np.linalg.solve(np.eye(degree * n) + tau / 2 * np.kron(coupling(degree).numpy(), Lambda), right.ravel())
    solution = time_solver(flow, S, tau, degree)(right)
    assert np.abs(solution.ravel() - whole).max() <= 1e-13 * np.abs(whole).max()


@pytest.mark.parametrize("degree", [2, 3])
def test_marching_equals_marching_with_the_whole_system(degree):
    mesh, laplacian, x = line(64)
    tau, S, n = 0.3, 0.5, 64
    flow = flow_of("Allen-Cahn", mesh, laplacian)
    points, weights = np.polynomial.legendre.leggauss(2 * degree)
    V = np.polynomial.legendre.legvander(points, degree)
    P = np.stack([V[:, 1] + V[:, 0], *((V[:, k] - V[:, k - 2]) / (2 * k - 1) for k in range(2, degree + 1))], 1)
    moments = (V[:, :degree] * weights[:, None]).T * (np.arange(degree)[:, None] + 0.5)
    Lambda = KAPPA * laplacian.toarray() + S * np.eye(n)
    whole = np.eye(degree * n) + tau / 2 * np.kron(coupling(degree).numpy(), Lambda)
    u = wave(x).numpy()
    for element in march_operators(flow, mesh, wave(x), [tau] * 4, Diagonalised(degree, tolerance=1e-14)):
        c = np.zeros((degree, n))
        for _ in range(60):
            nodes = u + P @ c
            right = -tau / 2 * moments @ (nodes**3 - nodes - S * nodes)
            right[0] -= tau / 2 * Lambda @ u
            c = np.linalg.solve(whole, right.ravel()).reshape(degree, n)
        u = u + 2 * c[0]
        assert np.abs(element.end.numpy() - u).max() <= 1e-13


@pytest.mark.parametrize("name", ["Allen-Cahn", "conservative Allen-Cahn", "Cahn-Hilliard"])
@pytest.mark.parametrize("potential", [DoubleWell(2.0), FloryHuggins(0.8, 1.6)])
def test_energy_falls_by_the_dissipation_and_mass_is_kept(name, potential):
    mesh, laplacian, x = uneven_line()
    flow, scheme = flow_of(name, mesh, laplacian, potential), Diagonalised(3, tolerance=1e-14)
    start = 0.9 * wave(x)
    first = energy = operator_energy(start, flow, mesh)
    for element in march_operators(flow, mesh, start, [0.002, 0.004] * 3, scheme):
        after = operator_energy(element.end, flow, mesh)
        loss = operator_dissipation(element, flow, mesh, scheme.gauss_points(potential))
        assert loss > 0
        assert abs(after - energy + loss) <= 1e-13 * abs(first)
        energy = after
        if name != "Allen-Cahn":
            assert abs(mesh.integral(element.end - start)) <= 1e-14


def test_long_steps_still_lower_the_energy():
    mesh, laplacian, x = line(64)
    flow = flow_of("Allen-Cahn", mesh, laplacian)
    for element in march_operators(flow, mesh, wave(x), [2.0] * 6, Diagonalised(3)):
        assert operator_energy(element.end, flow, mesh) < operator_energy(element.start, flow, mesh)


@pytest.mark.parametrize(
    ("degree", "sweeps", "order", "steps"),
    [(2, None, 4, (8, 16, 32)), (3, None, 6, (8, 16, 32)), (3, 0, 4, (64, 128, 256)), (3, 1, 5, (32, 64, 128))],
)
def test_order(degree, sweeps, order, steps):
    mesh, laplacian, x = line(24)
    flow = flow_of("Allen-Cahn", mesh, laplacian)

    def end(n, scheme):
        *_, last = march_operators(flow, mesh, wave(x), [2.0 / n] * n, scheme)
        return last.end

    reference = end(40, Diagonalised(6, tolerance=1e-14))
    errors = [float(mesh.norm(end(n, Diagonalised(degree, sweeps, tolerance=1e-13)) - reference)) for n in steps]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(order, abs=0.1)


def spectral_line(n):
    """The periodic line with Fourier differences: mesh, symbol of minus the Laplacian, and a shifted solver by FFT."""
    h = 2 * np.pi / n
    k2 = np.fft.fftfreq(n, 1 / n) ** 2

    def by_symbol(symbol):
        def operator(v):
            w = np.fft.ifft(symbol * np.fft.fft(v))
            return w if np.iscomplexobj(v) else w.real

        return operator

    def flow(mobility):
        return OperatorFlow(
            by_symbol(mobility(k2)),
            by_symbol(KAPPA * k2),
            lambda shift, S: by_symbol(1 / (1 + shift * mobility(k2) * (KAPPA * k2 + S))),
            DoubleWell(),
        )

    return Mesh(torch.full((n,), h, dtype=torch.float64)), flow


@pytest.mark.parametrize(
    ("mobility", "spectral", "tau"), [(np.ones_like, AllenCahn(KAPPA), 0.2), (lambda k2: k2, CahnHilliard(KAPPA), 0.02)]
)
@pytest.mark.parametrize("sweeps", [None, 2])
def test_black_box_solver_gives_what_the_spectral_solver_gives(mobility, spectral, tau, sweeps):
    grid = Grid((32,), (2 * np.pi,))
    (x,) = grid.coordinates()
    start = 0.4 * torch.sin(x) + 0.3 * torch.cos(2 * x + 1)
    mesh, flow = spectral_line(32)
    ours = march_operators(flow(mobility), mesh, start, [tau, tau, tau / 2, tau], Diagonalised(3, sweeps, tolerance=1e-14))
    scheme = Implicit(3, tolerance=1e-14) if sweeps is None else SemiImplicit(3, sweeps)
    for one, other in zip(ours, march(spectral, grid, start, [tau, tau, tau / 2, tau], scheme), strict=True):
        assert (one.end - other.end).abs().max() <= 1e-13
        assert (one.at(0.3) - other.at(0.3)).abs().max() <= 1e-13


def test_batch_equals_single_runs_and_forcing_is_felt():
    mesh, laplacian, x = line(32)

    def forcing(time, coordinates):
        return (1 + time) * torch.cos(torch.pi * coordinates[0])

    flow = sparse_flow(mesh, KAPPA * laplacian, DoubleWell(), forcing=forcing)
    starts = torch.stack([wave(x), 0.5 * wave(x), -wave(x)])
    steps = [0.1, 0.1, 0.2]
    *_, batched = march_operators(flow, mesh, starts, steps, Diagonalised(2, 1))
    for start, end in zip(starts, batched.end, strict=True):
        *_, single = march_operators(flow, mesh, start, steps, Diagonalised(2, 1))
        torch.testing.assert_close(single.end, end, rtol=0, atol=1e-14)
    *_, unforced = march_operators(flow_of("Allen-Cahn", mesh, laplacian), mesh, starts, steps, Diagonalised(2, 1))
    assert (unforced.end - batched.end).abs().max() > 0.1


def test_forcing_that_makes_a_known_solution():
    mesh, laplacian, x = line(40)
    shape = torch.cos(torch.pi * x)
    rate = KAPPA * float((torch.from_numpy(laplacian @ shape.numpy()) / shape)[0])

    def forcing(time, _):
        u = np.cos(time) * shape
        return -np.sin(time) * shape + rate * u + u**3 - u

    flow = sparse_flow(mesh, KAPPA * laplacian, DoubleWell(), forcing=forcing)
    errors = []
    for n in (4, 8, 16):
        *_, last = march_operators(flow, mesh, shape, [2.0 / n] * n, Diagonalised(2, tolerance=1e-13))
        errors.append(float(mesh.norm(last.end - np.cos(2.0) * shape)))
    assert np.log2(errors[1] / errors[2]) == pytest.approx(4, abs=0.1)


def test_bad_input_is_one_clear_error():
    mesh, laplacian, x = line(8)
    flow = flow_of("Allen-Cahn", mesh, laplacian)
    skewed = ss.csc_array(laplacian + ss.diags_array([np.ones(7)], offsets=[1]))
    with pytest.raises(ValueError, match="linear: expected a matrix that the weights of the mesh make symmetric"):
        sparse_flow(mesh, skewed, DoubleWell())
    with pytest.raises(ValueError, match="mobility: expected a matrix"):
        sparse_flow(mesh, laplacian, DoubleWell(), laplacian[:4, :4])
    with pytest.raises(ValueError, match="mesh weights"):
        Mesh(torch.tensor([1.0, -1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match="mesh coordinates"):
        Mesh(torch.ones(3, dtype=torch.float64), (torch.ones(2),))
    for start in (x[:4], x.float(), x * float("nan")):
        with pytest.raises(ValueError, match="u0: expected finite float64 fields"):
            march_operators(flow, mesh, start, [0.1], Diagonalised(2))
    with pytest.raises(ValueError, match="grid: a mesh has no modes"):
        march(AllenCahn(KAPPA), mesh, x, [0.1], Implicit(2))
    with pytest.raises(ValueError, match="quadrature: expected 3 or more"):
        Diagonalised(3, quadrature=2)
    with pytest.raises(ValueError, match="steps: expected positive lengths"):
        next(march_operators(flow, mesh, x, [-0.1], Diagonalised(2)))
    with pytest.raises(DivergenceError, match="no convergence at time 0"):
        next(march_operators(flow, mesh, x, [200.0], Diagonalised(2)))
