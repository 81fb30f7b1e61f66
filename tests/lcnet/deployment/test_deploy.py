"""A deployed network answers as the eager one, or is not written; what cannot be is told before any work."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from ernest.lcnet import GraphForm, PPLCNet, fold, load, save, small_images
from ernest.lcnet.deployment import deploy as deploying
from ernest.lcnet.deployment.deploy import deploy, summary
from ernest.lcnet.deployment.runtimes import eager_model, open_model
from ernest.lcnet.deployment.verify import compare
from ernest.lcnet.image_io.preprocess import normalise_pictures
from ernest.lcnet.native import available
from ernest.lcnet.native.build import features
from ernest.lcnet.native.executor import has_products
from ernest.lcnet.weights.native import Precision, read_checkpoint
from tests.lcnet.networks import DIGITS, NAMES, as_inputs, digits, save_digits, with_statistics, write_digits

pytest.importorskip("onnxruntime", reason="needs ernest-ai[deploy]")
pytest.importorskip("openvino", reason="needs ernest-ai[deploy]")

TARGETS = [
    ("native", "fp32"),
    ("native", "bf16"),
    ("native", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnx", "fp32"),
    ("onnx", "int8"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_digits(tmp_path_factory.mktemp("trained") / "best.safetensors")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_digits(folder, 897, 1297)
    return folder


def correct(run, images: torch.Tensor, classes: np.ndarray) -> int:
    return int((run(images).argmax(1).numpy() == classes).sum())


LIMITED = os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX512").startswith(("AVX2", "SSE"))
"""Whether the environment takes kernels from OpenVINO that it counts on: it looks at the processor alone."""


def lacks_products(to: str, precision: str) -> bool:
    """Whether this processor, or a limit that the environment sets, leaves no products of a precision."""
    if to == "native":
        return not any(has_products(name, features(), precision) for name in available())
    return (to, precision) == ("openvino", "bf16") and (LIMITED or "avx512_bf16" not in features())


@pytest.mark.parametrize(("to", "precision"), TARGETS)
def test_every_target_keeps_the_answers_and_carries_labels(to, precision, checkpoint, pictures, tmp_path) -> None:
    if (to, precision) == ("openvino", "int8"):
        pytest.importorskip("nncf", reason="needs ernest-ai[quantise]")
    if lacks_products(to, precision):
        with pytest.raises(ValueError, match=rf"^precision: {to} {precision} cannot be checked on this machine \(.*fp32\)"):
            deploy(checkpoint, to, precision, tmp_path / f"x{deploying.ENDINGS[to]}", pictures, threads=1)
        assert not list(tmp_path.iterdir())
        return
    done = deploy(checkpoint, to, precision, tmp_path / f"x{deploying.ENDINGS[to]}", pictures, threads=1)
    assert sorted(tmp_path.iterdir()) == sorted(done.files)
    assert done.check.pictures == (200 if precision == "int8" and to != "native" else 400)
    assert done.check.agreement >= {"fp32": 1.0, "bf16": 0.99, "int8": 0.98}[precision]
    assert min(done.milliseconds, done.eager_milliseconds) > 0
    model = open_model(done.files[0], threads=1)
    assert (model.runtime, model.precision, model.labels, model.preprocessing) == (to, precision, NAMES, DIGITS)
    assert model.actual == precision
    assert model.about == {"data": "scikit-learn's digits"}
    shown, classes = digits()
    images = as_inputs(shown[1297:])
    eager = load(checkpoint)
    with torch.no_grad():
        lost = correct(eager, images, classes[1297:]) - correct(model.run, images, classes[1297:])
        assert lost <= {"fp32": 0, "bf16": 1, "int8": 2}[precision], "of 500 pictures"
        if precision == "fp32":
            for shape in ((1, 3, 33, 47), (3, 3, 80, 20), (5, 3, 32, 32)):
                noise = torch.randn(shape)
                assert torch.allclose(model.run(noise), eager(noise), atol=1e-4)
    told = summary(done)
    assert all(str(file) in told for file in done.files)
    assert "pip install" in told


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fewer_bits_are_not_checked_where_nothing_can_compute_them(precision, checkpoint, tmp_path, monkeypatch) -> None:
    """A build server without a compiler would compare plain PyTorch with itself, and time it."""
    monkeypatch.setenv("CXX", "/nowhere/c++")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(ValueError, match=rf"^precision: native {precision} cannot be checked on this machine \("):
        deploy(checkpoint, "native", precision, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def raw(path: Path):
    """A graph as any other program would run it: the input by its only name, outputs by theirs."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (taken,), given = session.get_inputs(), [one.name for one in session.get_outputs()]
        return taken.name, lambda images: dict(zip(given, session.run(None, {taken.name: images}), strict=True))
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (taken,) = compiled.inputs
    return taken.any_name, lambda images: {one.any_name: value for one, value in compiled(images).to_dict().items()}


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_graph_takes_pictures_and_gives_probabilities_and_features(to, bgr, tmp_path) -> None:
    """Uint8 as decoders give it, means and deviations that differ between colours, and blue first inside where asked."""
    network = with_statistics(PPLCNet(small_images(10, scale=0.5)))
    rule = replace(DIGITS, mean=(0.2, 0.5, 0.6), std=(0.2, 0.3, 0.4), bgr=bgr)
    save(tmp_path / "x.safetensors", network, NAMES, rule)
    done = deploy(tmp_path / "x.safetensors", to, form=GraphForm(pictures=True, probabilities=True, features=True), threads=1)
    assert "input pictures (uint8, N x H x W x C, red first), output logits and probabilities and features" in summary(done)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), np.uint8)
    images = normalise_pictures(pictures, rule)
    with torch.no_grad():
        logits, features = network(images), network.features(images)[-1].mean((2, 3))
    taken, run = raw(done.files[0])
    found = run(pictures)
    assert (taken, set(found)) == ("pictures", {"logits", "probabilities", "features"})
    for name, right in (("logits", logits), ("probabilities", logits.softmax(1)), ("features", features)):
        assert np.abs(found[name] - right.numpy()).max() <= 1e-4, name
    model = open_model(done.files[0], threads=1)
    assert torch.allclose(model.run(images), logits, atol=1e-4)
    with pytest.raises(ValueError, match="images: expected what `prepare` makes of pictures"):
        model.run(images + 0.01)


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_eight_bits_of_a_graph_that_takes_pictures(to, checkpoint, pictures, tmp_path) -> None:
    if to == "openvino":
        pytest.importorskip("nncf", reason="needs ernest-ai[quantise]")
    out = tmp_path / f"x{deploying.ENDINGS[to]}"
    done = deploy(checkpoint, to, "int8", out, pictures, threads=1, form=GraphForm(pictures=True, probabilities=True))
    assert done.check.agreement >= 0.98
    assert raw(out)[0] == "pictures"


@pytest.mark.skipif(LIMITED, reason="OpenVINO gives no rows where its oneDNN is told to do without instructions")
def test_eight_bits_of_openvinos_weights_alone_need_no_pictures(checkpoint, tmp_path) -> None:
    pytest.importorskip("nncf", reason="needs ernest-ai[quantise]")
    whole = deploy(checkpoint, "openvino", "fp32", tmp_path / "whole.xml", threads=1)
    small = deploy(checkpoint, "openvino", "int8", tmp_path / "small.xml", threads=1, form=GraphForm(weights_only=True))
    sizes = [done.files[1].stat().st_size for done in (whole, small)]
    parameters = sum(one.numel() for one in fold(load(checkpoint)).parameters())
    assert sizes[0] == pytest.approx(4 * parameters, rel=0.01), "halves, which OpenVINO writes unless it is told"
    assert sizes[1] < 0.35 * sizes[0]
    assert small.check.snr_db > 30


def test_without_pictures_noise_is_compared(checkpoint, tmp_path) -> None:
    done = deploy(checkpoint, "openvino", "fp32" if lacks_products("openvino", "bf16") else "bf16", tmp_path / "x.xml")
    assert done.check.pictures == 0
    assert done.check.snr_db > 20
    assert "random images" in summary(done)


def test_auto_takes_the_fastest_that_is_close_enough(checkpoint, tmp_path, monkeypatch) -> None:
    """int8 at any closeness while it is the fastest; fp32, which alone is exact, where nothing less will do."""
    able = {one for one in get_args(Precision) if not lacks_products("native", one)}
    speeds = {"int8": 1.0, "bf16": 2.0, "fp32": 3.0}
    monkeypatch.setattr(deploying, "time_both", lambda model, *_: (speeds[model.actual], 9.0))
    quickest = min(able, key=lambda one: speeds[one])
    assert deploying.fastest(checkpoint, "native", closeness=0) == quickest
    assert deploying.fastest(checkpoint, "native", closeness=90) == "fp32"
    done = deploy(checkpoint, "native", "auto", tmp_path / "x.safetensors", threads=1, closeness=0)
    assert (done.precision, open_model(done.files[0]).precision) == (quickest, quickest)
    speeds["int8"] = 8.0
    assert deploying.fastest(checkpoint, "native", closeness=0) != "int8"
    with pytest.raises(ValueError, match=r"^precision: auto is for native"):
        deploy(checkpoint, "onnx", "auto")


def test_the_default_name_lies_beside_the_checkpoint(checkpoint) -> None:
    done = deploy(checkpoint, "onnx")
    assert done.files == (checkpoint.with_name("best.fp32.onnx"),)
    done.files[0].unlink()


def test_a_network_that_answers_otherwise_is_not_written(checkpoint, pictures, tmp_path, monkeypatch) -> None:
    old = tmp_path / "x.onnx"
    old.write_text("old")
    other = with_statistics(PPLCNet(small_images(10, scale=0.5)))
    rightly = deploying.onnx_model
    monkeypatch.setattr(deploying, "onnx_model", lambda network, *_: rightly(other))
    with pytest.raises(ValueError, match=r"images \[1, 3, 32, 32\]: logits differ from eager PyTorch's by .*, allowed"):
        deploy(checkpoint, "onnx", "fp32", old)
    with pytest.raises(ValueError, match=r"onnx int8: expected the classes of eager PyTorch for 98% of pictures, got \d"):
        deploy(checkpoint, "onnx", "int8", old, pictures)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_differences_are_found_at_every_precision(checkpoint) -> None:
    eager = eager_model(read_checkpoint(checkpoint))
    shown, _ = digits()
    images = list(as_inputs(shown[:160]).split(40))

    def off(by: float):
        return replace(eager, forward=lambda images: eager.run(images) + by * eager.run(images).abs().max() * torch.eye(10)[0])

    assert compare(eager, eager, "fp32", images).agreement == 1
    for precision, by in (("fp32", 2e-4), ("bf16", 1.0), ("int8", 1.0)):
        with pytest.raises(ValueError, match="eager PyTorch"):
            compare(eager, off(by), precision, images)
    with pytest.raises(ValueError, match="for 10 dB on noise, got"):
        compare(eager, off(3.0), "int8", [])
    with pytest.raises(ValueError, match="eager PyTorch"):
        compare(eager, off(float("nan")), "bf16", [])


def requests(folder: Path, checkpoint: Path) -> dict[str, tuple[dict, str]]:
    few = folder / "few"
    return {
        "no checkpoint": ({"checkpoint": folder / "no.safetensors"}, "no.safetensors: there is no such file"),
        "another ending": ({"to": "openvino", "out": folder / "x.onnx"}, "x.onnx: a file for openvino ends in .xml"),
        "onto itself": ({"to": "native", "out": checkpoint}, "is the checkpoint itself: choose another name"),
        "bf16 for onnx": ({"precision": "bf16"}, "precision: ONNX Runtime has no bf16 on a CPU"),
        "native, a graph": (
            {"to": "native", "form": GraphForm(pictures=True)},
            "pictures: for onnx and openvino; the native file",
        ),
        "onnx, weights": ({"precision": "int8", "form": GraphForm(weights_only=True)}, "weights_only: for int8 of openvino, got"),
        "no pictures": ({"precision": "int8"}, "calibration: int8 for onnx needs a folder of 100 or more pictures"),
        "few pictures": ({"precision": "int8", "calibration": few}, "few: expected 100 pictures or more, found 3"),
        "no folder": ({"calibration": folder / "nowhere"}, "nowhere: expected a folder of pictures"),
        "few labels": ({"labels": folder / "two.txt"}, "two.txt: expected a label a line for each of the 10 classes, got 2"),
        "threads": ({"threads": 0}, "threads: expected 1 or more, got 0"),
    }


@pytest.mark.parametrize("name", requests(Path(), Path()))
def test_what_cannot_be_is_told_and_nothing_is_written(name: str, checkpoint, tmp_path) -> None:
    write_digits(tmp_path / "few", 0, 3)
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    before = sorted(tmp_path.rglob("*"))
    change, message = requests(tmp_path, checkpoint)[name]
    request = {"checkpoint": checkpoint, "to": "onnx", "out": tmp_path / f"x{deploying.ENDINGS[change.get('to', 'onnx')]}"}
    with pytest.raises(ValueError, match=re.escape(message)):
        deploy(**(request | change))
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_are_told_before_the_work(checkpoint, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(deploying, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"onnx and openvino missing: pip install 'ernest-ai\[deploy\]'"):
        deploy(checkpoint, "openvino", "fp32", tmp_path / "x.xml")
    monkeypatch.setattr(deploying, "find_spec", lambda name: None if name == "nncf" else True)
    with pytest.raises(ImportError, match=r"nncf missing: pip install 'ernest-ai\[quantise\]'"):
        deploy(checkpoint, "openvino", "int8", tmp_path / "x.xml", pictures)


def test_files_of_others_and_damaged_ones_are_told(checkpoint, tmp_path) -> None:
    import onnx

    onnx_file = deploy(checkpoint, "onnx", "fp32", tmp_path / "x.onnx").files[0]
    xml = deploy(checkpoint, "openvino", "fp32", tmp_path / "x.xml").files[0]
    bare = onnx.load(onnx_file)
    del bare.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    with pytest.raises(ValueError, match=r"bare\.onnx: it carries no labels and no pre-processing"):
        open_model(tmp_path / "bare.onnx")
    onnx.helper.set_model_props(bare, {"ernest.lcnet": json.dumps({"version": 1, "labels": []})})
    (tmp_path / "bare.onnx").write_bytes(bare.SerializeToString())
    with pytest.raises(ValueError, match=r"bare\.onnx: damaged metadata ernest\.lcnet: 'preprocessing'"):
        open_model(tmp_path / "bare.onnx")
    onnx_file.write_bytes(onnx_file.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"x\.onnx: ONNX Runtime cannot read it: "):
        open_model(onnx_file)
    xml.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.xml: OpenVINO cannot read it: Incorrect weights"):
        open_model(xml)
    xml.with_suffix(".bin").unlink()
    with pytest.raises(ValueError, match=r"x\.xml: its weights are missing, .*x\.bin"):
        open_model(xml)
    xml.with_suffix(".bin").touch()
    xml.write_text(xml.read_text()[:500])
    with pytest.raises(ValueError, match=r"x\.xml: OpenVINO cannot read it: Error parsing"):
        open_model(xml)


def test_a_grey_network_is_deployed_too(tmp_path) -> None:
    preprocessing = replace(DIGITS, mean=(0.5,), std=(0.5,))
    path = tmp_path / "grey.safetensors"
    save(path, with_statistics(PPLCNet(replace(small_images(10, 0.5), in_channels=1))), NAMES, preprocessing)
    for to in ("onnx", "openvino", "native"):
        assert deploy(path, to).check.max_error < 1e-4
