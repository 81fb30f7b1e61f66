"""From few bits to many within a training: what was learnt stays to the bit, and a run may be cut on both sides of the switch."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_model, tokenizer_spec
from ernest.config.recipe import Recipe, to_tree
from ernest.config.tables import TokenizerConfig
from ernest.data.store import ExampleStore
from ernest.model.network import Ernest
from ernest.sequence.batch import Cells
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.vision import VisionTokenizer, VisionTokenizerConfig
from ernest.training import pretrain
from ernest.training.export import export_checkpoint
from ernest.training.loop import MEASURED, train
from ernest.training.resume import newest_state
from ernest.training.switching import FIRST, SMALL, widen
from tests.small import BITS, CONFIG, documents, network, recipe, tokenizers

MANY = 12
FEW = replace(recipe(rows=1, steps=4, save_every=1), tokenizers=TokenizerConfig(first_bits=BITS))


class Cut(Exception):
    """A run is killed."""


def of_many_bits() -> Tokenizers:
    torch.manual_seed(1)
    vision = VisionTokenizer(VisionTokenizerConfig(bits=MANY, width=8)).eval().requires_grad_(False)
    return replace(tokenizers(), vision=vision)


def examples(bits: int) -> list:
    """Documents whose latents have so many bits: those of few, and for the rest the first ones again."""
    found = []
    for one in documents():
        segments = [
            replace(part, data=part.data[:, list(range(BITS)) + list(range(bits - BITS))]) if part.form == "latent" else part
            for part in one.segments
        ]
        found.append(replace(one, segments=tuple(segments)))
    return found


@pytest.fixture
def run(tmp_path):
    """As `prepare` leaves it."""
    for folder, made, bits in ((tmp_path, of_many_bits(), MANY), (tmp_path / FIRST, tokenizers(), BITS)):
        made.save(folder / "tokenizers")
        ExampleStore.write(folder / "examples/own", examples(bits))
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(FEW)))
    return tmp_path


def test_a_wider_network_says_of_its_old_bits_what_it_said():
    """Whatever stands in the new columns; its new bits are as good as even."""
    old = network()
    new = Ernest(CONFIG, replace(tokenizer_spec(tokenizers()), bits=MANY)).eval()
    new.load_state_dict(widen(old.state_dict(), BITS, MANY, torch.Generator().manual_seed(0)))
    few, more = torch.randn(5, 2, BITS), torch.randn(5, 2, MANY - BITS)
    frame, rest = torch.randn(1, BITS, 16), torch.randn(1, MANY - BITS, 16)
    index, empty = torch.arange(5), torch.zeros(5, CONFIG.width)
    with torch.no_grad():
        narrow, wide = (
            one.embed_cells(Cells(index, value.flatten(1), index % 3, index[:1], whole.flatten(1)), empty)
            for one, value, whole in ((old, few, frame), (new, torch.cat([few, more], 2), torch.cat([frame, rest], 1)))
        )
        torch.testing.assert_close(wide, narrow)
        hidden = torch.randn(100, CONFIG.width)
        torch.testing.assert_close(new.bit_head(hidden)[:, :BITS], old.bit_head(hidden))
        assert 0.5 * SMALL < float(new.bit_head(hidden)[:, BITS:].std()) < 2 * SMALL


def test_moments_of_what_is_new_are_zero_and_the_others_stay():
    moments = {"bit_head.weight/exp_avg": torch.ones(BITS, 3), "bit_head.weight/step": torch.tensor(4.0)}
    moments["norm/exp_avg"] = torch.ones(2)
    wider = widen(moments, BITS, MANY)
    assert wider["bit_head.weight/exp_avg"].sum(1).tolist() == [3.0] * BITS + [0.0] * (MANY - BITS)
    assert wider["bit_head.weight/step"] == 4
    assert torch.equal(wider["norm/exp_avg"], torch.ones(2))
    cells = widen({"cell_projection.weight": torch.arange(2.0 * BITS)[None]}, BITS, MANY)["cell_projection.weight"]
    gap = [0.0] * (MANY - BITS)
    assert cells[0].tolist() == [*range(BITS), *gap, *range(BITS, 2 * BITS), *gap]


class Silent:
    """In the place of the monitor, which would show a bar."""

    def __init__(self, *_) -> None:
        self.bar = self

    def stop(self) -> None:
        pass


def trained(run: Path, monkeypatch, cuts: tuple[int, ...] = ()) -> tuple[list[dict], Ernest]:
    """Through `pretrain`, killed behind some steps and begun again each time."""
    monkeypatch.setattr(pretrain, "Monitor", Silent)
    for cut in cuts:

        def until_cut(*args, **kwargs):
            return train(*args[:6], on_step=lambda number, *_: killed(number == cut), **kwargs)  # noqa: B023

        monkeypatch.setattr(pretrain, "train", until_cut)
        with pytest.raises(Cut):
            pretrain.pretrain(run, 0, 1)
        if cut < FEW.first_steps - 1:
            with pytest.raises(ValueError, match=r"has tokenizers\.first_bits yet: .* once it has switched to all bits$"):
                export_checkpoint(run, run / "early")
    monkeypatch.setattr(pretrain, "train", lambda *args, **kwargs: train(*args[:6], **kwargs))
    pretrain.pretrain(run, 0, 1)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    model, made = load_model(run / "model")
    assert model.spec.bits == made.vision.spec.bits == MANY
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines], model


def killed(now: bool) -> None:
    if now:
        raise Cut


def test_cut_and_resumed_is_bitwise_the_unbroken_run(run, tmp_path_factory, monkeypatch):
    """Killed before the switch, at it and behind it."""
    other = Path(shutil.copytree(run, tmp_path_factory.mktemp("other") / "run"))
    losses, model = trained(run, monkeypatch)
    again, resumed = trained(other, monkeypatch, (0, 1, 2))
    assert [line["step"] for line in losses] == list(range(4))
    assert losses == again
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in model.state_dict().items())
    assert newest_state(run / FIRST) is None


def test_what_cannot_be_is_refused(tmp_path):
    for name, value, fault in (
        ("first_bits", 16, r"tokenizers.first_bits = 16 must be 0, for no switch, or fewer than 16"),
        ("first_share", 1.0, r"tokenizers.first_share = 1.0 must lie between 0 and 1"),
    ):
        with pytest.raises(ValueError, match=fault):
            TokenizerConfig(**{name: value})
    for share, steps in ((0.1, 0), (0.9, 4)):
        with pytest.raises(ValueError, match=rf"first_share = {share}: the switch would be behind {steps} of training"):
            replace(FEW, tokenizers=replace(FEW.tokenizers, first_share=share))
    assert Recipe().first_steps == 0
    assert FEW.first_steps == 2
    with pytest.raises(ValueError, match=r"tokenizers.first_bits: what becomes wider is whole, and .*shard = 2"):
        replace(FEW, sequence=replace(FEW.sequence, rows=4), parallel=replace(FEW.parallel, shard=2))
