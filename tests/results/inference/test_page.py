"""A trained model at work, by the median of turns."""

from ernest.results.inference.page import judge as judge_inference


def test_drafts_and_fewer_experts_are_judged_by_the_median_of_turns():
    turns = {"plain": [2.0, 2.0], "1 ahead": [1.0, 2.5], "2 ahead": [1.0, 1.0]}
    fewer = {"four experts": [1.2, 1.1], "one expert": [1.0, 1.0]}
    found = judge_inference(turns, fewer)
    assert [one.verdict for one in found] == ["holds"] * 2
    assert "1.15 times as fast, 1.10 to 1.20 over 2 turns" in found[1].ours
    assert judge_inference(turns, {way: [1.0, 1.0] for way in fewer})[1].verdict == "doesn't hold here"
