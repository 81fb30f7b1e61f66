"""What export refuses before it starts, with and without transformers, and the model card."""

import json
import sys
from pathlib import Path

import pytest
import torch

import ernest.export
from ernest.checkpoint import Learnt, save_model
from ernest.cli import model as commands
from ernest.config.submodel_size import SubModelSize
from ernest.export.card import model_card
from ernest.export.folder import read_hf, write_hf
from tests.small import network, tokenizers

LEARNT = Learnt(("image→text",), ("red", "seven"), 250)
WHOLE = {"direction": "image→text", "system": "full", "value": 0.913, "bar": 0.9, "chance": ".10", "verifier": "words|exact"}
FINDINGS = {
    "scores": [WHOLE | {"count": 1200}, WHOLE | {"system": "half", "value": 0.5, "bar": None, "count": 9}],
    "submodels": [{"name": "half depth", "active_share": 0.5, "total_share": 0.6, "scores": {"image→text": 0.8}}],
    "facts": {"trained on": "3.1 million positions in 550 steps"},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(folder, network(), tokenizers(), {"seed": 0}, torch.ones(6, 8), LEARNT)
    return folder


def test_without_transformers_one_line_says_what_to_install(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delattr(ernest.export, "hf", raising=False)
    for name in [name for name in sys.modules if name.startswith("ernest.export.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError, match=r"^transformers is not installed: pip install 'ernest-ai\[hf\]'$"):
        write_hf(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"did you mean .*model"):
        write_hf(checkpoint.parent, tmp_path / "out")
    with pytest.raises(ValueError, match="exists already"):
        write_hf(checkpoint, tmp_path)
    with pytest.raises(ValueError, match=r"no folder of transformers: it has no config\.json"):
        read_hf(checkpoint, tmp_path / "out")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match="expected model_type 'ernest'"):
        read_hf(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="go with --to hf"):
        commands.export(checkpoint, "ernest", tmp_path / "out", size=SubModelSize(layers=5))


def test_the_card_says_scores_data_and_limits():
    model = network()
    card = model_card("demo", model.config, model.spec, LEARNT, {"training": {"steps": 550}, "seed": 4}, FINDINGS)
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "| image→text | 0.913 | 0.9 | .10 | words/exact | 1,200 |" in card
    assert "| half depth | 50% | 60% | image→text 0.8 |" in card
    assert "- directions: image→text\n" in card
    assert "- 550 steps, seed 4\n" in card
    assert "- trained on: 3.1 million positions in 550 steps\n" in card
    assert "32 x 32 pixels" in card
    assert "0.5 |" not in card.split("Sub-models")[0]


def test_the_card_of_a_model_without_scores_says_so():
    model = network()
    assert "have not been scored" in model_card("demo", model.config, model.spec, Learnt((), (), 250), {}, None)
