"""The rule of attention on random rows."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ernest.sequence.mask import allowed
from tests.references.mask import sees


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), min_size=1, max_size=4), st.integers(0, 5))
def test_the_rule_is_the_oracle(documents, padding):
    lengths = [sum(blocks) for blocks in documents]
    document = torch.tensor([d for d, n in enumerate(lengths) for _ in range(n)] + [-1] * padding)
    group = torch.tensor([b for blocks in documents for b, n in enumerate(blocks) for _ in range(n)] + [0] * padding)
    mask = allowed(document, group, document, group).numpy()
    real = sum(lengths)
    np.testing.assert_array_equal(mask[:real, :real], sees(documents))
    assert not mask[:real, real:].any()
    assert not mask[real:, :real].any()
    assert mask.any(axis=1).all()  # no query is left with nothing, which would make softmax NaN
