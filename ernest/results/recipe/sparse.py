"""The recipe `sparse`, of whose parameters fewer than 3 in 100 are active, beside a dense network of as many active ones and one
as sparse as the demo's, all of equal compute: balance, losses and scores by modality on a demo's examples."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ernest.checkpoint import tokenizer_spec
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.tables import ModelConfig
from ernest.evaluation.run import CURVE_DIRECTIONS
from ernest.model.cost import active_parameters, total_parameters, training_flops
from ernest.report.figures import new_figure, write_csv, write_picture
from ernest.report.svg import PALETTE
from ernest.results.held_out import COUNTS, LOSSES, held_out, losses
from ernest.results.outcome import Outcome, table, verdicts, without_figure, write_outcomes
from ernest.results.pages import write_page
from ernest.results.paired import SEEDS, Difference, Found, difference, measure_rows, spread
from ernest.results.small_runs import PLAIN, Study, evenness, in_one_process, scores, seed_by_seed, trained
from ernest.results.units import file_name, kept

NAME = "sparse"
STEPS, ROWS, RECORDS = 300, 16, 100
"""Of the sparse network; the others have as many steps as cost the same. Held-out records of each direction that is scored."""
ULTRA, DENSE, USUAL = "sparse", "dense", "the demo's sparsity"
EVEN, LARGEST, LEAST = 0.98, 2.0, -0.01
"""Where load counts as even: the worst layer's entropy, and its largest load over the mean; and the least difference in score to
the demo's sparsity."""
WORDS = (
    "How sparse a network can be (ERNIE 5.0 §2.1: fewer than 3 % of the parameters are active in a position). Active are "
    "attention and routers of all layers, and the experts that a position chooses; all are these, the other experts, embeddings, "
    "encoder and heads. Experts active and parameters active are two numbers, and both are told."
)


@dataclass(frozen=True)
class Sizes:
    """A network's experts and parameters, active and in all."""

    model: ModelConfig
    active: int
    total: int

    def __str__(self) -> str:
        experts = f"{self.model.top_k} of {self.model.experts} experts"
        parameters = f"{self.active / 1e6:.2f} of {self.total / 1e6:.1f} million parameters"
        return f"{experts} ({self.model.top_k / self.model.experts:.1%}), {parameters} ({self.active / self.total:.1%})"


def networks() -> dict[str, ModelConfig]:
    """The recipe's network, one of a single expert as wide as those that it runs, and one with as many experts as the demo's."""
    sparse, demo = (load_recipe(find_recipe(name)).model for name in ("sparse", "tiny"))
    dense = replace(sparse, experts=1, top_k=1, expert_width=sparse.top_k * sparse.expert_width)
    return {ULTRA: sparse, DENSE: dense, USUAL: replace(sparse, experts=demo.experts, top_k=demo.top_k)}


def recipes(study: Study, seed: int) -> dict[str, Recipe]:
    """What is trained, by name: steps of equal cost."""
    whole = study.whole()
    cost = {name: training_flops(model, whole.sequence.length) for name, model in networks().items()}
    found = {}
    for name, model in networks().items():
        steps = round(STEPS * cost[ULTRA] / cost[name])
        recipe = in_one_process(whole, seed, ROWS, steps=steps, warmup=steps // 14, save_every=50)
        found[name] = replace(recipe, model=model, elastic=PLAIN)
    return found


def measure(study: Study, seed: int) -> dict[str, dict[str, float]]:
    """Losses, scores and balance of each network, of one seed; what is kept is not measured again."""
    settings = {"steps": STEPS, "rows": ROWS, "records": RECORDS, "examples": study.store.fingerprint}
    return {name: kept(study.build / f"seed-{seed}" / f"{name}.json", settings | {"network": str(recipe.model)},
                       lambda name=name, recipe=recipe: _measured(study, name, recipe))
            for name, recipe in recipes(study, seed).items()}  # fmt: skip


def _measured(study: Study, name: str, recipe: Recipe) -> dict[str, float]:
    run = study.build / f"seed-{recipe.seed}" / file_name(name)
    study.tell(f"seed {recipe.seed}: {name}, {recipe.training.steps} steps")
    network = trained(study, recipe, run)
    found = losses(network, held_out(study), study.tokenizers, tuple(COUNTS))
    scored = scores(study, network, CURVE_DIRECTIONS, recipe.seed, RECORDS)
    found |= {f"score, {task}": value for task, value in scored.items()}
    found |= evenness(study, recipe, network)
    shutil.rmtree(run)
    return found


# ------------------------------------------------------------------ what it says


def judge(found: Found) -> list[Outcome]:
    """Balance of every seed's sparse network; scores beside the two others, paired by seed."""
    sparse = [seed[ULTRA] for seed in found]
    dead, entropy, largest = (
        [one[name] for one in sparse]
        for name in ("experts never chosen", "entropy, worst layer", "largest ÷ mean load, worst layer")
    )
    balance = (
        f"entropy of the worst layer {_list(entropy)}, largest ÷ mean load there {_list(largest)}, experts never chosen "
        f"{', '.join(f'{one:.1%}' for one in dead)}"
    )
    met = [max(dead) == 0, min(entropy) >= EVEN, max(largest) <= LARGEST]
    dense, usual = _gain(found, DENSE), _gain(found, USUAL)
    return [
        without_figure("so sparse a network trains in balance, and no expert dies", balance, met),
        without_figure("it is better than a dense one of equal active size", f"mean score {dense} above it", [dense.is_above()]),
        without_figure("it is no worse than one as sparse as the demo's, at equal compute (our bar)",
                       f"mean score {usual} above it", [usual.is_at_least(LEAST)]),
    ]  # fmt: skip


def _gain(found: Found, other: str) -> Difference:
    return difference([_score(seed[ULTRA]) - _score(seed[other]) for seed in found])


def _score(measures: Mapping[str, float]) -> float:
    return float(np.mean([measures[f"score, {task}"] for task in CURVE_DIRECTIONS]))


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


# ------------------------------------------------------------------ the page


def run_sparse(study: Study, out: Path) -> None:
    """Trains and measures the three networks, and writes tables, picture, outcomes and page after each seed."""
    seed_by_seed(study, measure, lambda found: write(study, found, out))


def write(study: Study, found: Found, out: Path) -> None:
    """The page of the seeds so far, and what lies beside it."""
    write_csv(out / NAME / "measures.csv", ("seed", "network", "measure", "value"), measure_rows(found))
    write_picture(out / NAME / "losses.png", _picture(found))
    outcomes, spec = judge(found), tokenizer_spec(study.tokenizers)
    write_outcomes(out / NAME, outcomes)
    sizes = {name: Sizes(model, active_parameters(model), total_parameters(model, spec)) for name, model in networks().items()}
    steps = {name: recipe.training.steps for name, recipe in recipes(study, SEEDS[0]).items()}
    columns = {f"loss, {kind}": names for kind, names in LOSSES.items()}
    columns |= {f"score, {task}": (f"score, {task}",) for task in CURVE_DIRECTIONS}
    lines = [(name, str(sizes[name]), steps[name], *(_cell(found, name, names) for names in columns.values())) for name in sizes]
    parts = [
        verdicts(outcomes),
        f"![Losses of the three networks by modality, those of the dense one being 1]({NAME}/losses.png)",
        table(("network", "sizes", "steps", *columns), lines),
        f"{len(found)} of {len(SEEDS)} seeds, means and deviations. Steps of {ROWS} rows on the demo's examples, so many that "
        f"all three cost the same operations. Losses in nats a token, bit or code of held-out records; scores of {RECORDS} each. "
        f"`ernest train --recipe sparse` trains the network for longer. Numbers: [measures.csv]({NAME}/measures.csv).",
    ]
    write_page(out / f"{NAME}.md", "Under 3 % of the parameters", WORDS, f"ernest results {NAME}", "\n\n".join(parts))


def _cell(found: Found, name: str, measures: Sequence[str]) -> str:
    return spread([float(np.mean([seed[name][measure] for measure in measures])) for seed in found])


def _picture(found: Found):
    figure = new_figure(5.5, 2.8)
    axes = figure.subplots()
    for name, colour in zip((ULTRA, USUAL), (PALETTE["accent"], PALETTE["video"]), strict=True):
        ratios = [np.mean([[seed[name][one] / seed[DENSE][one] for one in names] for seed in found]) for names in LOSSES.values()]
        axes.plot(range(len(ratios)), ratios, "o", color=colour, label=name, markersize=6)
    axes.axhline(1, color="0.7", linewidth=0.8)
    axes.set_xticks(range(len(LOSSES)), list(LOSSES), fontsize=8)
    axes.set_ylabel("loss ÷ that of the dense one", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    return figure
