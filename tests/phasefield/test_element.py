import pytest
import torch

from ernest.phasefield import AllenCahn, CahnHilliard, Element, GaussSeidel, Implicit, SemiImplicit, march
from ernest.phasefield.flow_terms import velocity
from ernest.phasefield.timeelement import gauss
from tests.phasefield.problems import SQUARE, end, rms, slope, smooth

FLOW = AllenCahn(0.1)
COUNTS = (12, 16, 24)
FINE = GaussSeidel(7, 7, 9)


def last_element(degree: int, count: int) -> tuple[Element, torch.Tensor]:
    """The last of `count` elements up to time 1, and the solution where it starts."""
    *_, element = march(FLOW, SQUARE, smooth(), [1 / count] * count, Implicit(degree, tolerance=1e-14))
    return element, end(FLOW, SQUARE, smooth(), [(1 - 1 / count) / 8] * 8, FINE)


def worst(degree: int, count: int, points: list[float], corrected: bool = False) -> float:
    """The greatest error at local times of the last element."""
    element, start = last_element(degree, count)
    element = element.corrected(FLOW) if corrected else element
    exact = [end(FLOW, SQUARE, start, [(xi + 1) / 4 / count] * 2, FINE) for xi in points]
    return max(rms(element.at(xi) - u) for xi, u in zip(points, exact, strict=True))


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_between_the_ends_the_order_is_p_plus_1_and_corrected_p_plus_2(degree):
    inside = [-0.7, -0.2, 0.35, 0.8]
    plain = slope(COUNTS, [worst(degree, n, inside) for n in COUNTS])
    better = slope(COUNTS, [worst(degree, n, inside, corrected=True) for n in COUNTS])
    assert plain == pytest.approx(degree + 1, abs=0.1)
    assert degree + 1.9 <= better <= degree + 2.3


def test_at_interior_lobatto_points_the_order_is_p_plus_2():
    lobatto = [-(0.2**0.5), 0.2**0.5]
    assert slope(COUNTS, [worst(3, n, lobatto) for n in COUNTS]) == pytest.approx(5, abs=0.1)


def test_the_derivative_has_order_p_and_one_more_at_gauss_points():
    def error(count: int, xi: float) -> float:
        element, start = last_element(3, count)
        u = end(FLOW, SQUARE, start, [(xi + 1) / 4 / count] * 2, FINE)
        return rms(element.derivative(xi) - SQUARE.field(velocity(SQUARE.modes(u), FLOW, SQUARE)))

    points, _ = gauss(3)
    assert slope(COUNTS, [error(n, -0.2) for n in COUNTS]) == pytest.approx(3, abs=0.15)
    assert slope(COUNTS, [error(n, points[2].item()) for n in COUNTS]) == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("scheme", [SemiImplicit(3, 2), Implicit(3), GaussSeidel(3, 4, 2)], ids=str)
def test_elements_join_and_their_ends_are_those_of_the_polynomial(scheme):
    one, two = march(FLOW, SQUARE, smooth(), [0.1, 0.2], scheme)
    assert torch.allclose(one.at(1.0), one.end, atol=1e-14)
    assert torch.allclose(two.at(-1.0), one.end, atol=1e-14)
    assert torch.allclose(two.at_time(0.2), two.at(0.0), atol=1e-14)
    assert (two.time, two.tau) == (0.1, 0.2)
    assert two.at(torch.tensor([-0.5, 0.5])).shape == (2, *SQUARE.points)
    assert torch.allclose(two.corrected(FLOW).end, two.end, atol=1e-15)
    assert torch.allclose(two.corrected(FLOW).at(1.0), two.end, atol=1e-14)


def test_members_with_lengths_of_their_own_are_evaluated_at_times_of_their_own():
    u = torch.stack([smooth(), smooth(mean=0.1)])
    (together,) = march(FLOW, SQUARE, u, [torch.tensor([0.1, 0.3])], SemiImplicit(3, 1))
    for i, tau in enumerate((0.1, 0.3)):
        (alone,) = march(FLOW, SQUARE, u[i], [tau], SemiImplicit(3, 1))
        times = torch.tensor([0.03, 0.2])
        assert torch.allclose(together.at_time(times)[i], alone.at_time(times[i].item()), atol=1e-7)
        assert torch.allclose(together.derivative(0.3)[i], alone.derivative(0.3), atol=1e-6)
        assert torch.allclose(together.corrected(FLOW).at(0.3)[i], alone.corrected(FLOW).at(0.3), atol=1e-7)


def test_coefficients_are_solved_for_only_when_asked_for():
    def forbidden() -> torch.Tensor:
        raise AssertionError

    modes = SQUARE.modes(smooth())
    element = Element(0.0, 0.1, modes, modes, SQUARE, forbidden)
    assert torch.allclose(element.end, smooth(), atol=1e-14)
    with pytest.raises(AssertionError):
        element.at(0.0)


def test_the_correction_knows_conserved_mass():
    *_, element = march(CahnHilliard(0.1), SQUARE, smooth(mean=0.1), [0.01] * 4, GaussSeidel(3, 3, 2))
    means = element.corrected(CahnHilliard(0.1)).at(torch.linspace(-1, 1, 5)).mean((-1, -2))
    assert torch.allclose(means, torch.full_like(means, 0.1), atol=1e-14)
