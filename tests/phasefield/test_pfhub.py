"""PFHub's benchmarks in `examples/pfhub`: small forms of them keep what is conserved, and give what their grids converge to."""

import numpy as np
import pytest
import torch

from examples.pfhub import dendrite, electrostatics, ripening, spinodal


@pytest.mark.filterwarnings("ignore:interfaces of width")  # the grid is coarse
def test_energy_of_spinodal_decomposition_falls_on_the_square_and_on_the_t_and_begins_where_the_guidelines_say():
    solution, energies = spinodal.square("periodic", 48, 20.0, 1e-3)
    assert energies[0] == pytest.approx(319.03, rel=1e-3)
    assert energies == sorted(energies, reverse=True)
    assert abs(solution.mass / solution.mass[0] - 1).max() < 1e-12
    solution, energies = spinodal.part_c(4.0, 20.0, 1e-3)
    assert (np.diff(solution.energy) < 0).all()
    assert abs(solution.mass / solution.mass[0] - 1).max() < 1e-12
    assert energies[0] == pytest.approx(31.9, rel=5e-3)


def test_the_laplacian_of_the_t_knows_neither_flux_nor_holes():
    inside = np.array([[1, 1, 0], [0, 1, 1]], dtype=bool)
    D = spinodal.faces(inside)
    assert D.shape == (3, 4)
    assert abs(D @ np.ones(4)).max() == 0
    assert np.linalg.matrix_rank(D.toarray()) == 3


def test_ripening_keeps_solute_and_energy_law():
    solution = ripening.ripen("periodic", 12, 1.0, 1e-2)
    fall = solution.energy[0] - solution.energy[-1]
    assert max(abs(record.defect) for record in solution.records[1:]) < 1e-9 * fall
    assert abs(solution.mass[:, 0] / solution.mass[0, 0] - 1).max() < 1e-12
    assert ripening.energies(solution).keys() == {0.0, 1.0}


def test_a_dendrite_grows_alike_on_both_axes_and_longest_there():
    _, told = dendrite.grow(20, 1.25, 4.0, 1e-2)
    positions = [position for position, _ in told.values()]
    assert positions == sorted(positions)
    system, u0 = dendrite.dendrite(20, 1.25)
    rate = system.rate(torch.zeros(1), u0).view(2, 20, 20)
    assert (rate - rate.mT).abs().max() < 1e-12
    # df/dt of U is what diffuses and half of what freezes, and nothing leaves through the walls.
    assert (rate[1] - rate[0] / 2).sum().abs() < 1e-10


def test_charges_are_kept_and_their_potential_obeys_its_walls():
    solution, _ = electrostatics.charge(16, 5.0, 1e-3)
    assert abs(solution.mass / solution.mass[0] - 1).max() < 1e-12
    _, start, potential = electrostatics.electrostatics(64)
    phi = potential(start.view(64, 64))
    at = (torch.arange(64) + 0.5) * 100 / 64
    assert (1.5 * phi[0] - 0.5 * phi[1]).abs().max() < 1e-2
    assert ((1.5 * phi[-1] - 0.5 * phi[-2]) - torch.sin(at / 7))[1:].abs().max() < 0.03
