"""The planner: nothing is lost or counted twice over the ranks, activations are those that a forward pass keeps, no torch."""

import subprocess
import sys
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.cli import planner as commands
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.sizes import BLOCK
from ernest.config.tokenizer_spec import usual_spec
from ernest.data.collate import collate
from ernest.data.examples import Example
from ernest.model import native
from ernest.model.cost import trained_parameters
from ernest.model.network import Ernest
from ernest.planner.devices import DEVICES, read_devices
from ernest.planner.layout import Layout, check_layout
from ernest.planner.plan import WIDE, activations, plan, split_parameters
from ernest.planner.search import layouts, search
from ernest.tokenizers.text import TextTokenizer
from ernest.training.loss import loss_sums
from ernest.training.tokenizers import check_network
from tests.small import CONFIG, Maker, network, placed, tokenizers

BASE = load_recipe(find_recipe("base"))


@pytest.mark.parametrize("layout", [Layout(2, 2, 4, 2), Layout(expert=16), Layout(shard=8, expert=2), Layout(2, 1, 4, 2, 4)])
def test_the_expert_divisor(layout):
    """Over all ranks each expert lies `replicate` times, other matrices `replicate` times `expert`, and the rest that times
    `tensor`: no more and no less."""
    count, (replicate, expert, tensor) = split_parameters(BASE), (layout.replicate, layout.expert, layout.tensor)
    of_rank = plan(BASE, layout, DEVICES["H100"]).parameters / WIDE
    wanted = replicate * (count.experts + expert * (count.matrices + tensor * count.rest))
    assert layout.ranks * of_rank == pytest.approx(wanted)
    assert count.total == trained_parameters(BASE.model, usual_spec(BASE.tokenizers.vocabulary))
    # One expert's gradient sums the tokens of all data ranks over its own few copies.
    assert layout.expert_divisor == layout.matrix_divisor * expert == layout.dense_divisor * tensor * expert


def test_gradients_and_moments_are_as_large_as_their_parameters():
    needs = plan(BASE, Layout(shard=2, expert=2), DEVICES["H100"])
    assert needs.gradients == needs.parameters
    assert needs.moments == 2 * needs.parameters


def test_the_usual_sizes_are_those_of_the_tokenizers():
    text = TextTokenizer()
    assert tokenizer_spec(check_network(Recipe(), text)) == usual_spec(text.vocab_size)


def kept_bytes(config, multi_token: bool) -> tuple[float, int, int]:
    """What the forward pass of a batch of texts keeps beside its parameters; its positions and those of a document."""
    torch.manual_seed(0)
    model = network(config=replace(config, multi_token=multi_token)).train()
    words = Maker(np.random.default_rng(0)).text(True, "three plus four is seven" * 2)
    document = placed(Example((words,), "text"))
    batch = collate([[document] * 6] * 2, 6 * len(document.layout), tokenizers())
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        predictions = model(batch)  # alive, so that no storage is used twice
        sums, _ = loss_sums(predictions, batch)
    assert bool(sums.isfinite().all())
    return sum(kept.values()), batch.token_id.numel(), len(document.layout)


@pytest.mark.skipif(not native.usable(), reason="without a C++ compiler other tensors are kept")
@pytest.mark.parametrize("multi_token", [False, True])
@pytest.mark.parametrize("change", [{}, {"layers": 12}, {"width": 128}, {"expert_width": 64}, {"experts": 16}])
def test_activations_are_those_that_a_forward_pass_keeps(change, multi_token):
    config = replace(CONFIG, multi_token=multi_token, **change)
    kept, positions, length = kept_bytes(config, multi_token)
    recipe = replace(Recipe(), model=config)
    recipe = replace(recipe, tokenizers=replace(recipe.tokenizers, vocabulary=tokenizers().text.vocab_size))
    shares = -(-length // BLOCK) * BLOCK
    assert activations(recipe, positions, shares, False, Layout()) == pytest.approx(kept, rel=0.15)


@pytest.mark.parametrize(("change", "copied"), [({}, False), ({"expert_width": 104}, True), ({"width": 264, "heads": 3}, True)])
def test_kernels_for_processors_copy_no_experts_of_the_widths_that_they_take(change, copied):
    recipe = load_recipe()
    recipe = replace(recipe, model=replace(recipe.model, kv_heads=1, **change))
    here, gpu = (plan(recipe, Layout(), replace(DEVICES["H100"], keeps_shares=shares)) for shares in (True, False))
    experts = 0 if copied else 2 * split_parameters(recipe).experts
    assert gpu.buffers - here.buffers == experts
    assert gpu.odd_flops == 0
    fewer = replace(recipe, model=replace(recipe.model, top_k=recipe.model.top_k - 1))  # whose router costs the same
    one_expert = here.flops - plan(fewer, Layout(), replace(DEVICES["H100"], keeps_shares=True)).flops
    assert here.odd_flops == (recipe.model.top_k * one_expert if copied else 0)


def test_what_a_calibration_finds_beside_rates():
    """A step takes the fixed time once, and a third more with checkpointing; odd experts cost so many times their products;
    beside another process only links cost the same."""
    plain = replace(DEVICES["cpu"], odd=1.0)
    odd = load_recipe(overrides=["model.expert_width=104"])
    for saves, again in ((False, 1.0), (True, 4 / 3)):
        for copies in (1, 2):
            layout = Layout(copies, checkpoint_activations=saves)
            before, after = (plan(odd, layout, one) for one in (plain, replace(plain, fixed=0.1, odd=3.0, crowd=1.5)))
            crowd = 1.5 if copies > 1 else 1.0
            assert before.compute_seconds == pytest.approx(before.flops / plain.rate)
            assert before.odd_flops == pytest.approx(again * plan(odd, Layout(copies), plain).odd_flops)
            own = before.compute_seconds + again * 0.1 + 2 * before.odd_flops / plain.rate
            assert after.compute_seconds == pytest.approx(crowd * own)
            assert after.memory_seconds == pytest.approx(crowd * before.memory_seconds)
            assert after.link_seconds == before.link_seconds


def test_checkpointing_keeps_less():
    recipe = replace(BASE, tokenizers=replace(BASE.tokenizers, vocabulary=700))
    whole, saved = (plan(recipe, Layout(8, checkpoint_activations=saves), DEVICES["H100"]) for saves in (False, True))
    assert saved.activations < 0.35 * whole.activations
    assert saved.flops == pytest.approx(whole.flops * 4 / 3)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (Layout(2), "the layout has 2 ranks, and there are 8 devices"),
        (Layout(1, 1, 8), "parallel.expert = 8 must divide model.experts = 12"),
        (Layout(2, 1, 1, 4), "parallel.tensor = 4 must divide model.kv_heads = 2"),
        (Layout(4, tensor=2), "parallel.tensor = 2 must cut model.expert_width = 24 into multiples of 8"),
        (Layout(8), "8 ranks with rows of their own do not divide sequence.rows = 12"),
        (Layout(0), "replicate = 0 must be at least 1"),
        (Layout(2, pipeline=4), "pipeline = 4 does not divide model.layers = 6"),
    ],
)
def test_what_does_not_fit_is_one_line(layout, message):
    recipe = load_recipe(overrides=["model.experts=12", "model.expert_width=24", "model.layers=6", "sequence.rows=12"])
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_layout(recipe, layout, 8)


def test_every_layout_is_tried_and_those_that_fit_come_first():
    found = search(BASE, 8, replace(DEVICES["4090"], memory=8e9))
    assert len(found) == len(layouts(8)) == 2 * 20
    fits = [one.against is None for one in found]
    assert fits == sorted(fits, reverse=True)
    assert any(fits)
    assert "needs" in str([one.against for one in found])
    assert all(one.plan is not None and one.plan.peak <= 0.9 * 8e9 for one in found if one.against is None)


@pytest.mark.parametrize("devices", [1, 7, 12, 60])
def test_layouts_are_all_meshes_whose_sizes_make_up_the_devices(devices):
    sizes = range(1, devices + 1)
    meshes = [one for one in product([n for n in sizes if devices % n == 0], repeat=4) if prod(one) == devices]
    assert [(one.replicate, one.shard, one.expert, one.tensor) for one in layouts(devices)[::2]] == meshes


def test_the_command_shows_what_fits_and_what_does_not(capsys):
    commands.plan("base", "4x4090", set_=(("sequence.rows=2",),))
    shown = capsys.readouterr().out
    assert "2.5%" in shown
    assert "tensor 2" in shown
    assert "on paper" not in shown
    assert "does not fit" in shown


def test_devices_by_name_and_from_a_file(tmp_path):
    assert read_devices("8xH100") == (8, DEVICES["H100"])
    (tmp_path / "mine.toml").write_text("memory = 1e9\nrate = 1e12\nbandwidth = 1e11\nlink = 1e9\n")
    count, mine = read_devices(f"2x{tmp_path / 'mine.toml'}")
    assert (count, mine.memory, mine.keeps_shares) == (2, 1e9, False)
    for wrong in ("H100", "0xH100", "8xABC", "x", "²xH100"):
        with pytest.raises(ValueError, match="expected"):
            read_devices(wrong)
    (tmp_path / "mine.toml").write_text("memory = 1e9\nrate = 0.0\nbandwidth = 1e11\nlink = 1e9\n")
    with pytest.raises(ValueError, match=r"^device\.rate = 0\.0 must be more than 0$"):
        read_devices(f"2x{tmp_path / 'mine.toml'}")


def test_a_plan_needs_no_torch():
    program = "import sys, ernest.planner.search; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_one_rank_computes_what_the_whole_model_costs():
    with torch.device("meta"):
        whole = sum(p.numel() for p in Ernest(BASE.model, usual_spec(BASE.tokenizers.vocabulary)).parameters())
    assert plan(BASE, Layout(), DEVICES["H200"]).parameters == WIDE * whole
