"""The network as a whole: what its parts may know (row 44), codes (rows 26, 27), packing, and where contents land."""

import inspect
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from ernest.checkpoint import tokenizer_spec
from ernest.config.tables import ModelConfig
from ernest.data.collate import collate
from ernest.data.examples import Example
from ernest.model.attention import Attention
from ernest.model.backbone import Backbone, Block, Routing
from ernest.model.dispatch import LocalDispatch
from ernest.model.experts import Experts
from ernest.model.network import Ernest
from ernest.model.router import Router
from ernest.sequence.batch import Batch
from ernest.sequence.mask import allowed
from ernest.training.loss import loss_sums
from tests.small import CODES, CONFIG, LEVELS, Maker, documents, network, placed, tokenizers


@pytest.fixture(scope="module")
def model() -> Ernest:
    return network()


@torch.inference_mode()
def test_a_codec_frame_enters_as_the_sum_of_its_levels(model):
    codes = torch.randint(0, CODES + 1, (50, LEVELS), generator=torch.Generator().manual_seed(0))
    by_hand = [sum(model.audio.code_embeddings[q].weight[code] for q, code in enumerate(frame)) for frame in codes.tolist()]
    assert torch.equal(model.audio.embed(codes), torch.stack(by_hand))
    assert len({table.weight.data_ptr() for table in model.audio.code_embeddings}) == LEVELS


@torch.inference_mode()
def test_contents_land_at_their_positions(model):
    """Every position's input is the embedding of what the layout says stands there, and padding is zero."""
    rows = [[placed(d) for d in documents()[:3]], [placed(d) for d in documents()[3:5]]]
    batch = collate(rows, 130, tokenizers())
    x = model.embed(batch)
    assert not x[~batch.valid].any()
    for r, row in enumerate(rows):
        start = 0
        for number, one in enumerate(row):
            span = slice(start, start + len(one.layout))
            assert (batch.document[r, span] == number).all()
            alone = collate([[one]], len(one.layout), tokenizers())
            torch.testing.assert_close(x[r, span], model.embed(alone)[0])
            start += len(one.layout)
        assert (batch.document[r, start:] == -1).all()


@torch.inference_mode()
def test_a_document_packed_with_others_is_as_if_alone(model):
    """Logits of each of nine documents, packed into three rows in another order, against rows of their own (1e-5)."""
    every = [placed(d) for d in documents()]
    alone = [model(collate([[one]], len(one.layout) + 3, tokenizers())) for one in every]
    order = [[4, 0, 2], [6, 1, 7], [3, 8, 5]]
    together = model(collate([[every[i] for i in row] for row in order], 150, tokenizers()))
    flat = [i for row in order for i in row]
    for name in ("text", "bits", "mtp"):
        expected = torch.cat([getattr(alone[i], name) for i in flat if getattr(alone[i], name) is not None])
        assert (getattr(together, name) - expected).abs().max() <= 1e-5
    for level in range(LEVELS):
        expected = torch.cat([alone[i].codes[level] for i in flat if alone[i].codes])
        assert (together.codes[level] - expected).abs().max() <= 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("level", range(LEVELS))
def test_codes_are_conditioned_on_earlier_levels_of_their_frame(model, level):
    """Another code of one level in the third frame: later levels there hear of it, the level itself and earlier ones do not."""
    document = next(d for d in documents() if d.task == "text→speech")
    batch = collate([[placed(document)]], 30, tokenizers())
    value = batch.code_targets.value.clone()
    value[2, level] = (value[2, level] + 1) % CODES
    base, other = model(batch), model(replace(batch, code_targets=replace(batch.code_targets, value=value)))
    changed = torch.stack([(a - b).abs().amax(dim=-1) for a, b in zip(base.codes, other.codes, strict=True)])
    assert not changed[: level + 1].any()  # read before the code is fed back, at this frame and at all others
    assert (changed[level + 1 :, 2] > 1e-3).all()
    assert not changed[:, :2].any()
    assert (changed[level + 1 :, 3:] > 0).all()  # later frames hear of it by attention in the top layers


@torch.inference_mode()
def test_what_is_fed_back_is_the_input_embedding_of_the_level(model):
    codes, at = torch.tensor([5, CODES]), torch.tensor([1, 3])
    for level in range(LEVELS):
        x = model.audio.step(CONFIG.layers - LEVELS + level, torch.zeros(1, 4, CONFIG.width), at, lambda level, logits: codes)
        expected = torch.zeros(4, CONFIG.width)
        if level + 1 < LEVELS:
            expected[at] = model.audio.code_embeddings[level].weight[codes]
        assert torch.equal(x[0], expected)
    below = torch.randn(1, 4, CONFIG.width)
    assert model.audio.step(CONFIG.layers - LEVELS - 1, below, at, lambda level, logits: codes) is below


@torch.inference_mode()
def test_feedback_changes_only_positions_that_predict_codes(model):
    with_codes = next(d for d in documents() if d.task == "text→speech")
    text = next(d for d in documents() if d.task == "text")
    rows = collate([[placed(text), placed(with_codes)]], 60, tokenizers())
    alone = collate([[placed(text)]], 60, tokenizers())
    length = len(placed(text).layout)
    assert (model(rows).text[:length] - model(alone).text).abs().max() <= 1e-5


@torch.inference_mode()
def test_future_head_predicts_the_token_after_next_from_the_text_alone(model):
    every = [placed(d) for d in documents()]
    batch = collate([[one] for one in every], 100, tokenizers())
    rows, columns = (batch.mtp.index >= 0).nonzero(as_tuple=True)
    at = batch.mtp.index[rows, columns]
    assert torch.equal(batch.token_target[rows, at], batch.mtp.token_id[rows, columns])
    assert torch.equal(batch.token_id[rows, at + 1], batch.mtp.token_id[rows, columns])
    assert torch.equal(batch.token_target[rows, at + 1], batch.mtp.target[rows, columns])
    assert (batch.mtp.target[batch.mtp.index < 0] == -1).all()
    text = next(i for i, d in enumerate(documents()) if d.task == "text")
    assert (rows == text).sum() == len(every[text].layout) - 1
    # Its logits come from h_t and the embedding of x_{t+1}: another x_{t+1} at the last column moves only that column.
    token_id = batch.mtp.token_id.clone()
    token_id[text, (rows == text).sum() - 1] += 1
    moved = model(replace(batch, mtp=replace(batch.mtp, token_id=token_id)))
    change = (moved.mtp - model(batch).mtp).abs().amax(dim=-1)
    assert change.nonzero()[:, 0].tolist() == [int((rows <= text).sum()) - 1]


@torch.inference_mode()
def test_other_names_of_tasks_change_nothing(model):
    named = [[placed(d)] for d in documents()]
    renamed = [[placed(Example(d.segments, "something else"))] for d in documents()]
    outputs = [model(collate(rows, 100, tokenizers())) for rows in (named, renamed)]
    assert torch.equal(outputs[0].text, outputs[1].text)
    assert torch.equal(outputs[0].bits, outputs[1].bits)
    assert outputs[0].router_output.expert_ids.shape == (CONFIG.layers, len(named), 100, CONFIG.top_k)
    assert torch.equal(*(out.router_output.expert_ids for out in outputs))


@torch.inference_mode()
def test_the_trunk_routes_by_the_hidden_state_alone(model):
    """The same vectors under other groups of one position each, as text, are routed bit for bit the same in the first layer."""
    batch = collate([[placed(documents()[0])]], 50, tokenizers())
    x = model.embed(batch)
    pool = model.backbone.blocks[0].moe
    gates, chosen = pool.router(x[0])
    shuffled = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    other_gates, other_chosen = pool.router(x[0, shuffled])
    assert torch.equal(chosen[shuffled], other_chosen)
    torch.testing.assert_close(gates[shuffled], other_gates)


def test_no_part_of_the_trunk_is_told_a_modality():
    told = set()
    for part in (Backbone, Block, Attention, Experts, Router, torch.nn.RMSNorm):
        told |= set(inspect.signature(part.forward).parameters)
    told |= set(inspect.signature(LocalDispatch.__call__).parameters) | set(inspect.signature(allowed).parameters)
    told |= {f.name for f in fields(Routing)} | {f.name for f in fields(ModelConfig)}
    words = {word for name in told for word in name.lower().split("_")}
    assert not words & {"modality", "modalities", "kind", "task", "source", "text", "image", "vision", "video", "audio"}


def test_every_parameter_gets_a_gradient_from_a_mixed_batch():
    model = network().train()
    batch = collate([[placed(d)] for d in documents()], 100, tokenizers())
    out = model(batch)
    loss = sum(part.float().square().mean() for part in (out.text, out.mtp, out.bits, *out.codes))
    loss.backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # The last level's feedback is only ever an input; the single expert of the mtp head leaves its router no choice.
    assert without == {"mtp.block.moe.router.weight"}


@torch.inference_mode()
def test_a_batch_without_some_modality_runs(model):
    for document in documents():
        out = model(collate([[placed(document)]], 100, tokenizers()))
        assert torch.isfinite(out.text).all()


@pytest.mark.parametrize("task", sorted({document.task for document in documents()}))
def test_every_part_runs_whatever_a_batch_holds(task):
    """The same modules in the same order as with everything, down to a batch that predicts nothing; no gradient is missing."""
    make = Maker(np.random.default_rng(0))
    silent = Example((make.text(False), make.text(False)), "nothing to predict")
    orders = []
    for chosen in (documents(), [d for d in documents() if d.task == task], [silent]):
        model, order = network().train(), []
        for name, module in model.named_modules():
            module.register_forward_hook(lambda *_, name=name, order=order: order.append(name))
        batch = collate([[placed(document)] for document in chosen], 100, tokenizers())
        added, _ = loss_sums(model(batch), batch)
        added.sum().backward()
        assert torch.isfinite(added).all()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        orders.append(order)
    assert orders[0] == orders[1] == orders[2]
    assert set(orders[0]) >= {
        n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Embedding)
    }


def test_audio_heads_need_layers_of_their_own():
    with pytest.raises(ValueError, match=r"model\.layers = 3 must exceed the audio levels \(3\)"):
        Ernest(replace(CONFIG, layers=3), tokenizer_spec(tokenizers()))


def test_a_batch_moves_as_one():
    batch = collate([[placed(documents()[0])]], 50, tokenizers())
    moved = batch.to("meta")
    assert isinstance(moved, Batch)
    assert moved.token_id.is_meta
    assert moved.cells.value.is_meta
    assert moved.mtp.index.is_meta
    np.testing.assert_array_equal(batch.valid.sum(), len(placed(documents()[0]).layout))


def test_a_network_made_without_memory_gets_the_weights_of_one_made_in_place():
    torch.manual_seed(3)
    wanted = Ernest(CONFIG, tokenizer_spec(tokenizers()))
    after = torch.rand(3)
    with torch.device("meta"):
        model = Ernest(CONFIG, tokenizer_spec(tokenizers()))
    assert all(value.is_meta for value in model.state_dict().values())
    model.to_empty(device="cpu")
    for value in model.state_dict().values():
        value.fill_(torch.nan)
    torch.manual_seed(3)
    model.init_weights()
    for name, value in wanted.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert torch.equal(torch.rand(3), after)
