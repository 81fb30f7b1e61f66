"""The growing context: what is compared is comparable, what is measured is where it is said to be, and what that says."""

import numpy as np
import pytest

from ernest.config.stages import longest
from ernest.results.context import page, training
from ernest.results.context.page import judge, write
from ernest.results.context.training import (
    BEFORE,
    FIRST,
    GROWN,
    SHORT,
    SPANS,
    begins,
    judged_texts,
    readers,
    recipe_of,
    span,
    summarise,
)
from ernest.results.outcome import read_outcomes
from ernest.training import loop, makers
from tests.small import network, tokenizers


def test_both_ways_read_as_much_and_part_at_the_border():
    recipe = recipe_of(1)
    border = recipe.training.border
    assert border % training.SAVE_EVERY == 0  # its state is there to go on from
    assert longest(recipe).length == 1024
    grown = [makers.sequence_at(recipe, step) for step in range(training.STEPS)]
    with training.rows_that_stay():
        short = [makers.sequence_at(recipe, step) for step in range(training.STEPS)]
    assert grown[:border] == short[:border]
    assert {(one.rows, one.length) for one in short[border:]} == {(training.ROWS, 256)}
    assert all(one.grows_to for one in short)  # so that longer texts wait
    assert [one.rows * one.length for one in grown] == [one.rows * one.length for one in short]


def test_losses_are_told_where_they_were_measured():
    """The place of a token as its loss: means by span are those of places, and a number costs the sum over its tokens."""
    texts, kit = judged_texts()[:2], tokenizers()
    first = [begins(told, kit) for told in texts]
    for told, starts in zip(texts, first, strict=True):
        assert starts[-1] == len(kit.text.encode(" ".join(map(str, told))))
    each = [np.arange(starts[-1] + 1, dtype=float) for starts in first]
    found = summarise(texts, each, kit)
    for low, high in SPANS:
        assert found[span(low, high)] == (low + high - 1) / 2
    costs: dict[str, list[int]] = {FIRST: [], training.NEAR: [], training.MIDDLE: [], training.FAR: []}
    for told, starts in zip(texts, first, strict=True):
        for number, one in enumerate(told):
            name_of = len(kit.text.encode(f"{' ' if number else ''}{one.name}"))
            ago = starts[number] - starts[one.before]
            name = FIRST if one.before < 0 else [training.NEAR, training.MIDDLE, training.FAR][int(ago > 64) + int(ago > 256)]
            costs[name].append(sum(range(starts[number] + name_of, starts[number + 1])))
    assert {name: found.get(name) for name in costs if costs[name]} == pytest.approx(
        {name: np.mean(values) for name, values in costs.items() if values}
    )


def test_a_good_memory_is_worth_something_only_behind_its_length(monkeypatch):
    monkeypatch.setattr(training, "JUDGED", 6)
    found = readers(tokenizers())
    good, bad = found[training.REMEMBERS], found[training.FORGETS]
    assert all(good[span(*one)] == bad[span(*one)] for one in SPANS if one[1] <= 256)
    assert good[span(512, 1024)] < bad[span(512, 1024)]


@pytest.mark.parametrize("killed", [None, "border", "grown"])
def test_one_first_stage_serves_both_ways_and_what_was_measured_is_kept(monkeypatch, tmp_path, killed):
    """Also where it was stopped while the border was measured, or behind the first of both ways."""
    asked: list[tuple[int, int]] = []

    class Net:
        def eval(self):
            return self

    def train(recipe, store, kit, run, on_step=None):
        begin = max((int(path.name[5:]) for path in run.glob("step-*")), default=0)
        asked.append((begin, makers.sequence_at(recipe, recipe.training.steps - 1).length))
        for step in range(begin, recipe.training.steps):
            if (step + 1) % recipe.training.save_every == 0:
                (run / f"step-{step + 1:07d}").mkdir()
            if on_step is not None:
                on_step(step, {}, Net())
        return Net()

    def losses(network, kit):
        if killed is not None and len(asked) == ("border", "grown").index(killed) + 1 and not stopped:
            stopped.append(killed)
            raise KeyboardInterrupt
        return {"begin": float(asked[-1][0]), "length": float(asked[-1][1])}

    stopped: list[str] = []
    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(training, "losses", losses)
    monkeypatch.setattr(training, "TEXTS", {"short": (2, 3, 4), "half": (4, 4, 1), "long": (5, 5, 1)})
    study = training.Study(tmp_path)
    if killed:
        with pytest.raises(KeyboardInterrupt):
            training.measure(study, 0)
    found = training.measure(study, 0)
    assert found[BEFORE]["begin"] == 0
    assert (found[GROWN]["length"], found[SHORT]["length"]) == (1024, 256)
    assert found[SHORT]["begin"] == recipe_of(0).training.border
    assert training.measure(study, 0) == found
    assert len(asked) == {None: 3, "border": 4, "grown": 4}[killed]
    assert [path.name for path in (tmp_path / "seed-0").iterdir() if path.is_dir()] == []


def made_up(near: float, far: float, short_far: float) -> dict[str, dict[str, float]]:
    others = dict.fromkeys((training.NEAR, training.MIDDLE, training.FAR, FIRST), 1.0)
    spans = [span(low, high) for low, high in SPANS]
    runs = {BEFORE: (0.7, near, far + 1, far + 1), GROWN: (0.7, near, far, far), SHORT: (0.7, 0.6, short_far, short_far)}
    return {arm: dict(zip(spans, values, strict=True)) | others for arm, values in runs.items()}


@pytest.mark.parametrize(
    ("near", "far", "short_far", "verdict"),
    [(0.6, 0.5, 0.9, "holds"), (0.6, 0.7, 0.9, "holds in part"), (0.8, 0.9, 0.9, "doesn't hold here"),
     (0.6, 0.7, 0.6, "doesn't hold here")],
    ids=["as claimed", "no better far out", "lost near as well", "only lost"],
)  # fmt: skip
def test_verdicts(near, far, short_far, verdict):
    seeds = [made_up(near + shift, far + shift, short_far + shift) for shift in (0.0, 0.001, -0.001)]
    assert judge(seeds).verdict == verdict


def test_a_page_of_one_seed_says_so(tmp_path):
    exact = {training.REMEMBERS: dict.fromkeys((span(*one) for one in SPANS), 0.4)}
    write([made_up(0.6, 0.5, 0.9)], exact, tmp_path)
    text = (tmp_path / "context.md").read_text()
    assert "1 of 3 seeds" in text
    assert "-0.100 (one seed)" in text
    assert (tmp_path / "context/positions.png").stat().st_size > 1000
    assert read_outcomes(tmp_path / "context")[page.CLAIM].verdict == "can't be judged here"


def test_losses_of_a_network(monkeypatch):
    """Every token of every text once, in nats near those of a guess."""
    monkeypatch.setattr(training, "JUDGED", 2)
    monkeypatch.setattr(training, "MENTIONS", 80)
    found = training.losses(network(), tokenizers())
    assert set(found) >= {span(*one) for one in SPANS} | {FIRST}
    assert all(0.3 * np.log(290) < found[span(*one)] < 3 * np.log(290) for one in SPANS)
