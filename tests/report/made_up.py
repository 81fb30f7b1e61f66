"""Findings with one sample of every kind, small and exact, for the tests of the tables and of the page."""

import numpy as np

from ernest.evaluation.results import FULL, Findings, Sample, Score, StageTime, SubModelRow

TASKS = ("text", "image→text", "text→image", "speech→text", "text→video")
LAYERS, EXPERTS = 5, 8


def findings() -> Findings:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    film = rng.integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    wave = np.sin(np.arange(2000) / 7).astype(np.float32) * 0.5
    samples = (
        Sample("picture made", "a red seven at the top left", pixels=picture, correct=True),
        Sample("picture described", text="a <b>blue</b> six", pixels=picture, correct=False, note="in truth: a blue six"),
        Sample("speech made", "anna says seven", wave=wave, correct=True),
        Sample("speech heard", text="seven", wave=-wave, correct=True),
        Sample("video made", "a disk shrinking", pixels=film, curve=np.linspace(1, 0.4, 9), correct=True, obeys_energy_law=True),
        Sample(
            "video continued", "a disk shrinking", pixels=film, curve=np.linspace(1, 1.2, 9), correct=True, obeys_energy_law=False
        ),
        Sample("video described", text="two discs merging", pixels=film),
        Sample("text", "three plus four is", "seven", correct=True),
        Sample("untrained", "speak what is drawn", pixels=picture, wave=wave, correct=False, note="seven"),
        Sample("sketch", "a kind of its own", text="shown all the same"),
    )
    scores = (
        Score("image → text", FULL, 0.937, 0.9, "≤ 0.01", "caption grammar", 1.0, None, 300, group="understanding"),
        Score("image → text", "half", 0.811, None, "≤ 0.01", "caption grammar", 1.0, None, 300, group="understanding"),
        Score("text → image", FULL, 0.852, 0.9, "≤ 0.01", "judge", 0.983, 0.957, 299, group="generation"),
        Score("text → image", "half", 0.613, None, "≤ 0.01", "judge", 0.983, 0.957, 299, group="generation"),
        Score("bits per byte ÷ unigram's", FULL, 0.312, 0.5, "1", "likelihood", count=123, lower_is_better=True),
        Score("mixture-load entropy, worst layer", FULL, 1.0, 0.97, verifier="training mixture", group="training"),
        Score("positions per second", FULL, 8000.0, 6000, verifier="median of all steps", group="training"),
    )
    submodels = (
        SubModelRow(FULL, 1.0, 1.0, 8, 48, 2, {"image→text": 0.937, "text→image": 0.852}),
        SubModelRow("half", 0.54, 0.36, 5, 24, 1, {"image→text": 0.811}),
    )
    metrics = tuple(
        {"step": step, "text": 5.0 / (step + 1), "mtp": 6.0 / (step + 1), "vision": 0.69, "positions": 4000, "seconds": 0.5}
        | ({"audio": 5.5} if step % 2 else {})
        for step in range(20)
    )
    usage = {task: rng.dirichlet(np.ones(EXPERTS), LAYERS) for task in TASKS}
    return Findings(
        "Findings made up",
        scores,
        samples,
        submodels,
        metrics,
        usage,
        load=np.full((2, LAYERS, EXPERTS), 100),
        stages=(StageTime("world", 30.0, 60.0), StageTime("model", 800.0, 1600.0)),
        facts={"machine": "a <small> one", "seed": "0"},
        threads=2,
    )
