"""What is kept back of a folder of records: one file on one side, a share of the files, the same wherever the folder lies."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ernest.data.held_out import few_of_each_task, split_records
from ernest.data.importers import both_directions
from ernest.data.record_writer import save_records
from ernest.data.records import LINES, RecordFolder
from ernest.sequence.record import Record, Segment, given, made


def records(files: int) -> list[Record]:
    data = np.random.default_rng(0).integers(0, 256, (files, 32, 32, 3), dtype=np.uint8)
    pairs = [both_directions("image", one, f"picture {n}", {}) for n, one in enumerate(data)]
    return [pair[0] for pair in pairs] + [pair[1] for pair in pairs]


def captions(part: RecordFolder) -> list[str]:
    return [segment.text for record in part.stored for segment in record.segments if segment.kind == "text"]


def test_records_of_one_file_stay_on_one_side(tmp_path: Path):
    save_records(tmp_path / "here", records(50))
    kept, judges = split_records(tmp_path / "here", 0.1)
    assert (len(kept), len(judges)) == (90, 10)
    assert not set(captions(kept)) & set(captions(judges))
    assert sorted(captions(kept) + captions(judges)) == sorted([f"picture {n}" for n in range(50)] * 2)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    assert captions(split_records(tmp_path / "there", 0.1)[1]) == captions(judges)


def test_what_an_import_kept_back_is_taken_as_it_is(tmp_path: Path):
    save_records(tmp_path / "data", records(30))
    save_records(tmp_path / "data/held_out", records(2))
    kept, judges = split_records(tmp_path / "data", 0.1)
    assert (len(kept), len(judges)) == (60, 4)
    assert split_records(tmp_path / "data", 0.0)[1] is None


def test_of_few_files_nothing_is_kept_back_and_shares_must_be_shares(tmp_path: Path):
    save_records(tmp_path / "data", records(19))
    kept, judges = split_records(tmp_path / "data", 0.1)
    assert (len(kept), judges) == (38, None)
    with pytest.raises(ValueError, match=r"held_out: expected a share from 0 to below 1, got 1\.5"):
        split_records(tmp_path / "data", 1.5)


def test_texts_without_files_are_told_apart_by_their_words(tmp_path: Path):
    folder = tmp_path / "texts"
    save_records(folder, [Record((given("text", f"what is {n}?"), made("text", str(n))), "q") for n in range(40)] * 2)
    kept, judges = split_records(folder, 0.25)
    assert (len(kept), len(judges)) == (60, 20)
    assert not set(captions(kept)) & set(captions(judges))
    assert kept.path == judges.path == folder
    assert (folder / LINES).is_file()


def test_scores_are_of_some_records_of_each_task(tmp_path: Path):
    save_records(tmp_path / "data", records(30)[:40])
    few = few_of_each_task(split_records(tmp_path / "data", 0.0)[0], 10)
    assert captions(few) == [f"picture {n}" for n in (*range(0, 30, 3), *range(10))]


def test_a_sample_of_a_voice_is_not_what_a_record_shows(tmp_path: Path):
    """Few voices say many sounds: each sound is on one side, whoever speaks."""
    voice, *sounds = (np.random.default_rng(n).uniform(-0.1, 0.1, 200).astype(np.float32) for n in range(31))
    said = [
        Record((Segment("audio", voice, False, voice="anna"), given("text", "a"), made("audio", one)), "say") for one in sounds
    ]
    heard = [Record((given("audio", one), made("text", str(n))), "hear") for n, one in enumerate(sounds)]
    save_records(tmp_path / "data", [*said, *heard])
    kept, judges = split_records(tmp_path / "data", 0.1)
    assert (len(kept), len(judges)) == (54, 6)
    rows = [{next(s.rows for s in record.segments if s.file and s.kind == "audio" and not s.voice) for record in part.stored}
            for part in (kept, judges)]  # fmt: skip
    assert not rows[0] & rows[1]
