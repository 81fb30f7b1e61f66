"""Weights of others on the command line: what is assumed of them is said, and options say what no file tells."""

import json
from pathlib import Path

import numpy as np
import pytest

from ernest.lcnet import PADDLECLAS, TIMM, PPLCNet, fold, load, load_checkpoint, prepare, small_images
from ernest.lcnet.architecture import STRIDES_TEXT_LINE
from ernest.lcnet.weights.given import foreign_of
from ernest.lcnet.weights.native import save
from tests.commands import ernest
from tests.lcnet.foreign import write_paddle
from tests.lcnet.networks import write_digits
from tests.lcnet.reference import first_arrays, first_logits

LINES = ("--strides", "2,2x1,2x1,2x1,2x1", "--preprocessing", "paddleclas", "--squash", "80", "160")


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """As PaddleClas trains a classifier of lines of text: nothing in the file says so."""
    return write_paddle(tmp_path_factory.mktemp("weights") / "best_model.pdparams", first_arrays(0.25, classes=2))


@pytest.fixture(scope="module")
def line(tmp_path_factory) -> Path:
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (40, 300, 3), np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "line.png"
    Image.fromarray(picture).save(path)
    return path


def answer_of(strides: tuple, picture: Path) -> float:
    """The probability of the first class by the independent reference, with lines pressed into 80x160."""
    from PIL import Image

    rule = foreign_of(None, "paddleclas", (80, 160)).preprocessing
    images = prepare(np.array(Image.open(picture)), rule)
    return first_logits(first_arrays(0.25, classes=2), images, first_strides=strides).softmax(1)[0, 0].item()


def test_lines_of_text_are_classified_with_the_options_and_the_rest_is_said(weights, line, monkeypatch, capsys) -> None:
    assert ernest(monkeypatch, "lcnet", "classify", weights, line, "--json") == 0
    plain = capsys.readouterr()
    assert plain.err == (
        f"ernest: {weights}: taken for a PP-LCNet x0.25 of PaddleClas, 2 classes; strides 2,1,2,2,2,2 (assumed); "
        "dropout 0.2 (assumed); pictures short side 256, middle 224x224, bilinear, red first (assumed); activation h-swish "
        "(assumed)\n"
    )
    known = (*LINES, "--dropout", 0.2, "--activation", "h-swish")
    assert ernest(monkeypatch, "lcnet", "classify", weights, line, "--json", *known) == 0
    told = capsys.readouterr()
    assert not told.err
    labels = {one["label"]: one["probability"] for one in json.loads(told.out)["labels"]}
    assert labels["0"] == pytest.approx(answer_of(STRIDES_TEXT_LINE, line), abs=2e-5)
    assumed = {one["label"]: one["probability"] for one in json.loads(plain.out)["labels"]}
    assert labels["0"] != pytest.approx(assumed["0"], abs=1e-3)


def test_a_deployed_file_holds_what_the_options_said(weights, tmp_path, monkeypatch, capsys) -> None:
    out = tmp_path / "line.safetensors"
    assert ernest(monkeypatch, "lcnet", "deploy", weights, "--to", "native", "-o", out, "--threads", 1, *LINES) == 0
    assert "strides 2,1,2x1,2x1,2x1,2x1 (given); dropout 0.2 (assumed)" in capsys.readouterr().err
    found = load_checkpoint(out)
    assert found.network.architecture.strides == STRIDES_TEXT_LINE
    assert (found.preprocessing.resize, found.preprocessing.crop, found.preprocessing.mean) == ((80, 160), None, PADDLECLAS.mean)
    assert "(given)" in found.about["read_as"]


def test_what_is_assumed_of_a_start_is_said_once(weights, tmp_path, monkeypatch, capsys) -> None:
    write_digits(tmp_path / "data", 0, 60)
    fields = ("arch=PPLCNet_x0_25", "size=32", "epochs=1", "batch=16", "precision=fp32", "crop_area=[0.5,1]")
    command = ("train", tmp_path / "data", "-o", tmp_path / "out", "--from", weights, "--set", *fields)
    assert ernest(monkeypatch, "lcnet", *command) == 0
    assert capsys.readouterr().err.count("taken for a PP-LCNet x0.25 of PaddleClas") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("classify WEIGHTS a.png --strides 2,2", "strides: expected six of the stem and the five stages, or Paddle's five"),
        ("classify WEIGHTS a.png --squash 80 160", "squash: name the pre-processing, too"),
        ("classify WEIGHTS a.png --dropout 1", "best_model.pdparams: dropout: expected a rate from 0 to below 1, got 1.0"),
        ("deploy WEIGHTS --to onnx --preprocessing torchvision", "invalid choice 'torchvision' for argument '--preprocessing'"),
        (
            "classify OURS a.png --preprocessing timm",
            "best.safetensors: pre-processing, dropout, strides and many labels are for the files",
        ),
        ("classify FOLDER a.png", "folder: a folder; name the file of weights in it, folder/model.safetensors"),
        ("deploy FOLDER --to onnx", "folder: a folder; name the file of weights in it, folder/model.safetensors"),
        ("profile FOLDER", "folder: a folder; name the file of weights in it, folder/model.safetensors"),
        (
            "classify ONNX a.png --dropout 0",
            "x.onnx: pre-processing, dropout, strides and many labels are for the files of others",
        ),
        (
            "profile OURS --strides 2,2,2,2,2,2",
            "best.safetensors: pre-processing, dropout, strides and many labels are for the files",
        ),
        (
            "train DATA --from FOLDED",
            "folded.safetensors: a deployed network, without normalisation: start from the checkpoint",
        ),
        (
            "train DATA --from ONNX",
            "zip file of torch.save, or safetensors; this is a deployed network; give the checkpoint",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: str, message: str, weights, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"WEIGHTS": weights, "OURS": tmp_path / "best.safetensors", "FOLDED": tmp_path / "folded.safetensors"}
    names |= {"DATA": tmp_path / "data", "ONNX": tmp_path / "x.onnx"}
    if "OURS" in arguments:
        save(names["OURS"], PPLCNet(small_images(3)).eval())
    if "FOLDED" in arguments:
        save(names["FOLDED"], fold(load(weights)), (), PADDLECLAS, precision="fp32")
    if "DATA" in arguments:
        write_digits(names["DATA"], 0, 60)
    if "FOLDER" in arguments:
        names["FOLDER"] = Path("folder")
        names["FOLDER"].mkdir()
        save(names["FOLDER"] / "model.safetensors", PPLCNet(small_images(3)).eval())
    if "ONNX" in arguments:
        names["ONNX"].write_bytes(b"\x08\x08\x12\x0cernest.lcnet")
    assert ernest(monkeypatch, "lcnet", *(names.get(word, word) for word in arguments.split())) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.splitlines()) == 1


def test_the_named_rules_are_all_there() -> None:
    from typing import get_args, get_type_hints

    from ernest.cli.lcnet import ForeignOptions
    from ernest.lcnet.weights.given import RULES

    choices = get_args(get_args(get_type_hints(ForeignOptions)["preprocessing"])[0])
    assert choices == tuple(RULES)
    assert foreign_of(None, "timm").preprocessing == TIMM
    assert foreign_of(None, "timm", (64, 96)).preprocessing.resize == (64, 96)
