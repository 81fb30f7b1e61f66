"""What a run needs of its disk."""

import pytest

from ernest.storage import DiskFullError
from ernest.training import resume
from ernest.training.resume import cut_log


def test_a_run_says_what_it_needs_and_refuses_what_it_would_not_find(tmp_path, monkeypatch):
    """Ten million parameters: 120 MB a state, two states at a time and the model."""
    monkeypatch.setattr(resume, "free_bytes", lambda path: 300_000_000)
    assert resume.check_room(tmp_path, 10_000_000).startswith(f"disk: up to 280 MB in {tmp_path}, 120 MB a state; 0.3 GB free")
    with pytest.raises(DiskFullError, match=r"the run would fill the disk\): 308\.0 MB needed, .* MB free; make room"):
        resume.check_room(tmp_path, 11_000_000)


def test_a_torn_line_ends_a_log_even_where_it_ends_in_a_brace(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 0, "failures": {"a": 1}}\n{"step": 1, "failures": {"a": 1}')
    cut_log(tmp_path, 5)
    assert log.read_text() == '{"step": 0, "failures": {"a": 1}}\n'


def test_states_that_are_there_count(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "free_bytes", lambda path: 200_000_000)
    (tmp_path / "step-0000100").mkdir()
    with (tmp_path / "step-0000100" / "model.safetensors").open("wb") as file:
        file.truncate(100_000_000)
    assert resume.check_room(tmp_path, 10_000_000)
