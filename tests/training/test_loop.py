"""Training is exact: a run that was cut goes on as if it had not been, and says so where it cannot."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.config.tables import ElasticConfig, SequenceConfig
from ernest.data.store import ExampleStore
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.training.loop import MEASURED, seen_length, train
from tests.small import SENTENCES, documents, recipe, tokenizers

LOSSES = ("text", "mtp", "vision", "audio", "norm", "rate", "positions")


class Cut(Exception):
    """A run is killed."""


def test_a_position_sees_its_document():
    """Attention costs what each position sees: a long document counts for all of its positions."""
    rows = torch.tensor([[0, 0, 0, 1, -1], [0, 0, 0, 0, 0]])
    assert seen_length(rows) == pytest.approx((3 * 3 + 1 * 1 + 5 * 5) / 9)


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[dict]:
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines(run)]


def cut_after(step: int):
    def show(done, metrics, model):
        if done == step:
            raise Cut

    return show


def states(run: Path) -> list[str]:
    return sorted(folder.name for folder in run.glob("step-*"))


ONE_ROW = recipe(rows=1, steps=9, save_every=3)  # a row rarely holds all modalities, so many parameters rest in many steps


@pytest.fixture(scope="module")
def unbroken(store, tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    run = tmp_path_factory.mktemp("unbroken")
    return run, train(ONE_ROW, store, tokenizers(), run).state_dict()


@pytest.mark.parametrize("even", [False, True])
def test_experts_take_turns_where_the_recipe_says_so(even, store, tmp_path):
    model = train(recipe(rows=1, steps=1, even_routing=even), store, tokenizers(), tmp_path)
    assert all(block.moe.router.takes_turns == even for block in model.backbone.blocks)


def test_a_run_reports_every_step(unbroken):
    run, _ = unbroken
    told = losses(run)
    assert [line["step"] for line in told] == list(range(9))
    assert any("audio" not in line for line in told)
    assert any("vision" not in line for line in told)
    assert set().union(*told) == {"step", *LOSSES}  # and no other loss: no balance term, no distance to anything
    assert states(run) == ["step-0000009"]


@pytest.mark.parametrize("cut", [0, 2, 4, 6], ids=["before any save", "at a save", "between saves", "after two saves"])
def test_cut_and_resumed_is_bitwise_the_unbroken_run(unbroken, store, tmp_path, cut):
    run, weights = unbroken
    with pytest.raises(Cut):
        train(ONE_ROW, store, tokenizers(), tmp_path, on_step=cut_after(cut))
    assert states(tmp_path) == ([f"step-{(cut + 1) // 3 * 3:07d}"] if cut >= 2 else [])
    model = train(ONE_ROW, store, tokenizers(), tmp_path)
    assert losses(tmp_path) == losses(run)
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name


TWO_STAGES = replace(recipe(rows=4, steps=8, save_every=2, warmup=1, ramp=3, decay_share=0.5),
                     sequence=SequenceConfig(rows=4, length=120, grows_to=(240, 480)))  # fmt: skip


@pytest.fixture(scope="module")
def two_stages(store, tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    run = tmp_path_factory.mktemp("two-stages")
    return run, train(TWO_STAGES, store, tokenizers(), run).state_dict()


def test_every_step_of_two_stages_tells_its_rows(two_stages):
    told = [(line["stage"], line["rows"], line["length"]) for line in lines(two_stages[0])]
    assert told == [(1, 1, 120), (1, 2, 120), (1, 3, 120), (1, 4, 120), (2, 2, 240), (2, 2, 240), (2, 1, 480), (2, 1, 480)]
    assert all(line["positions"] <= line["rows"] * line["length"] for line in lines(two_stages[0]))
    assert lines(two_stages[0])[-1]["positions"] > 300


@pytest.mark.parametrize("cut", [2, 4], ids=["before the border", "behind it"])
def test_cut_and_resumed_in_either_stage_is_bitwise_the_unbroken_run(two_stages, store, tmp_path, cut):
    run, weights = two_stages
    with pytest.raises(Cut):
        train(TWO_STAGES, store, tokenizers(), tmp_path, on_step=cut_after(cut))
    model = train(TWO_STAGES, store, tokenizers(), tmp_path)
    assert losses(tmp_path) == losses(run)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_finished_run_stays_as_it_is(unbroken, store, tmp_path):
    train(ONE_ROW, store, tokenizers(), tmp_path)
    model = train(ONE_ROW, store, tokenizers(), tmp_path)
    assert losses(tmp_path) == losses(unbroken[0])
    assert all(torch.equal(value, unbroken[1][name]) for name, value in model.state_dict().items())


def test_half_written_states_and_lines_are_passed_over(unbroken, store, tmp_path):
    with pytest.raises(Cut):
        train(ONE_ROW, store, tokenizers(), tmp_path, on_step=cut_after(6))
    torn = tmp_path / ".aside-step-0000009-torn" / "step-0000009"
    torn.mkdir(parents=True)
    (torn / "model.safetensors").write_bytes(b"half")
    with (tmp_path / "metrics.jsonl").open("a") as log:
        log.write('{"step": 7, "te')
    train(ONE_ROW, store, tokenizers(), tmp_path)
    assert losses(tmp_path) == losses(unbroken[0])
    assert states(tmp_path) == ["step-0000009"]


def other_text() -> Tokenizers:
    """The same number of words, cut otherwise."""
    text = TextTokenizer.train([sentence[::-1] for sentence in SENTENCES] * 10, tokenizers().text.vocab_size)
    assert text.vocab_size == tokenizers().text.vocab_size
    return replace(tokenizers(), text=text)


@pytest.fixture(scope="module")
def cut_run(store, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("cut")
    with pytest.raises(Cut):
        train(ONE_ROW, store, tokenizers(), run, on_step=cut_after(3))
    return run


def test_other_data_is_refused(cut_run, tmp_path):
    other = [document for seed in range(1, 5) for document in documents(seed)]
    ExampleStore.write(tmp_path / "examples" / "all", other)
    with pytest.raises(ValueError, match=r"step-0000003 .*data"):
        train(ONE_ROW, ExampleStore(tmp_path / "examples"), tokenizers(), cut_run)


def test_another_text_tokenizer_is_refused(cut_run, store):
    with pytest.raises(ValueError, match=r"step-0000003 .*tokenizers"):
        train(ONE_ROW, store, other_text(), cut_run)


@pytest.mark.parametrize(
    "other",
    [replace(ONE_ROW, seed=1), replace(ONE_ROW, training=replace(ONE_ROW.training, learning_rate=1e-4)),
     replace(ONE_ROW, mixture={"text": 2.0})],
    ids=["seed", "learning rate", "mixture"],
)  # fmt: skip
def test_another_recipe_is_refused(cut_run, store, other):
    with pytest.raises(ValueError, match=r"step-0000003 .*recipe"):
        train(other, store, tokenizers(), cut_run)


def test_how_often_a_run_saves_is_no_part_of_it(unbroken, store, tmp_path):
    with pytest.raises(Cut):
        train(ONE_ROW, store, tokenizers(), tmp_path, on_step=cut_after(3))
    training, parallel = replace(ONE_ROW.training, save_every=2, show_every=5), replace(ONE_ROW.parallel, replicate=1)
    otherwise = replace(ONE_ROW, training=training, parallel=parallel)
    train(otherwise, store, tokenizers(), tmp_path)
    assert losses(tmp_path) == losses(unbroken[0])


def test_a_mixture_without_any_task_is_refused(store, tmp_path):
    nothing = replace(ONE_ROW, mixture=dict.fromkeys(store.tasks, 0.0))
    with pytest.raises(ValueError, match="mixture"):
        train(nothing, store, tokenizers(), tmp_path)


def test_training_learns(store, tmp_path):
    """Two dozen steps over the same few documents: every modality falls below its start."""
    long = recipe(rows=4, steps=24, warmup=3, learning_rate=3e-3, save_every=100, elastic=ElasticConfig(1.0, 1.0, 1.0))
    train(long, store, tokenizers(), tmp_path)
    told = lines(tmp_path)
    for name, share in {"text": 0.6, "vision": 0.98, "audio": 0.95, "mtp": 0.7}.items():
        values = [line[name] for line in told if name in line]
        assert sum(values[-3:]) < share * sum(values[:3]), name


def test_balance_moves_biases_of_overloaded_pools_only(unbroken):
    _, weights = unbroken
    biases = {name: value for name, value in weights.items() if name.endswith("router.selection_bias")}
    assert len(biases) == 7
    for name, value in biases.items():
        if name.startswith("backbone"):
            assert value.any()
            assert value.abs().max() <= 9 * recipe().training.bias_speed + 1e-7
