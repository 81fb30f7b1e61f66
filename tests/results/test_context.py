"""The growing context: what is compared is comparable, what is measured is where it is said to be, and what that says."""

from dataclasses import replace

import numpy as np
import pytest

from ernest.config.stages import longest, parts, sequence_at
from ernest.results import context, context_page
from ernest.results.context import BEFORE, FIRST, GROWN, SHORT, SPANS, begins, judged_texts, readers, recipe_of, span, summarise
from ernest.results.context_page import judge, write
from ernest.results.outcome import read_outcomes
from ernest.training.schedule import schedule_values
from tests.small import network, tokenizers


def test_both_runs_read_as_much_at_the_same_rates():
    grown, short = recipe_of(GROWN, 1), recipe_of(SHORT, 1)
    assert (longest(grown).length, longest(short).length) == (1024, 256)
    assert replace(grown, mixture=short.mixture, sequence=short.sequence) == short
    for step in range(context.STEPS):
        one, other = sequence_at(grown, step), sequence_at(short, step)
        assert one.rows * one.length == other.rows * other.length
        assert schedule_values(step, grown.training) == schedule_values(step, short.training)
    assert parts(grown)[1].begin % context.SAVE_EVERY  # else a run could go on behind the border without having looked there


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
    costs: dict[str, list[int]] = {FIRST: [], context.NEAR: [], context.MIDDLE: [], context.FAR: []}
    for told, starts in zip(texts, first, strict=True):
        for number, one in enumerate(told):
            name_of = len(kit.text.encode(f"{' ' if number else ''}{one.name}"))
            ago = starts[number] - starts[one.before]
            name = FIRST if one.before < 0 else [context.NEAR, context.MIDDLE, context.FAR][int(ago > 64) + int(ago > 256)]
            costs[name].append(sum(range(starts[number] + name_of, starts[number + 1])))
    assert {name: found.get(name) for name in costs if costs[name]} == pytest.approx(
        {name: np.mean(values) for name, values in costs.items() if values}
    )


def test_a_good_memory_is_worth_something_only_behind_its_length(monkeypatch):
    monkeypatch.setattr(context, "JUDGED", 6)
    found = readers(tokenizers())
    good, bad = found[context.REMEMBERS], found[context.FORGETS]
    assert all(good[span(*one)] == bad[span(*one)] for one in SPANS if one[1] <= 256)
    assert good[span(512, 1024)] < bad[span(512, 1024)]


def test_the_border_is_looked_at_and_a_measured_run_is_kept(monkeypatch, tmp_path):
    asked = []

    def train(recipe, store, kit, run, on_step):
        for step in range(recipe.training.steps):
            on_step(step, {}, net)
        asked.append(recipe)
        return net

    class Net:
        looks = 0

        def eval(self):
            return self

        def train(self):
            return self

    net = Net()

    def losses(which, kit):
        which.looks += 1
        return {"loss": float(which.looks)}

    monkeypatch.setattr(context, "train", train)
    monkeypatch.setattr(context, "losses", losses)
    monkeypatch.setattr(context, "TEXTS", {"short": (2, 3, 4), "half": (4, 4, 1), "long": (5, 5, 1)})
    study = context.Study(tmp_path)
    found = context.measure(study, 0)
    assert found == {BEFORE: {"loss": 1.0}, GROWN: {"loss": 2.0}, SHORT: {"loss": 3.0}}
    assert context.measure(study, 0) == found
    assert len(asked) == 2
    assert [path.name for path in (tmp_path / "seed-0").iterdir() if path.is_dir()] == []


def made_up(near: float, far: float, short_far: float) -> dict[str, dict[str, float]]:
    others = dict.fromkeys((context.NEAR, context.MIDDLE, context.FAR, FIRST), 1.0)
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
    exact = {context.REMEMBERS: dict.fromkeys((span(*one) for one in SPANS), 0.4)}
    write([made_up(0.6, 0.5, 0.9)], exact, tmp_path)
    page = (tmp_path / "context.md").read_text()
    assert "1 of 3 seeds" in page
    assert "-0.100 (one seed)" in page
    assert (tmp_path / "context/positions.png").stat().st_size > 1000
    assert read_outcomes(tmp_path / "context")[context_page.CLAIM].verdict == "can't be judged here"


def test_losses_of_a_network(monkeypatch):
    """Every token of every text once, in nats near those of a guess."""
    monkeypatch.setattr(context, "JUDGED", 2)
    monkeypatch.setattr(context, "MENTIONS", 80)
    found = context.losses(network(), tokenizers())
    assert set(found) >= {span(*one) for one in SPANS} | {FIRST}
    assert all(0.3 * np.log(290) < found[span(*one)] < 3 * np.log(290) for one in SPANS)
