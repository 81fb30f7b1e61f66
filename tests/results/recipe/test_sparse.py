"""Sparse networks beside a dense one of their active size."""

from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.model.cost import active_parameters
from ernest.results.recipe.sparse import DENSE, ULTRA, USUAL, networks
from ernest.results.recipe.sparse import judge as judge_sparse


def test_sparse_networks_are_of_one_active_size_and_judged_by_seeds():
    sizes = {name: active_parameters(model) for name, model in networks().items()}
    router = networks()[ULTRA].layers * networks()[ULTRA].width * (networks()[ULTRA].experts - 1)
    assert sizes[ULTRA] - sizes[DENSE] == router
    seeds = [as_if_trained(seed) for seed in range(3)]
    assert [one.verdict for one in judge_sparse(seeds)] == ["holds"] * 3
    assert [one.verdict for one in judge_sparse(seeds[:1])] == ["holds", *["can't be judged here"] * 2]
    dead = [
        {name: one | {"experts never chosen": 0.1, "entropy, worst layer": 0.5} for name, one in seed.items()} for seed in seeds
    ]
    assert judge_sparse(dead)[0].verdict == "doesn't hold here"


def as_if_trained(seed: int = 0) -> dict[str, dict[str, float]]:
    """Even load, and scores that are better than those of the dense one."""
    even = {"experts never chosen": 0.0, "entropy, worst layer": 0.99, "largest ÷ mean load, worst layer": 1.5}
    scores = {ULTRA: 0.7, DENSE: 0.6, USUAL: 0.7}
    return {name: even | {f"score, {task}": value + seed / 10 for task in CURVE_DIRECTIONS} for name, value in scores.items()}
