"""A model that is open answers as its file was when it was opened, whatever happens to the file."""

from pathlib import Path

import pytest
import torch

from ernest.lcnet import PPLCNet, Preprocessing, deploy, open_model, save, small_images
from tests.lcnet.networks import with_statistics


@pytest.mark.parametrize(("to", "package"), [("native", "torch"), ("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_a_file_that_is_overwritten_in_place_changes_no_answer(to, package: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason="needs ernest-ai[deploy]")
    torch.manual_seed(0)
    save(tmp_path / "m.safetensors", with_statistics(PPLCNet(small_images(5, scale=0.25))), (), Preprocessing(32, (32, 32)))
    done = deploy(tmp_path / "m.safetensors", to, threads=1)
    model, images = open_model(done.files[0], threads=1), torch.randn(2, 3, 32, 32)
    before = model.run(images)
    for path in done.files:
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.write(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert torch.equal(model.run(images), before)
    model.run(torch.randn(1, 3, 48, 40))  # a size that may be prepared anew
    assert torch.equal(model.run(images), before)
