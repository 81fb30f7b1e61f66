"""The benchmark of the heads runs, writes its rows and draws its pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import runner
from benchmarks.lcnet import scenes


def test_rows_and_pictures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scenes, "LEARNT", 800)
    monkeypatch.setattr(scenes, "SETTINGS", scenes.TrainingSettings(steps=100, batch=2))
    runner.main(scenes.WING, ["--quick", "--part", "counts", "--part", "detection"])
    rows = [json.loads(line) for line in (tmp_path / "build/bench/quick/lcnet.jsonl").read_text().splitlines()]
    assert len(rows) == 15
    assert all(row.keys() == {"row", "value", "bar", "ok", "threads", "command"} for row in rows)
    assert all(row["ok"] and row["value"] <= row["bar"] == 0.005 for row in rows[:12])
    judged = next(row for row in rows if "AP@0.5 on" in row["row"])
    assert judged["bar"] == 0.9
    assert judged["ok"] == (judged["value"] >= 0.9)
    assert judged["command"] == "python -m benchmarks.lcnet.scenes --part detection"
    drawn = np.asarray(Image.open(tmp_path / "build/bench/quick/lcnet-scenes/detection.png"))
    assert drawn.shape == (scenes.SIDE, scenes.SIDE * scenes.SHOWN, 3)
