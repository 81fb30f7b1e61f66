"""The table over all claims: what it quotes is there, and verdicts follow from figures."""

import csv
import inspect
import json
from pathlib import Path

from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.results.claims.claim import ByTest, Claim, Gain, Measured, Places, Quote, Share
from ernest.results.claims.index import PAPERS, write_index
from ernest.results.context import page as context_page
from ernest.results.elastic.page import judge as judge_elastic
from ernest.results.elastic.training import SYSTEMS
from ernest.results.films.page import judge as judge_films
from ernest.results.inference.page import judge as judge_inference
from ernest.results.marching import superconvergence
from ernest.results.marching.forms import FIELD, IMPLICIT, TERM
from ernest.results.marching.race import ENTRANTS
from ernest.results.marching.race_page import judge as judge_race
from ernest.results.marching.superconvergence_page import judge
from ernest.results.outcome import Outcome, write_outcomes
from ernest.results.photographs.page import judge as judge_photographs
from ernest.results.photographs.variants import VARIANTS
from ernest.results.recipe import precision
from ernest.results.recipe.ablations_judged import judge as judge_ablations
from ernest.results.recipe.arms import ALL, BASE
from ernest.results.recipe.sparse import judge as judge_sparse
from ernest.results.rl import areas, laws, methods_judged, together
from ernest.results.routing.findings import findings
from ernest.results.run import TARGETS
from tests.results.films.test_films import as_if_measured
from tests.results.recipe.test_ablations import made_up
from tests.results.recipe.test_sparse import as_if_trained
from tests.results.routing.test_findings import as_reported

ROOT = Path(__file__).parents[3]
CLAIMS = [claim for claims in PAPERS.values() for claim in claims]
PLACES = Places(ROOT / "docs/results", ROOT / "build", ROOT)


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
            for p in superconvergence.DEGREES for scheme in (IMPLICIT, FIELD,
                                                             TERM)]  # fmt: skip
    costs = {(("f", 0.1), 1e-4): {one.name: {"seconds": 1.0, "transforms": 1.0} for one in ENTRANTS}}
    made = {"superconvergence": judge(rows), "time-marching": judge_race(costs), "routing": findings(as_reported())}
    scores = {name: dict.fromkeys(CURVE_DIRECTIONS, 0.5) for name in SYSTEMS}
    made["elastic"] = made["elastic-longer"] = judge_elastic([scores], (0.54, 0.36))
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
    made["rl"] = [Outcome(laws.CLAIM, "", "", "holds in part")]
    made["rl-together"] = together.judge({"a": 0.5}, {order: [{"a": 0.6}] for order in together.ORDERS})
    made["rl-methods"] = [
        Outcome(claim, "", "", "holds")
        for claim in (methods_judged.FIG_6, methods_judged.HARD_WPSM, methods_judged.HARD_HINTS, methods_judged.REPLAY)
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


def test_every_claim_is_told_in_few_words():
    assert [claim.says for claim in CLAIMS if len(claim.says) > 110] == []
    assert len({(claim.where, claim.says) for claim in CLAIMS}) == len(CLAIMS)
    assert inspect.isclass(Claim)
