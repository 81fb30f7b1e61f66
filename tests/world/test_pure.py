"""A record is a pure function of (seed, index): whatever the batch, the threads, the extras and the instruction set."""

import json
from functools import cache

import pytest

from tests.portable import SETTINGS, run

OTHERS = [name for name in SETTINGS if name != "as it is"]

MADE = """
import json, sys
for extra in {without}:
    sys.modules[extra] = None
import torch
from tests.portable import probe
from tests.world.digests import digests
torch.set_num_threads({threads})
sys.stdout.write(json.dumps([digests({size}), probe()]))
"""


@cache
def made(setting: str, size: int, threads: int, *without: str) -> tuple[dict[str, str], dict[str, str]]:
    """Digests of records that a process of its own made `size` at a time, and of its probe."""
    records, probed = json.loads(run(setting, MADE.format(size=size, threads=threads, without=without)))
    return records, probed


def alone() -> dict[str, str]:
    """Digests of records made one by one, by one thread."""
    return made("as it is", 1, 1)[0]


def assert_as_alone(made: dict[str, str]) -> None:
    assert made.keys() == alone().keys()
    assert [name for name, digest in made.items() if digest != alone()[name]] == []


def test_settings_change_the_bits_of_something() -> None:
    plain = made("as it is", 1, 1)[1]
    assert plain == made("as it is", 24, 1)[1], "a probe that changes by itself shows nothing"
    for setting in OTHERS:
        changed = {name for name, digest in made(setting, 24, 1)[1].items() if digest != plain[name]}
        assert {"torch softmax float32", "numpy functions float64"} <= changed  # MKL has one path only on processors of AMD


def test_digests_tell_records_apart() -> None:
    # A text and a picture each stand in two tasks or more, but never alike: what is made and asked differs.
    assert len(set(alone().values())) > 0.9 * len(alone())


@pytest.mark.parametrize(("size", "threads"), [(7, 2), (24, 1)])
def test_a_record_does_not_depend_on_its_batch_and_the_threads(size: int, threads: int) -> None:
    assert_as_alone(made("as it is", size, threads)[0])


@pytest.mark.parametrize("setting", OTHERS)
def test_a_record_does_not_depend_on_the_instruction_set(setting: str) -> None:
    assert_as_alone(made(setting, 24, 1)[0])


def test_a_record_does_not_depend_on_what_is_installed() -> None:
    assert_as_alone(made("as it is", 24, 1, "numba", "pyfftw")[0])
