"""The claims of the time-marching paper's abstract (arXiv 2406.16287), which holds no figures, and what stands for them here."""

from ernest.results.claims.claim import ByTest, Claim, Measured, Quote

SPEED, SYSTEMS = "docs/phasefield/speed.md", "docs/phasefield/systems.md"
BENCH = "python -m benchmarks.phasefield"
ORDERS, RACE = "ernest results superconvergence", "ernest results time-marching"


def _race(where: str, says: str) -> Claim:
    """A comparison of the race under the name that it has there."""
    return Claim(where, says, "yes", Measured("time-marching", says), RACE)


MARCHING = (
    Claim("abstract", "the implicit scheme dissipates the energy, at any step", "yes",
          ByTest(("tests/phasefield/test_stepping.py::test_energy_falls_by_exactly_the_dissipation",
                 "tests/phasefield/test_implicit.py::test_energy_falls_in_steps_of_any_length"))),
    Claim("abstract", "mass is kept", "yes",
          (Quote("drift of two drops under conservative Allen–Cahn", SPEED, "8: two drops, drift of the mass"),
           Quote("of seven circles", SPEED, "14: seven circles under Cahn–Hilliard, drift of the mass")), BENCH),
    Claim("abstract", "the implicit scheme superconverges", "yes",
          Measured("superconvergence", "the implicit scheme superconverges"), ORDERS),
    Claim("ours", "superconvergence is one of the ends of elements alone", "not said",
          Measured("superconvergence", "superconvergence is one of the ends alone"), ORDERS),
    Claim("abstract", "the linear scheme does not superconverge", "yes",
          Measured("superconvergence", "the linear scheme does not superconverge"), ORDERS),
    Claim("abstract", "a few Picard-like sweeps restore it", "a few",
          Measured("superconvergence", "a few Picard-like sweeps restore it"), ORDERS),
    _race("abstract", "p = 3 outperforms both IMEX-BDF4 and ETDRK4, by the processor's time"),
    _race("abstract", "p = 3 outperforms both IMEX-BDF4 and ETDRK4, by the number of transforms"),
    _race("abstract", "the implicit scheme alone outperforms both"),
    _race("abstract", "the linear scheme with u extrapolated alone outperforms both"),
    _race("abstract", "the linear scheme with N extrapolated alone outperforms both"),
    Claim("ours", "with Gauss–Seidel sweeps, which the paper has not, elements outperform both", "–",
          (Quote("", SPEED, "11: ETDRK4 ÷ ours, *"), Quote("", SPEED, "11: IMEX-BDF4 ÷ ours, *")), BENCH),
    Claim("summary", "systems of the stages are solved by diagonalisation in time", "yes",
          ByTest(("tests/phasefield/test_sparse.py::test_time_diagonalised_solve_equals_the_whole_system",))),
    Claim("abstract", "it is for large nonlinear dynamical systems of any kind", "claimed",
          (Quote("", SYSTEMS, "general: *"),), f"{BENCH} --part general"),
    Claim("summary", "flows of H⁻¹ type need a stabilisation of their own", "yes",
          (Quote("elements without it (S = 0)", SPEED, "0", "elements"),
           Quote("with S = 1", SPEED, "1", "elements", most=332)), BENCH),
)  # fmt: skip
