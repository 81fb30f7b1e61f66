"""Orders in time: how one is taken, and what is said of them."""

import numpy as np
import pytest

from ernest.results.marching import superconvergence
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM
from ernest.results.marching.superconvergence_page import judge, sweeps_needed


def test_orders_are_judged_by_what_theory_says():
    found = []
    for p in superconvergence.DEGREES:
        found.append({"scheme": IMPLICIT, "degree": p, "sweeps": 0, "ends": 2.0 * p, "between": p + 1.0,
                      "corrected": p + 2.0})  # fmt: skip
        for K in range(p + 1):
            for reading, plus in ((FIELD, 1), (TERM, 0)):
                order = float(min(2 * p, p + plus + K))
                found.append({"scheme": reading, "degree": p, "sweeps": K, "ends": order, "between": order, "corrected": order})
    assert [one.verdict for one in judge(found)] == ["holds"] * 4
    assert [sweeps_needed(found, FIELD, p) for p in superconvergence.DEGREES] == [1, 2, 3, 4]
    assert [sweeps_needed(found, TERM, p) for p in superconvergence.DEGREES] == [2, 3, 4, 5]
    low = [row | {"ends": row["degree"] + 1.0, "between": row["degree"] + 1.0} for row in found]
    assert [one.verdict for one in judge(low)] == ["doesn't hold here", "holds", "holds", "doesn't hold here"]


def test_an_order_is_taken_above_round_off():
    assert superconvergence.order((8, 16, 32), (1e-6, 1e-6 / 2**4, 1e-14)) == pytest.approx(4.0)
    assert np.isnan(superconvergence.order((8, 16), (1e-6, 1e-14)))
