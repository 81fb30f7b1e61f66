"""Pictures of any kind and size get their labels; a bad one gets one clear error, and spoils no other."""

import json
import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.lcnet import PADDLECLAS, PPLCNet, Preprocessing, classify, open_model, prepare, save, small_images
from ernest.lcnet.classification import Answer, as_json, as_text, classify_files
from ernest.lcnet.image_io.find import name_pictures
from ernest.lcnet.image_io.read import read_picture
from tests.lcnet.foreign import write_paddle, write_torch
from tests.lcnet.networks import NAMES, save_digits, with_statistics, write_digits
from tests.lcnet.reference import first_arrays
from tests.lcnet.weights.test_foreign import timm_names

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_digits(tmp_path_factory.mktemp("model") / "best.safetensors")


def test_labels_are_those_that_the_network_gives_each_picture(model, tmp_path) -> None:
    files = write_digits(tmp_path, 1297, 1397)
    answers = list(classify(open_model(model), files, top=3, batch=16))
    assert [answer.file for answer in answers] == list(map(str, files))
    assert np.mean([answer.labels[0][0] == Path(answer.file).parent.name for answer in answers]) > 0.9
    opened = open_model(model)
    for answer in answers[:20]:
        logits = opened.run(prepare(np.asarray(Image.open(answer.file)), opened.preprocessing))
        likely = logits.softmax(1).topk(3)
        assert [label for label, _ in answer.labels] == [NAMES[one] for one in likely.indices[0]]
        assert [value for _, value in answer.labels] == pytest.approx(likely.values[0].tolist(), abs=1e-5)


def test_a_batch_answers_as_single_pictures_do_whatever_their_sizes(tmp_path) -> None:
    path = tmp_path / "free.safetensors"
    save(path, with_statistics(PPLCNet(small_images(10))), (), Preprocessing(resize=32, crop=None))
    files = []
    for place, (height, width) in enumerate([(40, 60), (60, 40), (40, 60), (33, 33), (200, 40), (1, 1)]):
        Image.fromarray(np.resize(COLOURS, (height, width, 3))).save(tmp_path / f"{place}.png")
        files.append(tmp_path / f"{place}.png")
    model = open_model(path)
    alone = [next(classify(model, [file])) for file in files]
    for one, many in zip(alone, classify(model, files, batch=4), strict=True):
        assert [label for label, _ in one.labels] == [label for label, _ in many.labels]
        assert [value for _, value in one.labels] == pytest.approx([value for _, value in many.labels], abs=1e-5)


def test_a_stream_is_answered_picture_by_picture(model, tmp_path) -> None:
    files, asked = write_digits(tmp_path, 0, 3), []

    def names():
        for file in files:
            asked.append(file)
            yield file

    for count, answer in enumerate(classify(open_model(model), names()), 1):
        assert answer.error is None
        assert len(asked) == count


def test_bad_pictures_are_told_and_spoil_no_other(model, tmp_path) -> None:
    good = write_digits(tmp_path, 0, 2)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "half.png").write_bytes(good[0].read_bytes()[:100])
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "deep.tif")
    bad = [tmp_path / name for name in ("notes.txt", "empty.png", "half.png", "deep.tif", "missing.png")]
    answers = list(classify(open_model(model), [good[0], *bad, good[1], tmp_path], batch=3))
    assert [answer.error is None for answer in answers] == [True, False, False, False, False, False, True, False]
    for answer in answers:
        assert answer.error is None or (answer.error.startswith(f"{answer.file}: ") and not answer.labels)
    assert [answer.error.split(": ")[1] for answer in answers[1:6]] == [
        "expected a picture, which this is not",
        "expected a picture, got an empty file",
        answers[3].error.split(": ")[1],
        "expected eight or sixteen bits a colour, got F",
        "there is no such file",
    ]


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "bmp", "tiff", "ppm"])
def test_truncated_pictures_are_errors_at_every_length(kind: str, tmp_path) -> None:
    path = tmp_path / f"x.{kind}"
    Image.fromarray(COLOURS).save(path)
    data = path.read_bytes()
    assert read_picture(path).shape == (40, 60, 3)
    for kept in [*range(0, 40, 3), len(data) // 2, len(data) * 3 // 4]:
        path.write_bytes(data[:kept])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
            read_picture(path)


def test_pictures_are_read_as_people_see_them(tmp_path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(COLOURS).save(path)
    assert np.array_equal(read_picture(path), COLOURS)
    clear = np.dstack([COLOURS, np.where(np.arange(60) < 30, 255, 0) * np.ones((40, 1))]).astype(np.uint8)
    Image.fromarray(clear).save(path)
    assert np.array_equal(read_picture(path)[:, :30], COLOURS[:, :30])
    assert (read_picture(path)[:, 30:] == 255).all()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held sideways
    Image.fromarray(COLOURS).save(path, exif=turned)
    assert np.array_equal(read_picture(path), np.rot90(COLOURS, -1))
    Image.fromarray(COLOURS).quantize(16).save(path)
    assert read_picture(path).shape == (40, 60, 3)
    Image.fromarray(COLOURS[..., 0]).save(path)
    assert np.array_equal(read_picture(path, grey=True), COLOURS[..., 0])
    assert np.array_equal(read_picture(path), np.repeat(COLOURS[..., :1], 3, -1))
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "x.jpg")
    assert read_picture(tmp_path / "x.jpg").shape == (40, 60, 3)
    Image.fromarray(COLOURS).convert("LAB").save(tmp_path / "x.tif")
    assert read_picture(tmp_path / "x.tif", grey=True).shape == (40, 60)


def test_folders_are_classified_and_what_is_left_out_is_told(model, tmp_path) -> None:
    files, told = write_digits(tmp_path, 0, 40), []
    for name in (".1.png", "notes.txt", ".ipynb_checkpoints/1.png"):
        (files[0].parent / name).parent.mkdir(exist_ok=True)
        (files[0].parent / name).write_bytes(files[0].read_bytes())
    answers = list(classify_files(model, [str(tmp_path)], on_left_out=told.append))
    assert [answer.file for answer in answers] == sorted(map(str, files))
    assert told == ["left out: 1 .txt, 1 hidden, 1 in .ipynb_checkpoints"]
    streamed = classify_files(model, ["-"], (f"{file}\n" for file in sorted(files)), exact=True)
    assert [(one.file, one.labels[0][0]) for one in streamed] == [(one.file, one.labels[0][0]) for one in answers]


def test_a_folder_that_cannot_be_read_and_names_that_are_no_text_are_one_complaint_each(model, tmp_path, monkeypatch) -> None:
    good = write_digits(tmp_path, 0, 2)
    strange = tmp_path / os.fsdecode(b"caf\xe9.png")
    strange.write_bytes(good[0].read_bytes())
    broken = tmp_path / os.fsdecode(b"na\xefve\n.png")
    broken.write_bytes(b"")
    scan, locked = os.scandir, tmp_path / "locked"
    locked.mkdir()

    def scandir(path: str):
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files = [*name_pictures([tmp_path]).files, "x" * 300]
    answers = {answer.file: answer for answer in classify(open_model(model), files, batch=4)}
    assert len(answers) == 6
    assert answers[str(locked)].error == f"{locked}: Permission denied"
    assert answers["x" * 300].error == f"{'x' * 300}: File name too long"
    assert as_text(answers[str(strange)]).startswith(rf"{tmp_path}/caf\xe9.png: ")
    assert json.loads(as_json(answers[str(strange)]).encode())["file"] == str(strange)
    assert as_text(answers[str(broken)]) == rf"{tmp_path}/na\xefve\n.png: expected a picture, got an empty file"


def test_read_ahead_or_not_the_answers_are_the_same_and_no_thread_stays(model, tmp_path) -> None:
    files, opened, before = write_digits(tmp_path, 0, 70), open_model(model), threading.active_count()
    alone, ahead = list(classify(opened, files)), list(classify(opened, files, batch=16))
    assert [answer.file for answer in ahead] == list(map(str, files))
    for one, many in zip(alone, ahead, strict=True):
        assert [label for label, _ in one.labels] == [label for label, _ in many.labels]
    some = classify(opened, files, batch=16)
    next(some)
    some.close()
    assert threading.active_count() == before


def test_small_files_go_in_larger_batches_where_all_names_are_known(model, tmp_path) -> None:
    """To a network whose images are small; the answers are those of single pictures, and a stream is read no further ahead."""
    files, counts, asked = write_digits(tmp_path, 0, 70), [], []

    def forward(images):
        counts.append(len(images))
        return images.mean((2, 3))  # a picture's answer, whatever lies beside it

    small = Preprocessing(32, (32, 32))
    opened = replace(open_model(model), forward=forward, classes=3, labels=(), preprocessing=small)
    alone = list(classify(opened, files))
    counts.clear()
    assert list(classify(opened, files, batch=16)) == alone
    assert counts == [64, 6]
    counts.clear()
    for _ in classify(opened, (asked.append(file) or file for file in files), batch=16):
        assert len(asked) <= 16 * len(counts)
    assert counts == [16, 16, 16, 16, 6]
    counts.clear()
    assert len(list(classify(replace(opened, preprocessing=Preprocessing(224, (224, 224))), files[:20], batch=16))) == 20
    assert counts == [16, 4]
    counts.clear()
    assert len(list(classify(replace(opened, preprocessing=Preprocessing(16, None)), files[:20], batch=16))) == 20
    assert counts == [16, 4]


def test_large_files_are_read_a_batch_at_a_time_beside_small_ones(model, tmp_path) -> None:
    files = write_digits(tmp_path, 0, 40)
    for place in (3, 17, 33):
        Image.effect_noise((500, 400), 90).convert("RGB").save(files[place])  # more than is small
    opened = open_model(model)
    for one, many in zip(classify(opened, files), classify(opened, files, batch=8), strict=True):
        assert one.file == many.file
        assert [label for label, _ in one.labels] == [label for label, _ in many.labels]


def test_files_of_others_classify_with_labels_beside_them(tmp_path) -> None:
    arrays, picture = first_arrays(0.25, classes=5), tmp_path / "x.png"
    Image.fromarray(np.resize(COLOURS, (300, 400, 3))).save(picture)
    paddle = write_paddle(tmp_path / "x.pdparams", arrays)
    write_torch(tmp_path / "x.pth", timm_names(arrays, torch.zeros(1280)))
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(NAMES[:5]) + "\n", encoding="utf-8")
    model = open_model(paddle, labels)
    assert (model.runtime, model.preprocessing) == ("torch", PADDLECLAS)
    named, numbered = next(classify(model, [picture])), next(classify(open_model(paddle), [picture]))
    assert [label for label, _ in named.labels] == [NAMES[int(label)] for label, _ in numbered.labels]
    assert sum(value for _, value in named.labels) == pytest.approx(1, abs=1e-5)
    assert open_model(tmp_path / "x.pth").preprocessing.cubic
    labels.write_bytes("\ufeff".encode() + "\r\n".join(f" {name} " for name in NAMES[:5]).encode() + b"\r\n\r\n")
    assert open_model(paddle, labels).labels == NAMES[:5]
    labels.write_text("one\ntwo\n")
    with pytest.raises(ValueError, match=r"labels\.txt: expected a label a line for each of the 5 classes, got 2"):
        open_model(paddle, labels)
    labels.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"labels\.txt: expected text in UTF-8"):
        open_model(paddle, labels)
    with pytest.raises(ValueError, match="top: expected 1 or more labels, got 0"):
        next(classify(model, [picture], top=0))


def test_grey_networks_see_coloured_pictures_in_grey(tmp_path) -> None:
    network = with_statistics(PPLCNet(replace(small_images(10), in_channels=1)))
    save(tmp_path / "x", network, (), Preprocessing(32, (32, 32), (0.5,), (0.5,)))
    Image.fromarray(COLOURS).save(tmp_path / "colours.png")
    Image.fromarray(COLOURS).convert("L").save(tmp_path / "grey.png")
    one, other = classify(open_model(tmp_path / "x"), [tmp_path / "colours.png", tmp_path / "grey.png"])
    assert one.labels == other.labels


@pytest.mark.parametrize("strange", ["\n", "\r", "\x1b[2J", "\x85", "\u2028", "\v", "\0"])
def test_an_answer_is_one_line_whatever_a_class_is_called(strange: str) -> None:
    for answer in (Answer(f"a{strange}b", (("é 犬", 0.5), (f"c{strange}", 0.25))), Answer("x", error=f"a{strange}: no")):
        line = as_text(answer)
        assert len(line.splitlines()) == 1
        assert strange[0] not in line
    assert as_text(Answer("x", (("é 犬", 0.5),))) == "x: é 犬 0.5000"


def test_one_name_is_not_taken_for_as_many_files_as_it_has_letters(model: Path) -> None:
    for one in ("photo.jpg", Path("photo.jpg")):
        with pytest.raises(TypeError, match="files: expected several, got "):
            next(classify(open_model(model), one))
