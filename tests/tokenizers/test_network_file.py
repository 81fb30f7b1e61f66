"""Files of tokenizers: whatever is done to them, they load as what was saved or are refused in one line with their name."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.storage import read_header, save_tensors
from ernest.tokenizers.audio import AudioTokenizer
from ernest.tokenizers.bundle import Tokenizers
from ernest.tokenizers.text import TextTokenizer
from ernest.tokenizers.vision import VisionTokenizer
from tests.small import tokenizers

READERS = {"vision.safetensors": VisionTokenizer.load, "audio.safetensors": AudioTokenizer.load, "text.json": TextTokenizer.load}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "tokenizers"
    tokenizers().save(path)
    return path


def refusal(path: Path) -> str:
    """What is said of a file that cannot be read: one line that begins with its name."""
    with pytest.raises(ValueError, match=r"not|expected|damaged") as refused:
        READERS[path.name](path)
    said = str(refused.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said


def test_all_come_back_to_the_bit(folder: Path) -> None:
    again = Tokenizers.load(folder)
    assert again.text.merges == tokenizers().text.merges
    for kept, saved in ((again.vision, tokenizers().vision), (again.audio, tokenizers().audio)):
        assert kept.config == saved.config
        assert kept.state_dict().keys() == saved.state_dict().keys()
        assert all(torch.equal(value, saved.state_dict()[name]) for name, value in kept.state_dict().items())
        assert not any(p.requires_grad or p.is_meta for p in kept.parameters())
        assert not kept.training


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_cut_anywhere_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for length in {0, 1, 7, 8, 9, 100, len(content) // 3, len(content) // 2, len(content) - 1}:
        (tmp_path / name).write_bytes(content[:length])
        refusal(tmp_path / name)


@pytest.mark.parametrize("name", READERS)
def test_a_changed_header_is_refused_or_harmless(folder: Path, tmp_path: Path, name: str) -> None:
    """200 times one byte of the first 1,500 becomes another: what loads is whole, and nothing else than ValueError ends it."""
    rng = np.random.default_rng(0)
    content = (folder / name).read_bytes()
    refused = 0
    for place, value in zip(rng.integers(min(1500, len(content)), size=200), rng.integers(32, 127, size=200), strict=True):
        (tmp_path / name).write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
        try:
            READERS[name](tmp_path / name)
        except ValueError:
            refusal(tmp_path / name)
            refused += 1
    assert refused > 50


def test_sizes_that_are_not_those_of_the_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    vision = tokenizers().vision
    config = json.loads(read_header(folder / "vision.safetensors").metadata["config"])
    path = tmp_path / "vision.safetensors"
    for changed, said in [
        ({"width": 16}, "size mismatch"),
        ({"bits": -1}, "damaged"),
        ({"scales": [[2, 2]]}, "damaged"),
        ({"wide": 3}, "unknown field 'wide'"),
        ({"width": "many"}, "width = 'many': expected int"),
        ({"width": 10**6}, "size mismatch"),  # terabytes, of which none is asked for
    ]:
        save_tensors(path, vision.state_dict(), {"kind": "a vision tokenizer", "config": json.dumps(config | changed)})
        assert said in refusal(path)
    save_tensors(path, vision.state_dict(), {"kind": "a vision tokenizer"})
    refusal(path)
    save_tensors(path, vision.state_dict())
    assert "expected a vision tokenizer, found something else" in refusal(path)
    path.write_bytes((folder / "audio.safetensors").read_bytes())
    assert "expected a vision tokenizer, found an audio tokenizer" in refusal(path)


def test_where_the_weights_lie_in_the_file_changes_no_result(folder: Path, tmp_path: Path) -> None:
    """Files whose headers are 1 to 63 bytes longer, so that the weights begin at every address: codes and pictures are equal."""
    frames = torch.rand(2, 3, 32, 32)
    waves = [np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)]
    found = []
    for shift in range(64):
        for name in ("vision.safetensors", "audio.safetensors"):
            content = (folder / name).read_bytes()
            length = int.from_bytes(content[:8], "little")
            padded = (length + shift).to_bytes(8, "little") + content[8 : 8 + length] + b" " * shift
            (tmp_path / name).write_bytes(padded + content[8 + length :])
        vision, audio = (READERS[name](tmp_path / name) for name in ("vision.safetensors", "audio.safetensors"))
        with torch.no_grad():
            latent = vision.encode(frames)
            found.append((latent, vision.decode(latent), vision.features(frames), audio.encode(waves)[0]))
        assert all(p.data_ptr() % 64 == 0 for p in [*vision.parameters(), *audio.parameters()])
    for one in found[1:]:
        for a, b in zip(one, found[0], strict=True):
            torch.testing.assert_close(a, b)


def test_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tokenizers().save(tmp_path / "shared")
    finally:
        os.umask(before)
    assert {oct(file.stat().st_mode & 0o777) for file in (tmp_path / "shared").iterdir()} == {"0o640"}
    assert {file.name for file in (tmp_path / "shared").iterdir()} == {*READERS, "media.json"}
