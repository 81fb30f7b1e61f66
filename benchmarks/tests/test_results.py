"""Runs on real data, on a handful of made-up media: trained, scored, compared, stopped and gone on with."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.results import __main__ as results
from benchmarks.results import clock, folders, scores, seesaw, sources
from benchmarks.results.folders import OwnFolder
from benchmarks.results.trial import Scored, Trial
from ernest.data.importers import both_directions, import_folder
from ernest.data.record_writer import save_records
from ernest.data.records import read_lines
from ernest.sequence.record import Kind
from ernest.training import pretrain

SMALL = (
    *("size=5", "model.experts=4", "sequence.rows=1", "sequence.length=96", "parallel.replicate=1", "training.show_every=0"),
    *("training.steps=2", "training.warmup=0", "tokenizers.audio_steps=2", "tokenizers.vision_steps=2"),
)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "launch", lambda module, arguments, *_: pretrain.pretrain(Path(arguments[0]), 0, 1))


def spoken(folder: Path, clips: int = 400) -> Path:
    """A data set like that of the commands: a tone for each word, in one file, and where each lies."""
    import soundfile

    folder = folder / "speech_commands"
    folder.mkdir(parents=True)
    time, waves = np.arange(800) / 8000, []
    with (folder / "index.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, ("word", "split", "start", "n"))
        rows.writeheader()
        for number in range(clips):
            word = number % len(sources.COMMANDS)
            waves.append(0.3 * np.sin(2 * np.pi * 200 * (word + 1) * time))
            split = "test" if number % 5 == 4 else "train"
            rows.writerow({"word": sources.COMMANDS[word], "split": split, "start": 800 * number, "n": 800})
    soundfile.write(folder / "speech_commands_8k.ogg", np.concatenate(waves), 8000)
    return folder.parent


@pytest.mark.long
def test_a_recipe_is_trained_scored_and_goes_on(tmp_path, monkeypatch):
    """Every score is there once, with the judge's own ceiling; what is done is not done again."""
    trial = Trial(spoken(tmp_path / "data"), tmp_path / "out", 0.01, SMALL)
    monkeypatch.setattr(Trial, "count", lambda self, whole, least=20: 4)
    monkeypatch.setattr(scores.outside, "is_there", lambda: False)
    scored = results.measure("commands", 0, trial)
    names = [one.name for one in scored]
    assert names == [
        "speech → text",
        "text → speech, by the judge",
        "the judge on real clips",
        "the judge on rebuilt clips",
        "minutes of training",
    ]
    assert all(0 <= one.value <= 1 for one in scored[:-1])
    assert sorted(path.name for path in tmp_path.glob("out/share-0.01/*")) == [
        "commands-0",
        "commands-0.seconds",
        "commands-records",
        "up-word-judge.safetensors",
    ]
    monkeypatch.setattr(results, "save_records", None)
    monkeypatch.setattr("ernest.training.loop.step", None)
    assert [one.value for one in results.measure("commands", 0, trial)[:-1]] == [one.value for one in scored[:-1]]


@pytest.mark.slow
def test_the_seesaw_compares_each_direction_with_a_run_of_it_alone(tmp_path):
    rng = np.random.default_rng(0)
    records = [
        record
        for number in range(8)
        for record in both_directions("image", rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), f"kind {number % 2}", {})
    ]
    save_records(tmp_path / "records", records)
    recipe = results.load_recipe(results.find_recipe("tiny"), SMALL)
    trial = Trial(tmp_path, tmp_path / "out", 0.01)
    scored = seesaw.measure_seesaw(read_lines(tmp_path / "records"), records, tmp_path / "runs", recipe, trial)
    assert [one.name for one in scored] == [
        "seesaw, image→text: joint − single, nats a text",
        "seesaw, image→text: share of the way",
        "seesaw, text→image: share of the way",
    ]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["image-to-text", "joint", "text-to-image"]
    assert all(np.isfinite(one.value) for one in scored)
    lines = (tmp_path / "runs/image-to-text/metrics.jsonl").read_text().splitlines()
    assert len(lines) == seesaw.FEWEST


FORMS = {"digits": (28, 28, 3), "films": (9, 32, 32, 3), "sounds": (4000,)}


@pytest.mark.parametrize(("form", "phrased"), [("digits", False), ("digits", True), ("films", False), ("sounds", False)])
def test_a_folder_is_imported_with_its_kinds_and_its_part_kept_back(tmp_path, form, phrased):
    """Every kind has as many files as asked for, in words or in names of folders, and what is tested is not trained on."""
    kinds: dict[str, Kind] = {"digits": "image", "films": "video", "sounds": "audio"}
    kind = kinds[form]

    def media(_: Path, split: str) -> sources.Media:
        rng = np.random.default_rng(split == "test")
        for number in range(40):
            data = rng.integers(0, 256, FORMS[form], dtype=np.uint8) if kind != "audio" else rng.uniform(-1, 1, FORMS[form])
            yield kind, data, f"{('one', 'two')[number % 2]} moving left"

    own = OwnFolder(media, ("one", "two"), None, phrased)
    folders.write_folder(own, Trial(tmp_path, tmp_path, 0.03), tmp_path / "files")
    summary = import_folder(tmp_path / "files", tmp_path / "records")
    captions = {
        part: [segment.data for record in read_lines(tmp_path / part) for segment in record.segments if segment.kind == "text"]
        for part in ("records", "records/held_out")
    }
    assert (summary.records, summary.held_out) == (2 * 2 * 6, 2 * 2 * 2)
    for said in captions.values():
        told = [folders.kind_in(text, own.kinds) for text in said]
        assert told.count("one") == told.count("two") == len(said) / 2
        assert (set(said) == {"one", "two"}) != phrased


def test_a_kind_is_read_where_one_alone_is_named():
    assert folders.kind_in("someone wrote a two here", ("one", "two")) == "two"
    assert folders.kind_in("a two beside a one", ("one", "two")) is None
    assert folders.kind_in("a twofold thing", ("one", "two")) is None


def test_a_table_tells_the_spread_of_seeds_and_the_threads():
    runs = [[Scored("image → text", value, 0.6, "10 pictures")] for value in (0.5, 0.7)]
    found = results.found("photos", runs, threads=1)
    assert found.figures[0].value == pytest.approx(0.6)
    assert found.figures[0].threads == 1
    (table,) = found.tables
    assert table.title == "photos, 2 seeds, 1 thread"
    assert table.rows[0][1] == "0.600 ± 0.141"


def test_what_a_trial_makes_does_not_serve_the_whole(tmp_path):
    assert Trial(tmp_path, tmp_path / "out", 1).out == tmp_path / "out"
    assert Trial(tmp_path, tmp_path / "out", 0.05).out == tmp_path / "out/share-0.05"


def test_time_before_a_kill_counts(tmp_path):
    """A process that is killed leaves what it has noted, and the next one adds to it."""
    path = tmp_path / "run.seconds"
    program = f"""
import time
from pathlib import Path
from benchmarks.results import clock
with clock.counted(Path({str(path)!r}), every=0.02):
    print("begun", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while clock.read(path).wall < 0.2:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    before = clock.read(path)
    with clock.counted(path):
        pass
    after = clock.read(path)
    assert 0.2 <= before.wall <= after.wall < before.wall + 5
    assert after.processor > before.processor > 0
