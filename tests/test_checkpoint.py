"""What is kept on disk: bitwise, whole or not at all, and nothing that runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ernest.checkpoint import load_expert_importance, load_model, save_model
from ernest.data.collate import collate
from ernest.model.network import Ernest
from ernest.model.slicing import extract
from ernest.model.submodel import SubModel
from ernest.tokenizers.bundle import Tokenizers
from tests.small import CONFIG, documents, network, placed, tokenizers

LOADED = """
import sys
from pathlib import Path
from ernest.generation.answer import load_engine
load_engine(Path(sys.argv[1]))
assert not {"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    save_model(folder, network(), tokenizers(), {"seed": 3}, torch.arange(48.0).view(6, 8))
    return folder


def logits(model: Ernest) -> list[torch.Tensor]:
    with torch.inference_mode():
        out = model(collate([[placed(d)] for d in documents()], 100, tokenizers()))
    return [out.text, out.mtp, out.bits, *out.codes]


def test_logits_survive_bitwise(kept):
    model, tokens = load_model(kept)
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(logits(model), logits(network()), strict=True))
    assert tokens.text.merges == tokenizers().text.merges
    for mine, theirs in ((tokens.vision, tokenizers().vision), (tokens.audio, tokenizers().audio)):
        assert mine.config == theirs.config
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in mine.state_dict().items())
    assert json.loads((kept / "recipe.json").read_text()) == {"seed": 3}
    assert torch.equal(load_expert_importance(kept), torch.arange(48.0).view(6, 8))


def test_loading_imports_no_compiler(kept):
    """PyTorch's own, whose import takes longer than PyTorch's: a command that is asked for one answer would feel it."""
    subprocess.run([sys.executable, "-c", LOADED, str(kept)], check=True)


def test_a_sliced_checkpoint_is_an_ordinary_one(tmp_path):
    small = extract(network(), SubModel((0, 3, 4, 5), ((1, 2, 5),) * 6, 1))
    save_model(tmp_path / "small", small, tokenizers(), {}, torch.zeros(4, 3))
    model, _ = load_model(tmp_path / "small")
    assert model.config.layers == 4
    assert all(torch.equal(a, b) for a, b in zip(logits(model), logits(small), strict=True))


def test_nothing_is_pickled_and_nothing_is_left_aside(kept):
    files = {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()}
    assert {path.rpartition(".")[2] for path in files} == {"safetensors", "json"}
    assert [path.name for path in kept.parent.iterdir()] == ["model"]


def test_a_checkpoint_is_replaced_whole(kept):
    (kept / "notes.txt").write_text("mine")
    other = network(seed=1)
    save_model(kept, other, tokenizers(), {}, torch.zeros(6, 8))
    assert (kept / "notes.txt").read_text() == "mine"
    assert [path.name for path in kept.parent.iterdir()] == ["model"]
    assert all(torch.equal(a, b) for a, b in zip(logits(load_model(kept)[0]), logits(other), strict=True))


def test_a_write_that_fails_leaves_what_was_there(kept, monkeypatch):
    def fail(tokenizers, folder: Path) -> None:
        assert (folder.parent / "model.json").exists()
        raise OSError("broken")

    monkeypatch.setattr(Tokenizers, "save", fail)
    with pytest.raises(OSError, match="broken"):
        save_model(kept, network(seed=1), tokenizers(), {}, torch.zeros(6, 8))
    assert [path.name for path in kept.parent.iterdir()] == ["model"]
    assert all(torch.equal(a, b) for a, b in zip(logits(load_model(kept)[0]), logits(network()), strict=True))


def test_files_follow_the_users_umask(tmp_path):
    before = os.umask(0o027)
    try:
        save_model(tmp_path / "model", network(), tokenizers(), {}, torch.zeros(6, 8))
    finally:
        os.umask(before)
    modes = {
        oct(path.stat().st_mode & 0o777) for path in (tmp_path / "model").rglob("*.safetensors") if path.parent.name == "model"
    }
    assert modes == {"0o640"}


@pytest.mark.parametrize("name", ["model.safetensors", "importance.safetensors"])
@pytest.mark.parametrize("kept_bytes", [0, 5, 300, -1])
def test_a_cut_file_is_named_in_one_line(kept, name, kept_bytes):
    content = (kept / name).read_bytes()
    (kept / name).write_bytes(content[:kept_bytes])
    with pytest.raises(ValueError, match=rf"{name}: damaged: .") as caught:
        load_model(kept) if name == "model.safetensors" else load_expert_importance(kept)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere is not a checkpoint"):
        load_model(tmp_path / "nowhere")


def test_sizes_travel_with_the_weights(kept):
    sizes = json.loads((kept / "model.json").read_text())
    assert sizes["model"]["layers"] == CONFIG.layers
    assert load_model(kept)[0].spec == network().spec


def test_a_checkpoint_is_loaded_as_the_docs_say(kept, monkeypatch):
    monkeypatch.chdir(kept.parent)
    (kept.parent / "build/demo").mkdir(parents=True)
    kept.rename(kept.parent / "build/demo/model")
    page = Path(__file__).parents[1] / "docs/data.md"
    code = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    found: dict = {}
    exec("\n".join(code), found)
    assert found["picture"].shape == (32, 32, 3)
    assert isinstance(found["words"], str)
