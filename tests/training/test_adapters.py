"""Adapters of low rank: the right gradients, a change of that rank and of nothing else, and a run that goes on bit for bit."""

from dataclasses import replace

import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.going_on import check_named, going_on
from ernest.config.recipe import Recipe
from ernest.config.tables import SequenceConfig, TrainingConfig
from ernest.demo.recipe import demo_recipe
from ernest.model.cost import trained_parameters
from ernest.storage import load_tensors, save_tensors
from ernest.training.adapters import Adapters, factor_count
from ernest.training.loop import train
from ernest.training.resume import check_room
from tests.commands import ernest
from tests.small import CONFIG, network, tokenizers

RECIPE = Recipe(
    model=CONFIG,
    sequence=SequenceConfig(rows=2, length=120),
    training=TrainingConfig(steps=4, warmup=1, learning_rate=1e-2, save_every=2, show_every=0, adapter_rank=2, bias_speed=0.0),
)


def test_gradients_are_those_of_the_product():
    """Passed on in the backward pass, in which no gradient of a matrix is left, and added up over two of them."""
    torch.manual_seed(0)
    model = network().train().requires_grad_(True)
    adapters = Adapters(model, 3)
    names = list(adapters.matrices)
    name = next(name for name in names if name.endswith("w_gate_up"))
    number = names.index(name)
    up, down = adapters.up[number], adapters.down[number]
    assert up.shape[-1] == down.shape[-2] == 3
    with torch.no_grad():
        up.normal_()
    wanted = torch.randn_like(model.get_parameter(name))
    ((adapters.base[number] + up @ down) * wanted).sum().backward()
    assert up.grad is not None
    assert down.grad is not None
    expected = up.grad, down.grad
    adapters.factors.zero_grad()
    (model.get_parameter(name) * wanted).sum().backward()
    torch.testing.assert_close((up.grad, down.grad), expected)
    (model.get_parameter(name) * wanted).sum().backward()
    torch.testing.assert_close((up.grad, down.grad), tuple(2 * one for one in expected))
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture
def start(tmp_path):
    torch.manual_seed(5)
    save_tensors(tmp_path / "start.safetensors", network().state_dict())
    return tmp_path / "start.safetensors"


def test_a_run_changes_matrices_by_a_low_rank_and_nothing_else(store, tmp_path, start):
    before = load_tensors(start)
    after = train(RECIPE, store, tokenizers(), tmp_path / "run", begin_with=start).state_dict()
    assert after.keys() == before.keys()
    changed = 0
    for name, weight in after.items():
        if torch.equal(weight, before[name]):
            continue
        changed += 1
        ranks = torch.linalg.matrix_rank((weight - before[name]).double(), rtol=1e-3)
        assert int(ranks.max()) <= 2, name
        assert "router" not in name
        assert name.startswith(("backbone.", "encoder."))
    assert changed > 10


def test_cut_and_resumed_is_bitwise_the_unbroken_run(store, tmp_path, start):
    whole = train(RECIPE, store, tokenizers(), tmp_path / "whole", begin_with=start).state_dict()

    def stop(step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, store, tokenizers(), tmp_path / "cut", on_step=stop, begin_with=start)
    state, whole_network = tmp_path / "cut/step-0000002", sum(weight.numel() for weight in whole.values())
    kept = sum(
        tensor.numel() for name in ("model", "optimizer") for tensor in load_tensors(state / f"{name}.safetensors").values()
    )
    spec = tokenizer_spec(tokenizers())
    assert kept == pytest.approx(3 * factor_count(RECIPE, spec), rel=0.01)  # the factors and their moments
    assert kept < whole_network / 2  # all weights and theirs are three times as many
    resumed = train(RECIPE, store, tokenizers(), tmp_path / "cut", begin_with=start).state_dict()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


@pytest.mark.parametrize("begin_with", [None, "start"])
def test_adapters_are_of_a_trained_model_whose_choice_of_experts_stays(store, tmp_path, start, begin_with):
    moving = replace(RECIPE, training=replace(RECIPE.training, bias_speed=1e-3 if begin_with else 0.0))
    with pytest.raises(ValueError, match=r"training\.adapter_rank: adapters change a trained model"):
        train(moving, store, tokenizers(), tmp_path / "run", begin_with=start if begin_with else None)


def test_less_is_told_of_disk_and_memory(tmp_path):
    """Of adapters a state holds the factors alone."""
    spec = tokenizer_spec(tokenizers())
    full, factors = trained_parameters(CONFIG, spec), factor_count(RECIPE, spec)
    assert factors == sum(factor.numel() for factor in Adapters(network(), 2).factors.parameters())
    assert check_room(tmp_path, full, factors).startswith(f"disk: up to {4 * (6 * factors + full) / 1e6:,.0f} MB")
    assert factors < full / 5


def test_all_weights_are_trained_without_a_rank(store, tmp_path, start):
    full = replace(RECIPE, training=replace(RECIPE.training, adapter_rank=0))
    before, after = load_tensors(start), train(full, store, tokenizers(), tmp_path / "run", begin_with=start).state_dict()
    assert not torch.equal(after["text_head.weight"], before["text_head.weight"])


def test_ranks_that_save_nothing_and_trainings_from_the_start_are_refused():
    with pytest.raises(ValueError, match=r"adapter_rank = 33: above 32, factors hold more numbers than matrices 64 wide"):
        going_on(replace(RECIPE, training=replace(RECIPE.training, adapter_rank=33)), CONFIG)
    assert going_on(replace(RECIPE, training=replace(RECIPE.training, adapter_rank=32)), CONFIG).training.bias_speed == 0
    with pytest.raises(ValueError, match=r"adapters are for `ernest train --from`"):
        demo_recipe(overrides=("training.adapter_rank=4",))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("size = 8", ""),  # the usual one, which recipes name that are about other things
        ("[model]\nframe_window = 0", ""),
        ("[model]\nframe_window = 4", "model.frame_window = 4: the network goes on as it is, with model.frame_window = 0: leave"),
        ("size = 6", "size = 6: the network goes on as it is, with model.layers = 5: leave size = 6 out"),
    ],
)
def test_a_recipe_that_names_another_network_is_refused(tmp_path, text, wrong):
    """The checkpoint's would win, and nobody would know."""
    (tmp_path / "mine.toml").write_text(text)
    if not wrong:
        check_named(tmp_path / "mine.toml", replace(CONFIG, layers=5))
        return
    with pytest.raises(ValueError, match=f"mine.toml: {wrong}"):
        check_named(tmp_path / "mine.toml", replace(CONFIG, layers=5))


def test_the_command_names_what_is_missing(monkeypatch, capsys, tmp_path):
    assert ernest(monkeypatch, "train", "--data", tmp_path, "--set", "training.adapter_rank=4") == 2
    assert "adapters change a trained model: name it, --from CHECKPOINT" in capsys.readouterr().err
