"""The table over all claims: what it quotes is there, verdicts follow from figures, and a run that was killed goes on."""

import csv
import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.evaluation.specialisation import GROUPS, Specialisation
from ernest.report.routing import write_routing
from ernest.results import areas, context_page, methods_page, precision, reinforcement, superconvergence, together
from ernest.results import run as running
from ernest.results.ablations import ALL, BASE
from ernest.results.ablations_judged import judge as judge_ablations
from ernest.results.claims import ByTest, Claim, Gain, Measured, Places, Quote, Share
from ernest.results.elastic import SYSTEMS
from ernest.results.elastic_page import judge as judge_elastic
from ernest.results.films_page import judge as judge_films
from ernest.results.index import PAPERS, write_index
from ernest.results.inference_page import judge as judge_inference
from ernest.results.lcnet_variants import VARIANTS
from ernest.results.marching_page import judge as judge_race
from ernest.results.marching_race import ENTRANTS, PEERS
from ernest.results.orders_page import judge, sweeps_needed
from ernest.results.outcome import Outcome, judged, judged_places, read_outcomes, write_outcomes
from ernest.results.pages import write_page
from ernest.results.photographs import judge as judge_photographs
from ernest.results.routing import JUDGES, findings
from ernest.results.run import TARGETS, Place, Target, run_targets
from ernest.results.sparse import judge as judge_sparse
from ernest.results.units import kept
from tests.results.test_ablations import as_if_trained, made_up
from tests.results.test_films import as_if_measured

ROOT = Path(__file__).parents[2]
CLAIMS = [claim for claims in PAPERS.values() for claim in claims]
PLACES = Places(ROOT / "docs/results", ROOT / "build", ROOT)


# ------------------------------------------------------------------ what is quoted


def test_tests_that_are_named_are_there():
    named = {name for claim in CLAIMS if isinstance(claim.evidence, ByTest) for name in claim.evidence.names}
    missing = [name for name in named if f"def {name.split('::')[1]}(" not in (ROOT / name.split("::")[0]).read_text()]
    assert named
    assert missing == []


def test_rows_that_are_quoted_from_pages_are_there():
    """Those of builds are there once they were made; the seesaw is published with its run."""
    quotes = [one for claim in CLAIMS if isinstance(claim.evidence, tuple) for one in claim.evidence]
    on_pages = [one for one in quotes if isinstance(one, Quote | Gain) and not one.source.endswith((".jsonl", "data.md"))]
    assert len(on_pages) > 30
    assert [one for one in on_pages if not one.read(PLACES)] == []


def test_targets_that_are_measured_are_there_and_make_those_claims(tmp_path):
    measured = [claim.evidence for claim in CLAIMS if isinstance(claim.evidence, Measured)]
    assert {one.target for one in measured} == set(TARGETS)
    rows = [{"scheme": scheme, "degree": p, "sweeps": 0, "ends": 2.0 * p, "between": 3.0, "corrected": 3.0}
            for p in superconvergence.DEGREES for scheme in (superconvergence.IMPLICIT, superconvergence.FIELD,
                                                             superconvergence.TERM)]  # fmt: skip
    costs = {(("f", 0.1), 1e-4): {one.name: {"seconds": 1.0, "transforms": 1.0} for one in ENTRANTS}}
    made = {"superconvergence": judge(rows), "time-marching": judge_race(costs), "routing": findings(as_reported())}
    scores = {name: dict.fromkeys(CURVE_DIRECTIONS, 0.5) for name in SYSTEMS}
    made["elastic"] = judge_elastic([scores], (0.54, 0.36))
    made["ablations"] = judge_ablations([made_up(0)])
    made["films"] = judge_films([as_if_measured()])
    made["sparse"] = judge_sparse([as_if_trained()])
    made["precision"] = precision.judge([{side.name: made_up(0)[ALL][BASE] for side in precision.SIDES}])
    made["inference"] = judge_inference(
        {"plain": [2.0], "1 ahead": [1.0]},
        {"four experts": [2.0], "one expert": [1.0]},
    )
    made["context"] = [Outcome(context_page.CLAIM, "", "", "holds")]
    made["photographs"] = judge_photographs({name: {0: 80.0} for name in VARIANTS})
    made["rl"] = [Outcome(reinforcement.CLAIM, "", "", "holds in part")]
    made["rl-together"] = together.judge({"a": 0.5}, {order: [{"a": 0.6}] for order in together.ORDERS})
    made["rl-methods"] = [
        Outcome(claim, "", "", "holds")
        for claim in (methods_page.FIG_6, methods_page.HARD_WPSM, methods_page.HARD_HINTS, methods_page.REPLAY)
    ]
    made["rl-areas"] = [Outcome(areas.CLAIM, "", "", "holds")]
    names = {target: {outcome.claim for outcome in outcomes} for target, outcomes in made.items()}
    assert [one for one in measured if one.claim not in names[one.target]] == []


def test_figures_are_read_from_pages_and_judged(tmp_path):
    (tmp_path / "page.md").write_text(
        "| measured | value | bar | met |\n|---|---|---|---|\n| a: x | 3.5 | ≥ 3 | yes |\n| a: y | 1 | ≥ 2 | **no** |\n\n"
        "| x0.5 | here | who |\n|---|---|---|\n| base | 92.78 ± 3.00 | nothing |\n| more | 93.78 ± 4.00 | another |\n"
        "| most | 105.78 ± 4.00 | another |\n"
    )
    (tmp_path / "b.jsonl").write_text(
        json.dumps({"row": "d", "value": 0.5, "bar": None, "ok": None}) + "\n"
        + json.dumps({"row": "d [half]", "value": 0.4, "bar": 0.3, "ok": True}) + "\n"
    )  # fmt: skip
    places = Places(tmp_path, tmp_path, tmp_path)
    told = lambda *evidence: Claim("", "", "", evidence).outcome(places)
    assert told(Quote("", "page.md", "a: *")) == ("a: x 3.5; a: y 1", "holds in part")
    assert told(Quote("x", "page.md", "a: x", least=4)) == ("x 3.5", "doesn't hold here")
    assert told(Quote("y", "page.md", "a: y", most=1)) == ("y 1", "holds")
    assert told(Quote("who", "page.md", "base", "who", equals="nothing")) == ("who nothing", "holds")
    assert told(Quote("who", "page.md", "more", "who", equals="nothing"))[1] == "doesn't hold here"
    # 2.776 √((3² + 4²) / 3) = 8.01: a point of difference is nothing, and thirteen are something.
    assert told(Gain("g", "page.md", "more", "base", "here")) == ("g +1.00 ± 8.01", "can't be judged here")
    assert told(Gain("g", "page.md", "most", "base", "here")) == ("g +13.00 ± 8.01", "holds")
    assert told(Gain("g", "page.md", "base", "most", "here"))[1] == "doesn't hold here"
    assert told(Share("s", "b.jsonl", ("d",), " [half]", 0.9)) == (
        "s 0.800, 0.800 to 0.800 over 1 directions",
        "doesn't hold here",
    )
    assert told(Quote("", "b.jsonl", "d [half]")) == ("d [half] 0.4", "holds")
    assert told(Quote("", "page.md", "z")) == ("", "not run yet")
    assert told(Quote("", "nowhere.md", "a: x")) == ("", "not run yet")
    assert Claim("", "", "", why="no data").outcome(places) == ("no data", "can't be judged here")
    assert Claim("", "", "").outcome(places) == ("", "not run yet")


def test_the_index_has_a_line_for_every_claim_and_says_what_was_not_run(tmp_path):
    write_outcomes(tmp_path / "routing", [Outcome("text shares most with audio", ".12", "audio 3 times", "doesn't hold here")])
    verdicts = write_index(tmp_path, tmp_path / "nothing", ROOT)
    with (tmp_path / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CLAIMS) == sum(verdicts.values())
    page = (tmp_path / "index.md").read_text()
    assert all(claim.says.replace("|", "\\|") in page for claim in CLAIMS)
    by_claim = {row["claim"]: row for row in rows}
    assert by_claim["text shares most with audio"]["verdict"] == "doesn't hold here"
    assert by_claim["the implicit scheme superconverges"]["verdict"] == "not run yet"
    assert by_claim["the implicit scheme superconverges"]["again by"] == "`ernest results superconvergence`"
    assert by_claim["top-1 on ImageNet"]["verdict"] == "can't be judged here"


# ------------------------------------------------------------------ verdicts


def test_verdicts_count_comparisons():
    assert [judged(hits, 4) for hits in (4, 3, 2, 1, 0)] == ["holds", *["holds in part"] * 2, *["doesn't hold here"] * 2]
    assert judged(0, 0) == "can't be judged here"
    assert [judged_places(wins, 9) for wins in (9, 1, 0)] == ["holds", "holds in part", "doesn't hold here"]


def test_a_race_is_won_where_a_form_of_the_paper_is_first():
    """By time at one error of two, by transforms at none."""

    def costs(ours: float, peer: float) -> dict[str, dict[str, float]]:
        return {
            one.name: {"seconds": peer if one.family in PEERS else ours, "transforms": 1.0 if one.family in PEERS else 2.0}
            for one in ENTRANTS
        }

    found = judge_race({(("f", 0.1), 1e-4): costs(2.0, 1.0), (("f", 0.1), 1e-6): costs(1.0, 2.0)})
    assert [one.verdict for one in found] == ["holds in part", "doesn't hold here", *["holds in part"] * 3]
    assert found[0].ours == "a form of the paper is first in 1 of 2 (0 at 1e-04, 1 at 1e-06, 0 at 1e-08)"


def test_outcomes_come_back_and_damaged_ones_are_named(tmp_path):
    written = [Outcome('says "a, b"', "1", "2 | 3", "holds in part")]
    write_outcomes(tmp_path, written)
    assert list(read_outcomes(tmp_path).values()) == written
    assert read_outcomes(tmp_path / "nowhere") == {}
    (tmp_path / "outcomes.csv").write_text("claim,paper,ours,verdict\na,b,c,perhaps\n")
    with pytest.raises(ValueError, match=r"outcomes\.csv: damaged"):
        read_outcomes(tmp_path)


def test_orders_are_judged_by_what_theory_says():
    found = []
    for p in superconvergence.DEGREES:
        found.append({"scheme": superconvergence.IMPLICIT, "degree": p, "sweeps": 0, "ends": 2.0 * p, "between": p + 1.0,
                      "corrected": p + 2.0})  # fmt: skip
        for K in range(p + 1):
            for reading, plus in ((superconvergence.FIELD, 1), (superconvergence.TERM, 0)):
                order = float(min(2 * p, p + plus + K))
                found.append({"scheme": reading, "degree": p, "sweeps": K, "ends": order, "between": order, "corrected": order})
    assert [one.verdict for one in judge(found)] == ["holds"] * 4
    assert [sweeps_needed(found, superconvergence.FIELD, p) for p in superconvergence.DEGREES] == [1, 2, 3, 4]
    assert [sweeps_needed(found, superconvergence.TERM, p) for p in superconvergence.DEGREES] == [2, 3, 4, 5]
    low = [row | {"ends": row["degree"] + 1.0, "between": row["degree"] + 1.0} for row in found]
    assert [one.verdict for one in judge(low)] == ["doesn't hold here", "holds", "holds", "doesn't hold here"]


def test_an_order_is_taken_above_round_off():
    assert superconvergence.order((8, 16, 32), (1e-6, 1e-6 / 2**4, 1e-14)) == pytest.approx(4.0)
    assert np.isnan(superconvergence.order((8, 16), (1e-6, 1e-14)))


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


# ------------------------------------------------------------------ runs


def test_work_is_done_once_and_again_under_other_settings(tmp_path):
    calls = []
    make = lambda: calls.append(1) or {"value": (1, 2)}
    assert kept(tmp_path / "a/unit.json", {"n": (1,)}, make) == {"value": [1, 2]}
    assert kept(tmp_path / "a/unit.json", {"n": [1]}, make) == {"value": [1, 2]}
    assert len(calls) == 1
    kept(tmp_path / "a/unit.json", {"n": [2]}, make)
    assert len(calls) == 2


def test_a_run_that_was_stopped_goes_on_to_the_same_tables(tmp_path, monkeypatch):
    done: list[int] = []

    def orders(degree: int):
        if len(done) == 2 and degree == 4 and 4 not in done:
            done.append(4)
            raise KeyboardInterrupt
        done.append(degree)
        row = {"scheme": superconvergence.IMPLICIT, "degree": degree, "sweeps": 0}
        others = [row | {"scheme": name} for name in (superconvergence.FIELD, superconvergence.TERM)]
        slopes = {"ends": float(degree), "between": 1.5, "corrected": 2.5}
        return {
            "errors": [one | {"steps": 8.0, "ends": 1e-3} for one in (row, *others)],
            "orders": [one | slopes for one in (row, *others)],
        }

    monkeypatch.setattr("ernest.results.orders_page.orders", orders)
    place = Place(tmp_path / "build/claims", tmp_path / "out", tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        run_targets(["superconvergence"], place)
    run_targets(["superconvergence"], place)
    assert done == [2, 3, 4, 4, 5]
    read = lambda: {file.name: file.read_bytes() for file in (tmp_path / "out/superconvergence").glob("*.csv")}
    tables = read()
    run_targets(["superconvergence"], place)
    assert done == [2, 3, 4, 4, 5]
    assert tables == read()


def test_what_cannot_be_run_is_refused_by_name_and_left_out_otherwise(tmp_path, monkeypatch):
    told: list[str] = []
    ran: list[str] = []
    targets = {
        "one": Target("runs", lambda place: ran.append("one")),
        "two": Target("lacks", lambda place: ran.append("two"), lambda place: "no model"),
    }
    monkeypatch.setattr(running, "TARGETS", targets)
    place = Place(tmp_path / "build", tmp_path / "out", tmp_path / "model", told.append)
    with pytest.raises(ValueError, match="two: no model"):
        run_targets(["two"], place)
    with pytest.raises(ValueError, match="three: expected one of one, two"):
        run_targets(["three"], place)
    assert ran == []
    run_targets([], place)
    assert ran == ["one"]
    assert "two: left out: no model" in told


def test_words_of_people_on_a_page_stay(tmp_path):
    page = tmp_path / "page.md"
    write_page(page, "Title", "Words.", "ernest results a", "| 1 |")
    page.write_text(page.read_text().replace("Words.", "Better words.") + "\nMore.\n")
    write_page(page, "Title", "Words.", "ernest results a", r"| \2 |")
    text = page.read_text()
    assert "Better words." in text
    assert text.endswith("More.\n")
    assert r"| \2 |" in text
    assert "| 1 |" not in text
    write_page(page, "Another title", "", "ernest results b", "second")
    write_page(page, "Title", "Words.", "ernest results a", "first")
    text = page.read_text()
    assert text.index("first") < text.index("More.") < text.index("second")
    assert text.count("# Title") == 1
    assert "Another title" not in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match=r"page\.md: expected one '<!-- results: begin"):
        write_page(page, "Title", "Words.", "ernest results a", "")


def test_every_claim_is_told_in_few_words():
    assert [claim.says for claim in CLAIMS if len(claim.says) > 110] == []
    assert len({(claim.where, claim.says) for claim in CLAIMS}) == len(CLAIMS)
    assert inspect.isclass(Claim)
