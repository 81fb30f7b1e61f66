"""Judging a run on its own data: losses of single records, directions that look at nothing, exact texts, and the commands."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.checkpoint import load_learnt
from ernest.data.collate import collate
from ernest.data.examples import EncodedSegment, Example, encode, encode_segments
from ernest.data.importers import both_directions
from ernest.data.layout import lay_out_example
from ernest.data.record_writer import save_records
from ernest.data.store import ExampleStore
from ernest.evaluation import run_facts
from ernest.evaluation.losses import losses_of_rows, record_losses, with_given_of_others
from ernest.evaluation.own_data import DirectionScore, advice, score_tasks
from ernest.evaluation.results import load
from ernest.generation.engine import Engine
from ernest.sequence.record import Record, given, made
from ernest.storage import load_tensors
from ernest.training import pretrain
from ernest.training.loss import loss_sums, mean_losses
from tests.commands import ernest
from tests.small import Maker, documents, network, tokenizers

KINDS = ("a red seven", "a disk shrinking")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(network(), tokenizers())


def pictures(count: int = 24) -> list[Record]:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return [record for n, one in enumerate(data) for record in both_directions("image", one, KINDS[n % 2], {})]


@torch.inference_mode()
def test_the_loss_of_each_record_is_that_of_a_batch_of_it_alone(engine):
    """Of texts the sum over tokens, of the rest the mean, as training has it."""
    examples = documents()
    losses = record_losses(engine, examples, together=4)
    for example, loss in zip(examples, losses, strict=True):
        packed = lay_out_example(example, engine.tokenizers, engine.tokenizers.text.encode)
        batch = collate([[packed]], len(packed.layout), engine.tokenizers)
        sums, counts = loss_sums(engine.model(batch), batch)
        means = mean_losses(sums, counts)
        kind = {"latent": "vision", "codes": "audio", "text": "text"}[example.segments[-1].form]
        expected = float(sums[0]) if kind == "text" else means[kind]
        assert loss == pytest.approx(expected, rel=2e-4), example.task
    batch = collate(
        [[lay_out_example(one, engine.tokenizers, engine.tokenizers.text.encode)] for one in examples], 120, tokenizers()
    )
    words = torch.tensor([example.segments[-1].form == "text" for example in examples])
    assert torch.allclose(losses_of_rows(engine.model(batch), batch, words).sum(1).double(), torch.from_numpy(losses), rtol=2e-4)


@torch.inference_mode()
def test_all_that_an_interleaved_record_makes_counts(engine):
    """Its texts beside its pictures or sounds: the sum over the tokens, and the mean over the bits of all pictures."""
    make = Maker(np.random.default_rng(3))
    texts = EncodedSegment("text", "a red seven", False), EncodedSegment("text", "in blue", False)
    two_pictures = Example((texts[0], make.latent(), texts[1], make.latent()), "t")
    both_kinds = Example((make.codes(False), make.text(True), texts[1], make.latent()), "t")
    for example in (two_pictures, both_kinds):
        packed = lay_out_example(example, engine.tokenizers, engine.tokenizers.text.encode)
        batch = collate([[packed]], len(packed.layout), engine.tokenizers)
        sums, counts = loss_sums(engine.model(batch), batch)
        assert float(counts[2]) == pytest.approx(sum(one.form == "latent" for one in example.segments))
        expected = mean_losses(sums, counts)["vision"] + (float(sums[0]) if example is both_kinds else 0.0)
        assert record_losses(engine, [example])[0] == pytest.approx(expected, rel=2e-4)


def test_a_continuation_is_scored_beside_one_of_another_record():
    """With what another one is given, the rest stays what is made, of a record whose kinds alternate too."""
    make = Maker(np.random.default_rng(4))
    parts = [(make.codes(False), make.text(True, word), make.text(False, f"in {word}"), make.latent()) for word in "abc"]
    examples = [Example(segments, "t") for segments in parts]
    mixed = with_given_of_others(examples)
    assert list(mixed) == [0, 1, 2]
    for number, example in mixed.items():
        assert [one is own for one, own in zip(example.segments, examples[number].segments, strict=True)] == [False, True] * 2


def test_documents_of_any_form_are_given_what_another_document_is(engine):
    """Each of its forms, as often as it comes; and no part of the same document, which says nothing else."""
    make = Maker(np.random.default_rng(5))
    words = lambda name, made=False: make.text(made, name)
    long = Example((words("a"), make.pixels(), words("b"), make.pixels(), words("c"), make.latent()), "t")
    start = Example((words("a"), make.latent()), "t")
    short = Example((words("d"), make.pixels(), words("e", True)), "t")
    mixed = with_given_of_others([long, start, short])
    assert list(mixed) == [0, 1, 2]
    sources = [(short, (0, 1, 0, 1, 0)), (short, (0,)), (long, (0, 1))]
    for number, (source, places) in enumerate(sources):
        assert [id(one) for one in mixed[number].segments[: len(places)]] == [id(source.segments[place]) for place in places]
        assert mixed[number].segments[len(places) :] == (long, start, short)[number].segments[len(places) :]
    assert with_given_of_others([long, start]) == {}


def test_kinds_that_a_task_makes_are_told_apart(tmp_path, engine):
    """A document's picture and the text behind it; what is asked for is the picture, after all that stands before it."""
    data = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    records = [
        Record((given("text", f"no {n}"), made("image", one), *[made("text", f"it was {n}")] * (n < 3)), "document→image")
        for n, one in enumerate(data)
    ]
    ExampleStore.write(tmp_path / "store/own", encode(records, tokenizers()))
    store = ExampleStore(tmp_path / "store")
    (texts, drawn), samples = score_tasks(engine, store)
    assert [(one.name, one.count) for one in (texts, drawn)] == [("document→image, texts", 3), ("document→image, pictures", 4)]
    assert texts.exact is None
    losses = record_losses(engine, [store[number] for number in range(4)])
    assert (3 * texts.loss + 4 * drawn.loss) / 4 == pytest.approx(losses.mean(), rel=1e-6)
    assert drawn.other is not None
    assert [(sample.kind, sample.text) for sample in samples] == [("drawn", None)] * 4
    stuck = [replace(one, other=one.loss) for one in (texts, drawn)]  # texts that follow what is made lean on that
    (line,) = advice(stuck, {"document→image": 1.0}, 5)
    assert line.startswith("document→image, pictures never left its plateau")


def test_the_last_text_of_a_document_is_asked_for(tmp_path, engine):
    """With all that stands before it, texts that were made among it."""
    pixels = np.zeros((32, 32, 3), np.uint8)
    prompt = [given("text", "once"), given("image", pixels)]
    answer = engine.texts([encode_segments(prompt, tokenizers())])[0]
    record = Record((made("text", "once"), given("image", pixels), made("text", answer)), "document→text")
    opening = Record((made("text", "once"), given("image", pixels)), "document→text")
    ExampleStore.write(tmp_path / "store/own", encode([record, opening], tokenizers()))
    (score,), (sample,) = score_tasks(engine, ExampleStore(tmp_path / "store"))
    assert (score.asked, score.exact, sample.prompt) == (1, 1.0, "once")


def test_what_is_given_is_taken_from_a_record_of_other_texts(engine):
    examples = list(encode(pictures(6)[::2], tokenizers()))
    mixed = with_given_of_others(examples)
    assert list(mixed) == list(range(6))
    for number, example in mixed.items():
        assert example.segments[1] == examples[number].segments[1]
        sources = [n for n, one in enumerate(examples) if one.segments[0] is example.segments[0]]
        assert [examples[n].segments[1].data for n in sources] != [example.segments[1].data]
    alike = [replace(one, segments=(one.segments[0], examples[0].segments[1])) for one in examples]
    assert with_given_of_others(alike) == {}
    assert with_given_of_others(list(encode([Record((made("text", text),)) for text in KINDS], tokenizers()))) == {}


def test_two_phrasings_of_one_thing_are_not_another_thing(engine):
    """Each picture has some phrasings of its kind, of which one is common to all: only one of the other kind is another one's."""
    phrasings = ("a cat", "the pet", "a tabby"), ("a ship", "the boat", "a ferry")
    data = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    texts = [phrasings[n % 2][:2] if n < 4 else phrasings[n % 2][:0:-1] for n in range(8)]
    records = [both_directions("image", one, text[0], {}, text[1:])[0] for one, text in zip(data, texts, strict=True)]
    examples = list(encode(records, tokenizers()))
    mixed = with_given_of_others(examples)
    source = {id(example.segments[0]): number for number, example in enumerate(examples)}
    assert [(number + source[id(one.segments[0])]) % 2 for number, one in mixed.items()] == [1] * 8
    assert with_given_of_others(examples[::2]) == {}


def score(loss: float, other: float | None, error: float, texts: int = 0) -> DirectionScore:
    return DirectionScore("image→text", 100, loss, other, error, texts)


@pytest.mark.parametrize(
    ("direction", "stuck"),
    [
        (score(2.3, 2.301, 0.01, 10), True),  # within the noise
        (score(2.2, 2.35, 0.01, 10), True),  # sure, but a fifteenth of what there is to know
        (score(0.3, 5.0, 0.1, 10), False),
        (score(0.50, 0.505, 0.001), False),  # a picture's loss hardly hangs on its words
        (score(0.50, 0.5005, 0.001), True),
        (score(1.0, None, 0.0), False),  # nothing is given, or always the same
        (score(0.3, 5.0, float("inf"), 10), True),  # one record
    ],
)
def test_a_direction_on_its_plateau_is_one_that_gains_nothing_by_what_is_given(direction, stuck):
    assert direction.on_plateau == stuck
    lines = advice([direction, score(0.3, 5.0, 0.1, 10)], {"image→text": 0.9}, 550)
    assert len(lines) == stuck
    assert not stuck or ("'mixture.image→text=2.7', or train longer, --set training.steps=1100" in lines[0])
    alone = advice([direction], {"image→text": 0.9}, 550)  # of one direction, the weight is all the same
    assert not stuck or (". Train longer, --set training.steps=1100" in alone[0] and "mixture" not in alone[0])


def test_a_network_that_sees_nothing_is_told_from_one_that_does(tmp_path, monkeypatch, engine):
    """With the patches hidden, image → text loses nothing by another's picture; a network that adds the truth gains all."""
    ExampleStore.write(tmp_path / "store/own", encode(pictures(), tokenizers()))
    scores, samples = score_tasks(engine, ExampleStore(tmp_path / "store"))
    assert [one.task for one in scores] == ["image→text", "text→image"]
    assert all(one.on_plateau for one in scores)
    assert (scores[0].exact, scores[0].chance, scores[0].asked, scores[0].texts) == (0.0, 0.5, 24, 2)
    assert {sample.kind for sample in samples} == {"read", "drawn"}

    truth = {one.segments[0].data.tobytes(): one.segments[-1].data for one in encode(pictures()[::2], tokenizers())}
    monkeypatch.setattr(Engine, "texts", lambda _, prompts: [truth[prompt[0].data.tobytes()] for prompt in prompts])
    (reads, _), samples = score_tasks(engine, ExampleStore(tmp_path / "store"))
    assert reads.exact == 1
    assert all(sample.correct for sample in samples if sample.kind == "read")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_is_judged_at_its_end_and_reported(tmp_path: Path, monkeypatch, capsys):
    """One step cannot have learnt anything: each direction is named, with what to do; the report needs no data."""
    alone = lambda module, arguments, processes, threads: pretrain.pretrain(Path(arguments[0]), 0, 1)
    monkeypatch.setattr(pretrain, "launch", alone)
    monkeypatch.setattr(run_facts, "matmul_rate", lambda dtype: 1e11)
    save_records(tmp_path / "data", pictures(40))
    small = ["size=5", "model.experts=4", "sequence.rows=1", "training.steps=1", "training.warmup=0", "parallel.replicate=1"]
    fast = ["tokenizers.vision_steps=2", "tokenizers.vocabulary=280", "training.show_every=0"]
    run = tmp_path / "run"
    assert ernest(monkeypatch, "train", "--data", tmp_path / "data", "--out", run, "--set", *small, *fast) == 0
    told = capsys.readouterr()
    assert "image→text never left its plateau" in told.err
    assert "the very text" in told.out
    store = ExampleStore(run / "held_out")
    assert {task: len(indices) for task, indices in store.tasks.items()} == {"image→text": 4, "text→image": 4}
    assert len(ExampleStore(run / "examples")) == 72
    again = tmp_path / "again"
    save_records(tmp_path / "other", [Record((made("text", "another word"),), "text")] * 9)
    kept = ["training.steps=1", "training.warmup=0", "training.learning_rate=1e-12", "parallel.replicate=1", "sequence.rows=1"]
    shutil.copytree(tmp_path / "data/media", tmp_path / "other/media", dirs_exist_ok=True)
    with (tmp_path / "other/records.jsonl").open("a") as lines:
        lines.write((tmp_path / "data/records.jsonl").read_text())
    start = ["train", "--data", tmp_path / "other", "--from", run / "model", "--out"]
    assert ernest(monkeypatch, *start, again, "--set", *kept, "training.show_every=0") == 0
    before, after = (load_tensors(one / "model/model.safetensors") for one in (run, again))
    assert all(torch.allclose(after[name], before[name], atol=1e-5) for name in before if not name.endswith("selection_bias"))
    assert {"another", "red"} <= set(load_learnt(again / "model").words)
    scores = {(score.direction, score.system): score.value for score in load(again / "findings").scores}
    assert scores["image→text: loss", "full"] == pytest.approx(scores["image→text: loss", "before"], rel=1e-2)
    assert ernest(monkeypatch, *start, tmp_path / "no", "--set", "size=6") == 2
    assert "takes the network as it is: leave size=6 out" in capsys.readouterr().err
    (tmp_path / "wide.toml").write_text("[model]\nframe_window = 3")
    assert ernest(monkeypatch, *start, tmp_path / "no", "--recipe", tmp_path / "wide.toml") == 2
    assert "model.frame_window = 3: the network goes on as it is" in capsys.readouterr().err
    assert ernest(monkeypatch, *start, tmp_path / "no", "--set", "tokenizers.vocabulary=300") == 2
    assert "brings tokenizers, which are not trained: leave tokenizers.vocabulary=300 out" in capsys.readouterr().err

    (tmp_path / "data/records.jsonl").unlink()
    assert ernest(monkeypatch, "report", run) == 0
    page = (run / "report.html").read_text()
    assert "Your files, read" in page
    assert "image\u2009→\u2009text: loss" in page
    assert json.loads((run / "findings/advice.json").read_text())
    assert ernest(monkeypatch, "report", tmp_path / "data") == 2
    assert "holds no finished run" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_of_documents_and_captioned_pictures_trains_by_default(tmp_path: Path, monkeypatch, capsys):
    alone = lambda module, arguments, processes, threads: pretrain.pretrain(Path(arguments[0]), 0, 1)
    monkeypatch.setattr(pretrain, "launch", alone)
    monkeypatch.setattr(run_facts, "matmul_rate", lambda dtype: 1e11)
    files = tmp_path / "files"
    files.mkdir()
    for number in range(24):
        Image.fromarray(np.full((32, 32, 3), 10 * number, np.uint8)).save(files / f"{number}.png")
        (files / f"{number}.md").write_text(f"number {number}\n\n![]({number}.png)\n\nwas {number}\n")
    chats = [{"image": f"{n}.png", "messages": [{"role": "user", "content": "which?"}, {"role": "assistant", "content": f"{n}"}]}
             for n in range(24)]  # fmt: skip
    (files / "chats.jsonl").write_text("\n".join(map(json.dumps, chats)))
    (files / "captions.csv").write_text("file,caption\n" + "".join(f"{n}.png,grey {n}\n" for n in range(24)))
    small = ["size=5", "model.experts=4", "sequence.rows=1", "training.steps=1", "training.warmup=0", "parallel.replicate=1"]
    fast = ["tokenizers.vision_steps=2", "tokenizers.vocabulary=280", "training.show_every=0"]
    assert ernest(monkeypatch, "import", files, "--out", tmp_path / "data") == 0
    assert "from 48 documents, captions from the table captions.csv, 0 left out" in capsys.readouterr().out
    assert ernest(monkeypatch, "train", "--data", tmp_path / "data", "--out", tmp_path / "run", "--set", *small, *fast) == 0
    scored = {score.direction: score for score in load(tmp_path / "run/findings").scores}
    made = ["document→text", "document→image, texts", "document→image, pictures", "chat→text", "image→text", "text→image"]
    assert {f"{name}: loss" for name in made} <= scored.keys()
    assert all(scored[f"{name}: loss"].chance != "–" for name in made[:3])


def test_text_records_are_scored_without_anything_given(tmp_path, engine):
    texts = [Record((made("text", f"{kind} {n}"),), "text") for n, kind in enumerate(KINDS)]
    questions = [Record((given("text", f"what is {n}?"), made("text", str(n))), "questions") for n in range(4)]
    ExampleStore.write(tmp_path / "store/own", encode([*texts, *questions], tokenizers()))
    (told, asked), _ = score_tasks(engine, ExampleStore(tmp_path / "store"))
    assert (told.other, told.exact, told.on_plateau) == (None, None, False)
    assert (asked.asked, asked.texts, asked.chance) == (4, 4, 0.25)


def test_each_of_several_captions_is_right(tmp_path, engine):
    """A picture that has two captions is one question, whose answer may be either of them."""
    data = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    first = engine.texts([encode_segments([given("image", data[0])], tokenizers())])[0]
    records = [both_directions("image", one, f"no {n}", {}, (first, "or so"))[0] for n, one in enumerate(data)]
    ExampleStore.write(tmp_path / "store/own", encode(records[:1], tokenizers()))
    (score,), (sample,) = score_tasks(engine, ExampleStore(tmp_path / "store"))
    assert (score.asked, score.exact, score.texts) == (1, 1.0, 3)
    assert sample.correct
