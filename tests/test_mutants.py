"""The mutants still break what they say: each piece of text stands in its file exactly once."""

import pytest

from tests.mutants import MUTANTS, REPOSITORY


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.new.strip()[:40]}")
def test_a_mutant_changes_one_place(mutant):
    assert (REPOSITORY / "ernest" / mutant.file).read_text().count(mutant.old) == 1
    assert (REPOSITORY / "tests" / mutant.tests).exists()
