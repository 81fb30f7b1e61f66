"""Commands on a checkpoint of test size: many prompts and files at once, and what it never learnt."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.checkpoint import Learnt, check_checkpoint, load_learnt, save_model
from ernest.cli import model as commands
from ernest.data import media
from ernest.data.examples import EncodedSegment
from ernest.data.learnt import what_is_learnt
from ernest.data.store import ExampleStore
from ernest.generation import answer
from ernest.generation.answer import generate, load_engine, printable
from ernest.generation.describe import describe, find_files
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from tests.small import documents, network, tokenizers

PHOTOS = Learnt(("image→text", "text→image"), ("a", "red", "seven"), 60)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """As if trained on photographs."""
    folder = tmp_path_factory.mktemp("run") / "model"
    save_model(folder, network(), tokenizers(), {"sequence": {"length": 200}}, torch.ones(6, 8), PHOTOS)
    return folder


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    for name, picture in zip(("b.png", "deep/a.png", "c d.png"), pixels, strict=True):
        media.write_image(folder / name, picture)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_a_run_says_what_it_learns(tmp_path):
    ExampleStore.write(tmp_path / "part", documents())
    weights = dict.fromkeys(ExampleStore(tmp_path).tasks, 1.0)
    learnt = what_is_learnt(ExampleStore(tmp_path), weights | {"text→video": 0.0, "text→first frame": 0.0}, 120)
    assert set(learnt.directions) == {"text→image", "image→text", "text→audio", "audio→text", "video→text", "→text", "text→text"}
    assert {"disk", "shrinking", "anna"} >= set(learnt.words) - {"a", "red", "seven", "at", "the", "top", "left", "says"} - {
        "three", "plus", "four", "is"
    }  # fmt: skip
    assert learnt.positions == 120


def test_a_checkpoint_keeps_what_was_learnt(checkpoint, tmp_path):
    assert load_learnt(checkpoint) == PHOTOS
    save_model(tmp_path / "old", network(), tokenizers(), {"sequence": {"length": 200}}, torch.ones(6, 8))
    assert load_learnt(tmp_path / "old") == Learnt((), (), 200)
    assert load_engine(tmp_path / "old").doubts(Request((EncodedSegment("text", "zebra", False),), ("video",))) == ()


@pytest.mark.parametrize("to", ["video", "audio", "text"])
def test_a_kind_that_was_never_made_or_only_otherwise(checkpoint, to):
    if to == "text":  # was made, but not from words
        (result,) = generate(checkpoint, ["a red seven"], to)
        assert result.doubts == ("the model was never trained on text→text, only on image→text, text→image",)
        return
    with pytest.raises(ValueError, match=r"never learnt to make a (video|sound): it was trained on image→text, text→image"):
        generate(checkpoint, ["a red seven"], to)


def test_a_kind_that_was_never_given(checkpoint, tmp_path):
    media.write_audio(tmp_path / "a.wav", np.zeros(4000, np.float32))
    with pytest.raises(ValueError, match=r"a\.wav: the model never learnt to understand a sound"):
        describe(checkpoint, [tmp_path / "a.wav"])


def test_words_and_lengths_that_were_never_seen(checkpoint, tmp_path):
    prompts = ["a red seven", "A Red zebra, a zebra and an ox", "12 red, 7?"]
    results = generate(checkpoint, prompts, "image", tmp_path / "out")
    assert [result.doubts for result in results] == [(), ("the model never saw 'an', 'and', 'ox', 'zebra' in its training",), ()]
    with pytest.raises(
        ValueError, match=r"the prompt takes [\d,]+ positions, and the model was trained on documents of at most 60"
    ):
        generate(checkpoint, ["a red seven", "red " * 6000], "image", tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_an_engine_that_refused_goes_on(checkpoint):
    engine = load_engine(checkpoint)
    fine, long = (Request((EncodedSegment("text", words, False),), ("image",)) for words in ("a", "a " * 600))
    with pytest.raises(ValueError, match="positions"):
        engine.generate([fine, long])
    assert not engine.busy
    assert len(engine.generate([fine, fine])) == 2


def test_many_prompts_are_one_batch_with_the_answers_of_each_alone(checkpoint, tmp_path):
    """All but the seeds: prompt n draws by its number."""
    prompts = ["a red seven", "seven", "a"]
    results = generate(checkpoint, prompts, "image", tmp_path / "out", seed=5, temperature=0.0)
    assert [result.source for result in results] == prompts
    assert [result.file for result in results] == [tmp_path / "out" / f"000{n}.png" for n in (1, 2, 3)]
    for result in results:
        (alone,) = generate(checkpoint, [result.source], "image", tmp_path / "alone.png", temperature=0.0)
        assert result.file is not None
        assert alone.file is not None
        assert result.file.read_bytes() == alone.file.read_bytes()


def test_a_seed_of_any_size_draws_a_picture_of_its_own(checkpoint, tmp_path):
    drawn = set()
    for seed in (-1, 2**64, 10**30):
        generate(checkpoint, ["a"], "image", tmp_path / "a.png", seed=seed)
        drawn.add((tmp_path / "a.png").read_bytes())
    assert len(drawn) == 3


def test_folders_and_files_are_described_in_order(checkpoint, photos):
    (photos / "torn.png").write_bytes((photos / "b.png").read_bytes()[:50])
    results = describe(checkpoint, [photos / "c d.png", photos])
    names = ["c d.png", "b.png", "deep/a.png", "torn.png"]
    assert [result.source for result in results] == [str(photos / name) for name in names]
    assert [result.text is None for result in results] == [False, False, False, True]
    assert "torn.png" in (results[-1].error or "")
    for result in results[:3]:
        assert describe(checkpoint, [Path(result.source)])[0].text == result.text


def test_rows_are_a_table_or_json_lines(checkpoint, photos, capsys, tmp_path):
    commands.describe(checkpoint, (photos,))
    table = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    commands.describe(checkpoint, (photos,), rows="json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [source for source, _ in table] == [line["source"] for line in lines]
    assert [text for _, text in table] == [printable(line["text"]) for line in lines]
    commands.describe(checkpoint, (photos / Path(lines[0]["source"]).name,), rows="json")
    assert json.loads(capsys.readouterr().out) == lines[0]
    (tmp_path / "prompts.txt").write_text("a red seven\n\na zebra\n")
    commands.generate(checkpoint, (), "image", tmp_path / "made", tmp_path / "prompts.txt")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{p}\t{tmp_path / 'made' / n}.png" for p, n in (("a red seven", "0001"), ("a zebra", "0002"))
    ]
    assert printed.err == "doubtful: a zebra: the model never saw 'zebra' in its training\n"


def test_a_file_that_cannot_be_read_ends_the_command_with_status_1(checkpoint, photos, capsys):
    (photos / "torn.png").write_bytes(b"nothing")
    with pytest.raises(SystemExit) as end:
        commands.describe(checkpoint, (photos,))
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert printed.err.startswith("left out: ")


def test_control_characters_are_not_printed():
    assert printable("a\x00b\x1b[31m\tc\nd\u2028e\x9f é 七 \U0001f600 ") == "ab[31m c d e é 七 \U0001f600"


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no prompt"), (b" \n\n", "holds no prompt"), (b"\xff\xfe\x00", "expected a text in UTF-8")],
)
def test_prompt_files_that_hold_none(tmp_path, content, message):
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"p\.txt: {message}"):
        commands.generate(tmp_path, (), "text", prompt_file=tmp_path / "p.txt")


def test_a_run_is_no_checkpoint(checkpoint):
    with pytest.raises(ValueError, match=r"is a run, not a checkpoint: did you mean .*/model\?"):
        check_checkpoint(checkpoint.parent)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.json", lambda text: text[: len(text) // 2]),
        ("model.json", lambda text: b"[]"),
        ("model.json", lambda text: text.replace(b'"layers": 6', b'"layers": 5')),
        ("model.json", lambda text: text.replace(b'"width"', b'"weight"')),
        ("model.json", lambda text: text.replace(b'"bits": 8', b'"bits": 9')),
        ("model.safetensors", lambda text: text[: len(text) // 2]),
        ("model.safetensors", None),
        ("learnt.json", lambda text: text[:-9]),
        ("learnt.json", lambda text: text.replace(b'"positions": 60', b'"positions": "many"')),
        ("tokenizers/text.json", None),
        ("tokenizers/audio.safetensors", lambda text: text[:100]),
    ],
)
def test_a_torn_checkpoint_is_refused_in_one_line(tmp_path, name, harm):
    folder = tmp_path / "model"
    save_model(folder, network(), tokenizers(), {}, torch.ones(6, 8), PHOTOS)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if harm is not None:
        (folder / name).write_bytes(harm(content))
    with pytest.raises(ValueError, match="model") as error:
        load_engine(folder)
    assert len(str(error.value).splitlines()) == 1
    assert Path(name).name.split(".")[0] in str(error.value)


def test_commands_are_refused_without_torch(checkpoint):
    code = (
        "import sys; from pathlib import Path; from ernest.generation.describe import describe\n"
        f"try: describe(Path({str(checkpoint.parent)!r}), [Path({str(checkpoint / 'nothing.png')!r})])\n"
        "except ValueError: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_submodel_keeps_what_was_learnt(checkpoint, tmp_path):
    from ernest.checkpoint import write_submodel
    from ernest.config.submodel_size import SubModelSize

    write_submodel(checkpoint, tmp_path / "small", replace(SubModelSize(), top_k=1))
    assert load_learnt(tmp_path / "small") == PHOTOS


def test_what_was_answered_stands_when_the_rest_is_ended(checkpoint, photos, tmp_path, monkeypatch, capsys):
    """Answers are made, written and told in portions."""
    monkeypatch.setattr(answer, "PORTION", 2)
    monkeypatch.setattr("ernest.generation.describe.PORTION", 2)
    (tmp_path / "prompts").write_text("a\nred\nseven\na red\na seven\n")
    commands.generate(checkpoint, (), "image", tmp_path / "all", tmp_path / "prompts")
    commands.describe(checkpoint, (photos,))
    told = capsys.readouterr().out.splitlines()
    step, steps = Engine.step, []

    def end(self):
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self)

    monkeypatch.setattr(Engine, "step", end)
    with pytest.raises(KeyboardInterrupt):
        commands.generate(checkpoint, (), "image", tmp_path / "some", tmp_path / "prompts")
    some = sorted((tmp_path / "some").iterdir())
    assert 2 <= len(some) < 5
    assert [file.read_bytes() for file in some] == [(tmp_path / "all" / file.name).read_bytes() for file in some]
    assert len(capsys.readouterr().out.splitlines()) == len(some)
    monkeypatch.setattr(Engine, "step", step)
    commands.describe(checkpoint, (photos,))
    assert capsys.readouterr().out.splitlines() == told[5:]


def test_a_file_of_prompts_is_cut_at_ends_of_lines_alone(checkpoint, tmp_path, capsys):
    """Windows' as well; not at what Unicode holds for an end of a line within a prompt."""
    (tmp_path / "prompts").write_bytes("\ufeffa red\r\n\r\na\u2028red\x0cseven\x85\r\n".encode())
    commands.generate(checkpoint, (), "image", tmp_path / "made", tmp_path / "prompts", "json")
    assert [json.loads(line)["source"] for line in capsys.readouterr().out.splitlines()] == ["a red", "a\u2028red\x0cseven"]
    (tmp_path / "wide").write_bytes("a red".encode("utf-16-le"))
    with pytest.raises(ValueError, match="wide: expected a text in UTF-8"):
        commands.generate(checkpoint, (), "image", None, tmp_path / "wide")


def test_texts_are_written_in_utf_8_where_there_is_a_place(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "ascii.py").write_text("")
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "ascii")
    monkeypatch.setattr("locale.getencoding", lambda: "ascii")
    (result,) = generate(checkpoint, ["a red seven"], "text", tmp_path / "new" / "a.txt")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == f"{printable(result.text or '')}\n"
    monkeypatch.setattr(answer, "load_engine", None)  # refused before anything is made
    for to, out, message in (("text", tmp_path, "is a folder"), ("image", tmp_path / "ascii.py" / "a.png", "is no folder")):
        with pytest.raises(ValueError, match=message):
            generate(checkpoint, ["a"], to, out)


def test_a_pipe_is_written_to_and_not_replaced(checkpoint, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    (result,) = generate(checkpoint, ["a red seven"], "text", pipe)
    assert pipe.is_fifo()
    assert os.read(reader, 9999).decode() == f"{printable(result.text or '')}\n"
    os.close(reader)


def test_files_of_odd_kinds_and_places(checkpoint, photos, tmp_path):
    (photos / ".thumbnails").mkdir()
    for name in (".thumbnails/b.png", ".a.png", "100% [a]\n.png"):
        (photos / name).write_bytes((photos / "b.png").read_bytes())
    (photos / "link.png").symlink_to(photos / "b.png")
    (photos / "gone.png").symlink_to(photos / "nothing.png")
    (photos / "loop").symlink_to(photos)
    found = [str(file.relative_to(photos)) for file in find_files([photos])]
    assert found == ["100% [a]\n.png", "b.png", "c d.png", "deep/a.png", "link.png"]
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png: expected a file, or a folder of files, not a pipe"):
        describe(checkpoint, [tmp_path / "pipe.png"])
    with pytest.raises(ValueError, match=r"notes\.txt: expected a file that ends in one of png"):
        describe(checkpoint, [photos / "notes.txt"])
    with pytest.raises(ValueError, match="the question is empty"):
        describe(checkpoint, [photos / "b.png"], " ")


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/full")
def test_who_has_no_room_is_told_in_a_line_and_who_reads_no_further_nothing():
    script = (
        "import sys; from ernest import cli; main = sys.modules['ernest.cli.main']\n"
        "main.parse = lambda: lambda: print('x' * 9)\ncli.main()"
    )
    run = partial(subprocess.run, [sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    with open("/dev/full", "w") as full:
        done = run(stdout=full)
    assert (done.returncode, done.stderr) == (2, "ernest: No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = run(stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
