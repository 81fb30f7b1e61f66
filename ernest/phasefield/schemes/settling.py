"""Says when the sweeps of an element have settled it as far as is wanted: sweeps beyond that cost time and gain nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_CONTRACTION = 0.1
"""With one difference the contraction is that of the element before, but no better than this."""


@dataclass(frozen=True)
class Settling:
    """Sweeps go on until what further ones would change at the end of the element is at most `enough`, in the norm of the
    differences (root of the mean square), and no more than `further` sweeps beyond the scheme's own number.

    `contraction` is the ratio of the changes by the last two sweeps of the element before; changes up to `noise` are round-off.
    There are `least` differences in any case.
    """

    enough: float
    further: int
    contraction: float
    noise: float
    least: int = 1

    def ends(self, differences: Sequence[float]) -> bool:
        """Whether sweeps after these differences would only add rho d + rho^2 d + .. <= enough, d being the last of them."""
        if len(differences) < self.least:
            return False
        if differences[-1] <= self.noise:
            return True
        rho = self.rho(differences)
        return rho < 1 and rho / (1 - rho) * differences[-1] <= self.enough

    def rho(self, differences: Sequence[float]) -> float:
        """The ratio of the last two differences; where there is one only, what the element before had, taken with caution."""
        if len(differences) == 1:
            return max(self.contraction, LEAST_CONTRACTION)
        return differences[-1] / max(differences[-2], 1e-300)
