"""Probes of the codec's codes."""

import numpy as np

from ernest.results.recipe import codec


def test_probes_tell_what_codes_tell():
    rng = np.random.default_rng(0)
    truth = rng.integers(5, size=200)
    telling = np.eye(5)[truth] + rng.normal(0, 0.1, (200, 5))
    assert (codec.probe(telling[:100], truth[:100], telling[100:]) == truth[100:]).mean() > 0.95
    nothing = rng.normal(size=(200, 30))
    assert (codec.probe(nothing[:100], truth[:100], nothing[100:]) == truth[100:]).mean() < 0.5
