"""The best size that a budget affords: what is read, chosen and refused, and a cut of a small network from end to end."""

import json
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_model, save_model
from ernest.config.submodel_size import FULL_SIZE, SubModelSize
from ernest.data.store import ExampleStore
from ernest.evaluation import affordable
from ernest.evaluation.affordable import Budget, Measured, ScoredSize, choose_size, read_budget, scored_sizes, token_seconds
from ernest.evaluation.results import Findings, SubModelRow, save
from ernest.model.slicing import expert_importance
from tests.commands import ernest
from tests.small import CONFIG, documents, network, tokenizers

HALF, THIN = SubModelSize(5, 4, 1), SubModelSize(4, 2, 1)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A checkpoint with scores of three sizes beside it."""
    torch.manual_seed(0)
    importance = torch.rand(CONFIG.layers, CONFIG.experts)
    save_model(tmp_path / "model", network(), tokenizers(), {}, importance)
    rows = tuple(
        SubModelRow(name, 1.0, 1.0, layers, experts, top_k, {"image→text": score, "text→image": score - 0.1})
        for name, layers, experts, top_k, score in (("full", 6, 8, 2, 0.9), ("half", 5, 4, 1, 0.8), ("thin", 4, 2, 1, 0.4))
    )
    save(tmp_path / "findings", Findings("a run", submodels=rows))
    return tmp_path


def measured(monkeypatch, **of_size: tuple[float, float]) -> None:
    """Sizes take what is told, megabytes and milliseconds, instead of being measured."""
    sizes = {"full": FULL_SIZE, "half": HALF, "thin": THIN}
    told = {sizes[name]: Measured(1e6 * memory, 1e-3 * latency) for name, (memory, latency) in of_size.items()}
    monkeypatch.setattr(affordable, "measure", lambda asked, *_: {size: told[size] for size in asked})


def test_limits_are_read():
    assert read_budget(["memory=12MB", "latency=3ms/token"]) == Budget(12e6, 3e-3)
    assert read_budget(["latency=250us/token"]) == Budget(None, 250e-6)
    assert read_budget(["memory=1.5GB"]) == Budget(1.5e9, None)


def test_the_best_score_that_fits_is_taken_and_what_it_gives_up_is_told(run, monkeypatch):
    measured(monkeypatch, full=(40, 3.0), half=(20, 2.0), thin=(10, 1.0))
    choice = choose_size(run / "model", read_budget(["memory=25MB"]))
    assert choice.chosen.size == HALF
    lines = [line.split() for line in choice.lines()]
    assert ["MB", "of", "weights", "40.0", "20.0"] in lines
    assert ["image→text", "0.900", "0.800"] in lines
    assert ["mean", "score", "0.850", "0.750"] in lines
    assert choose_size(run / "model", Budget(25e6, 1.5e-3)).chosen.size == THIN


def test_of_equal_scores_the_smallest_is_taken(run, monkeypatch):
    measured(monkeypatch, full=(40, 3.0), half=(20, 2.0), thin=(10, 1.0))
    even = [ScoredSize(name, size, {"a": 0.5}) for name, size in (("full", FULL_SIZE), ("half", HALF), ("thin", THIN))]
    monkeypatch.setattr(affordable, "scored_sizes", lambda _: even)
    assert choose_size(run / "model", Budget(30e6)).chosen.size == THIN


def test_losses_are_better_when_lower():
    good, bad = (ScoredSize("", FULL_SIZE, {"a": loss}, less=True) for loss in (0.2, 0.7))
    assert good.mean > bad.mean


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("memory=9MB", "nothing fits memory=9MB: the smallest that has scores is thin, with 10.0 MB and 1.50 ms/token;"),
        (
            "latency=1ms/token",
            "is thin, with 10.0 MB and 1.50 ms/token, the fastest half, with 20.0 MB and 1.20 ms/token",
        ),
        ("memory=50MB", "fits as it is, with 40.0 MB and 3.00 ms/token: there is nothing to cut"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(run, monkeypatch, capsys, limit, message):
    measured(monkeypatch, full=(40, 3.0), half=(20, 1.2), thin=(10, 1.5))
    assert ernest(monkeypatch, "slice", run / "model", "-o", run / "small", "--fit", limit) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (run / "small").exists()


def test_a_budget_cuts_a_checkpoint_that_keeps_it(run, monkeypatch, capsys):
    """Measured for real: of memory, since time is another each time."""
    bytes_of = {
        size: sum(v.nbytes for v in affordable.cut(network(), torch.rand(6, 8), size).state_dict().values())
        for size in (FULL_SIZE, HALF)
    }
    monkeypatch.setattr(affordable, "ROUNDS", 1)
    monkeypatch.setattr(affordable, "TOKENS", 3)
    limit = f"memory={(bytes_of[HALF] + 1) / 1e6:.6f}MB"
    assert ernest(monkeypatch, "slice", run / "model", "-o", run / "small", "--fit", limit, "latency=100s/token") == 0
    assert "mean score" in capsys.readouterr().out
    small, _ = load_model(run / "small")
    assert (small.config.layers, small.config.experts, small.config.top_k) == (5, 4, 1)
    assert sum(v.nbytes for v in small.state_dict().values()) <= bytes_of[HALF] < bytes_of[FULL_SIZE]


def test_a_run_without_scores_is_scored_on_what_it_held_out(run):
    for file in (run / "findings").iterdir():
        file.unlink()
    (run / "findings").rmdir()
    with pytest.raises(ValueError, match="neither scores of sub-models nor records"):
        scored_sizes(run / "model")
    held_out = [documents()[number] for number in (0, 1)]
    ExampleStore.write(run / "held_out/part", held_out)
    sizes = scored_sizes(run / "model")
    assert sizes[0].size == FULL_SIZE
    assert {one.size.layers for one in sizes} == {None, 5, 4}
    assert {one.size.experts for one in sizes} == {None, 4, 2}
    assert all(one.less and set(one.scores) == {example.task for example in held_out} for one in sizes)
    assert len({json.dumps(one.scores) for one in sizes}) == len(sizes)


def test_a_token_takes_time_and_the_prompt_does_not_count(monkeypatch):
    """With a clock that ticks once a look, every token takes one tick however many texts there are."""
    ticks = iter(range(10**6))
    monkeypatch.setattr(affordable.time, "perf_counter", lambda: float(next(ticks)))
    assert token_seconds(network(), tokenizers(), tokens=5) == 1.0


def test_importance_decides_which_experts_stay():
    importance = torch.zeros(CONFIG.layers, CONFIG.experts)
    importance[:, [1, 6]] = 1.0
    small = affordable.cut(network(), importance, SubModelSize(experts=2, top_k=1))
    whole = network().backbone.blocks[0].moe.router.weight
    assert torch.equal(small.backbone.blocks[0].moe.router.weight, whole[[1, 6]])
    assert expert_importance(small, []).shape == (CONFIG.layers, 2)
