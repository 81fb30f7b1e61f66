"""What is found of routing, on choices like the report's and on others."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from ernest.evaluation.specialisation import GROUPS, Specialisation
from ernest.report.routing import write_routing
from ernest.results.routing.findings import JUDGES, findings


def as_reported(**changes: float) -> Specialisation:
    """Choices that show what the report's figures show: text wide and steady, generation narrow, understanding apart from it."""
    rng, layers, experts, labels = np.random.default_rng(0), 8, 64, np.repeat(np.arange(6), 10)
    usage = np.ones((6, layers, experts))
    text, image_in, video_in, image_out, video_out, audio = range(6)
    for layer in range(layers):
        depth = layer / (layers - 1)
        spread = {text: 1.3, image_in: 3.0, video_in: 3.0, image_out: 9.0, video_out: 10.0, audio: 6.0}
        first = {image_in: 0, video_in: 0, image_out: 24, video_out: 24, audio: 40, text: 40}
        for group, weight in spread.items():
            usage[group, layer, first[group] : first[group] + 16] = weight * (1.3 if layer == layers - 1 else 1.0)
        usage[:, layer, 60:] = 4.0  # used by all
        shared = round(2 + 6 * depth)  # what text has from understanding grows
        usage[text, layer, :shared] = 1.31
    for group in (image_out, video_out, audio):
        usage[group, :, 0] *= 0.5
    usage[audio, :, 41] = 60.0
    for i in range(24):  # experts of one group alone
        usage[image_in if i % 2 else video_in, :, 16 + i // 4] = 8.0
    counts = np.stack([np.stack([rng.multinomial(4000, row / row.sum()) for row in usage[label]]) for label in labels])
    return Specialisation(GROUPS, labels, counts, np.full((50, layers), 0.001), "made up")


def test_findings_of_the_report_hold_on_figures_like_its_own():
    verdicts = {outcome.claim: outcome.verdict for outcome in findings(as_reported())}
    assert len(verdicts) == len(JUDGES)
    for claim in (
        "specialisation follows the task (understand, generate) more than the modality",
        "text is spread widest; generation and audio are more concentrated than understanding",
        "text shares most with audio",
        "understanding and generation share little in every layer",
        "text's entropy is above generation's",
        "experts tell tasks apart beyond chance",
    ):
        assert verdicts[claim] == "holds", claim


def test_they_do_not_hold_where_all_groups_choose_alike(tmp_path):
    found = as_reported()
    rng = np.random.default_rng(1)
    even = replace(found, counts=rng.multinomial(4000, np.full(64, 1 / 64), size=(60, 8)), shuffled=np.ones((50, 8)))
    verdicts = {outcome.claim: outcome.verdict for outcome in findings(even)}
    assert verdicts["experts tell tasks apart beyond chance"] == "doesn't hold here"
    assert verdicts["in the last layer choices are more concentrated than in the middle"] != "holds"
    files = write_routing(tmp_path, found)
    assert all(file.stat().st_size > 100 for file in files)
    with (tmp_path / "overlap.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 8 * 21


def test_findings_need_all_six_groups():
    found = as_reported()
    with pytest.raises(ValueError, match="need all six groups of tasks, audio missing"):
        findings(replace(found, groups=GROUPS[:-1], counts=found.counts[:50], labels=found.labels[:50]))
