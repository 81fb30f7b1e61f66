"""What makes a run the same run, and what is said where it is another one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernest.config.recipe import Recipe, load_recipe, to_tree
from ernest.data.record_writer import save_records
from ernest.data.records import LINES, load_records, media_fingerprint, read_lines
from ernest.evaluation.own_run import FINDINGS, MODEL, judge_run
from ernest.evaluation.results import Findings, save
from ernest.sequence.record import Record, given, made
from ernest.storage import fingerprint
from ernest.training.pretrain import pretrain, train_model
from ernest.training.resume import LOG, PROGRESS
from ernest.training.run_settings import RUN_FILE, TrainingRun, check_free, differing_settings, unusual_settings


def settings(recipe: Recipe, records: str = "abc") -> str:
    return json.dumps({"records": records, "recipe": to_tree(recipe)}, indent=1)


def begun_by(out: Path, tree: dict) -> Path:
    (out / RUN_FILE).write_text(json.dumps(tree))
    return out


def test_a_run_of_before_a_field_was_there_goes_on_where_it_is_at_its_usual_value(tmp_path: Path) -> None:
    tree = json.loads(settings(Recipe()))
    del tree["recipe"]["training"]["adapter_rank"], tree["recipe"]["elastic"]
    begun_by(tmp_path, tree)
    check_free(tmp_path, settings(Recipe()))
    ranked = replace(Recipe(), training=replace(Recipe().training, adapter_rank=4))
    with pytest.raises(ValueError, match=r"other records, tokenizers or settings \(recipe\.training\.adapter_rank\): choose"):
        check_free(tmp_path, settings(ranked))


def test_what_a_kill_left_among_its_records_does_not_stop_a_run(tmp_path: Path) -> None:
    (tmp_path / ".aside-records-abc/records").mkdir(parents=True)
    check_free(tmp_path, settings(Recipe()))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than a training"):
        check_free(tmp_path, settings(Recipe()))


def test_what_differs_is_named(tmp_path: Path) -> None:
    begun_by(tmp_path, json.loads(settings(Recipe())))
    other = load_recipe(overrides=["training.steps=7", "mixture.text→image=2"])
    with pytest.raises(ValueError, match=r"\(recipe\.mixture\.text→image, recipe\.training\.steps, records\): choose"):
        check_free(tmp_path, settings(other, "def"))


def test_a_field_that_a_run_had_and_that_is_no_more_is_another_run(tmp_path: Path) -> None:
    tree = json.loads(settings(Recipe()))
    tree["recipe"]["training"]["momentum"] = 0.9
    begun_by(tmp_path, tree)
    with pytest.raises(ValueError, match=r"\(recipe\.training\.momentum\)"):
        check_free(tmp_path, settings(Recipe()))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text('{"records": ')
    with pytest.raises(ValueError, match=r"run\.json: damaged"):
        check_free(tmp_path, settings(Recipe()))


def test_only_what_is_not_usual_counts_for_a_state() -> None:
    assert unusual_settings(Recipe()) == {}
    changed = load_recipe(overrides=["training.steps=7", "training.save_every=3", "parallel.replicate=2"])
    usual = unusual_settings(load_recipe())
    assert {name: value for name, value in unusual_settings(changed).items() if usual.get(name) != value} == {"training.steps": 7}


@pytest.fixture
def records(tmp_path: Path) -> Path:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    save_records(tmp_path / "data", (Record((given("image", one), made("text", "a")), "t") for one in pictures))
    return tmp_path / "data"


def test_other_media_under_the_same_lines_are_other_records(records: Path) -> None:
    """Imported again after pictures were mended: the captions are the same, and so are their lines."""
    before = TrainingRun(read_lines(records), records.parent / "run", Recipe()).settings
    lines = (records / LINES).read_bytes()
    save_records(records.parent / "again", [replace_picture(one) for one in load_records(records)])
    assert (records.parent / "again" / LINES).read_bytes() == lines
    after = TrainingRun(read_lines(records.parent / "again"), records.parent / "run", Recipe()).settings
    assert differing_settings(json.loads(before), json.loads(after)) == ["media"]
    records.rename(records.parent / "moved")
    assert TrainingRun(read_lines(records.parent / "moved"), records.parent / "run", Recipe()).settings == before
    old = {name: value for name, value in json.loads(before).items() if name != "media"}
    assert differing_settings(old, json.loads(after)) == []  # of a run that was begun before this was noted


def replace_picture(record: Record) -> Record:
    first, *rest = record.segments
    return replace(record, segments=(replace(first, data=255 - first.data), *rest))


def test_files_of_ones_own_may_keep_their_size(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF1234")
    segments = [{"kind": "audio", "role": "given", "file": "a.wav"}, {"kind": "text", "role": "made", "text": "a"}]
    (tmp_path / LINES).write_text(json.dumps({"segments": segments}))
    before = media_fingerprint(read_lines(tmp_path))
    (tmp_path / "a.wav").write_bytes(b"RIFF1235")
    assert media_fingerprint(read_lines(tmp_path)) != before
    (tmp_path / "a.wav").unlink()  # which reading the records will say
    assert media_fingerprint(read_lines(tmp_path)) != before


def test_tokenizers_are_told_by_what_they_are_and_not_by_where_they_lie(records: Path) -> None:
    def noted(checkpoint: Path) -> str:
        return json.loads(TrainingRun(read_lines(records), records.parent / "run", Recipe(), checkpoint).settings)["tokenizers"]

    one, other = records.parent / "one", records.parent / "other"
    for folder in (one, other):
        (folder / "tokenizers").mkdir(parents=True)
        (folder / "tokenizers/text.json").write_text("[]")
    assert noted(one) == noted(other)
    (other / "tokenizers/text.json").write_text("[1]")
    assert noted(one) != noted(other)


def test_a_run_cannot_begin_in_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be replaced, and nothing found there any more."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^\. is the folder that you are in, which cannot be replaced: name a new one in it$"):
        check_free(Path(), settings(Recipe()))
    begun_by(tmp_path, json.loads(settings(Recipe())))
    check_free(Path(), settings(Recipe()))  # one that has begun goes on in it


def test_numbers_of_numpy_and_names_of_folders_make_the_same_run(records: Path) -> None:
    training = replace(Recipe().training, steps=np.int64(7), learning_rate=np.float64(0.25))
    odd = TrainingRun(read_lines(records), str(records.parent / "run"), replace(Recipe(), seed=np.int32(3), training=training))
    plain = load_recipe(overrides=["seed=3", "training.steps=7", "training.learning_rate=0.25"])
    assert odd == TrainingRun(odd.records, records.parent / "run", plain)
    assert type(odd.recipe.seed) is type(odd.recipe.training.steps) is int


def test_a_run_that_has_ended_does_not_begin_anew_where_its_states_were_removed(tmp_path: Path) -> None:
    """It would train for hours, and empty its log before."""
    recipe = load_recipe(overrides=["training.steps=2"])
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(recipe)))
    (tmp_path / "model").mkdir()
    (tmp_path / LOG).write_text('{"step": 0}\n{"step": 1}\n')
    pretrain(tmp_path, 0, 1)
    (tmp_path / LOG).write_text('{"step": 0}\n')  # its model was exported before
    with pytest.raises(OSError, match="tokenizers"):
        pretrain(tmp_path, 0, 1)


def test_a_run_that_has_ended_asks_for_no_more_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would tell the size of states that are never written. What it would tell hangs on tokenizers, which are not there."""
    monkeypatch.setattr("ernest.training.pretrain.launch", lambda *_: None)
    recipe = load_recipe(overrides=["training.steps=2"])
    (tmp_path / "step-0000001").mkdir()
    (tmp_path / "step-0000001" / PROGRESS).write_text("{}")
    with pytest.raises(OSError, match="tokenizers"):
        train_model(tmp_path, recipe)
    (tmp_path / "step-0000001").rename(tmp_path / "step-0000002")
    assert train_model(tmp_path, recipe) == tmp_path / "model"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("forced", "present", "told"), [(True, False, True), (True, True, False), (None, False, False)])
def test_bfloat16_that_is_emulated_is_told(
    forced: bool | None,
    present: bool,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It takes longer than float32. The run has ended, so that nothing is trained."""
    monkeypatch.setattr("ernest.training.pretrain.launch", lambda *_: None)
    monkeypatch.setattr("ernest.training.pretrain.supports_bf16", lambda: present)
    (tmp_path / "step-0000002").mkdir()
    (tmp_path / "step-0000002" / PROGRESS).write_text("{}")
    recipe = load_recipe(overrides=["training.steps=2"])
    train_model(tmp_path, replace(recipe, training=replace(recipe.training, bf16=forced)))
    line = "training.bf16 = true: this processor has no products of bfloat16, and a step takes longer than in float32\n"
    assert capsys.readouterr().err == (line if told else "")


def test_findings_are_of_the_model_that_is_there(tmp_path: Path) -> None:
    """One may be exported into a run that goes on, and be judged."""
    (tmp_path / "recipe.json").write_text(json.dumps(to_tree(Recipe())))
    (tmp_path / "model").mkdir()
    (weights := tmp_path / "model/model.safetensors").write_bytes(b"half way")
    save(tmp_path / FINDINGS, Findings("a run", ()), {"advice.json": ["longer"], MODEL: fingerprint(weights)})
    assert judge_run(tmp_path)[1] == ["longer"]
    weights.write_bytes(b"at the end")
    with pytest.raises(ValueError, match="is not a checkpoint"):  # which is opened now
        judge_run(tmp_path)
