"""What becomes of the mass of films that are rewarded for their energy alone, and whether a law within the tokenizer's reach
keeps it: the recipes `laws` and `areas` from the demo's model, family by family, beside true films behind the tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ernest.config.recipe import find_recipe
from ernest.config.rl import RLRecipe, load_rl_recipe
from ernest.generation.request import Request
from ernest.generation.sampling import DEFAULTS
from ernest.report.figures import write_csv
from ernest.results.outcome import Outcome, Verdict, table, write_outcomes
from ernest.results.pages import write_page
from ernest.results.rl.study import PAGE, TITLE, Study, engine_of, rebuilt_films
from ernest.results.units import kept
from ernest.rl.rollout import Response
from ernest.rl.tasks import Trained, outputs, trained_tasks
from ernest.sequence.record import made
from ernest.storage import fingerprint, own_folder
from ernest.verifiers.judges import Judges
from ernest.world import video
from ernest.world.split import HELD_OUT
from ernest.world.video import FAMILIES

NAME = "rl-areas"
FILMS, SEED = 40, 0
"""Fresh films of each family; of the runs and the films."""
LAWS, AREAS = "energy law rewarded", "coarse area law too"
RUNS = {LAWS: ("laws", 100), AREAS: ("areas", 100)}
"""Recipes, and their updates; a run goes on where these grow."""
TRUE, BEFORE = "true films, rebuilt", "before"
LAWFUL, CONSERVED = ("family", "energy law"), "coarse area law"
KEPT, WANTED = 0.90, 0.50
"""Lawful films, and those that keep their mass as well, from which on it counts as kept."""
CLAIM = "mass is lost where energy alone is rewarded, and kept where both are (not in the report)"
MEASURES = ("lawful", CONSERVED, "all", "change of area")
Numbers = Mapping[str, Sequence[float]]
"""By family: the share of films that is lawful, that keeps its area coarsely, that does both; the mean change of the area from
the first frame to the last, as a share of the canvas."""


def run_areas(study: Study, out: Path) -> None:
    """Trains by both recipes, and writes table, outcome and page into `out` after each."""
    build = study.build
    with own_folder(build):
        (task,) = trained_tasks(_recipe(AREAS), Judges.load(study.judges), {})
        found = {
            TRUE: kept(
                build / "true.json", {"films": FILMS}, lambda: measure(task, rebuilt_films(study.checkpoint, SEED, FILMS))
            ),
            BEFORE: _drawn(study.checkpoint, build / "before.json", task),
        }
        for name, (shipped, updates) in RUNS.items():
            trained = study.trained(study.checkpoint, build / shipped, _recipe(name))
            found[name] = _drawn(trained, build / f"{shipped}-{updates}.json", task)
            _write(found, out)


def _recipe(name: str) -> RLRecipe:
    """The shipped one, without looks of its own."""
    shipped, updates = RUNS[name]
    recipe = load_rl_recipe(find_recipe(shipped, "rl"), ())
    return replace(recipe, seed=SEED, update=replace(recipe.update, steps=updates, assess=0))


def _drawn(trained: Path, path: Path, task: Trained) -> dict[str, list[float]]:
    """Fresh films by a model, sampled as users do."""

    def draw() -> dict[str, list[float]]:
        engine = engine_of(trained)
        numbers = range(HELD_OUT, HELD_OUT + FILMS * len(FAMILIES))
        prompts = [task.task.record(SEED, number) for number in numbers]
        asks = [task.ask(prompt, engine.tokenizers, DEFAULTS["video"]) for prompt in prompts]
        requests = [
            Request(ask.prompt, (ask.kind,), ask.sampling, (SEED, number, 0), frames=ask.frames)
            for number, ask in zip(numbers, asks, strict=True)
        ]
        answers = [answer for (answer,) in engine.generate(requests)]
        made_films = outputs([Response(ask, (), a.segments, a.end) for ask, a in zip(asks, answers, strict=True)], engine)
        films: dict[str, list[np.ndarray]] = {name: [] for name in FAMILIES}
        for prompt, (film,) in zip(prompts, made_films, strict=True):
            films[prompt.facts["family"]].append(film.data)
        return measure(task, films)

    return kept(path, {"films": FILMS, "weights": fingerprint(trained / "model.safetensors")}, draw)


def measure(task: Trained, films: Mapping[str, Sequence[np.ndarray] | np.ndarray]) -> dict[str, list[float]]:
    """`MEASURES` of films uint8 `[frames, size, size, 3]`, by the family that was asked for."""
    found = {}
    for family, some in films.items():
        prompt = task.task.record(SEED, FAMILIES.index(family))
        passed = {
            name: np.array([task.known[name](prompt, [made("video", film)]).passed for film in some])
            for name in (*LAWFUL, CONSERVED)
        }
        lawful = np.logical_and.reduce([passed[name] for name in LAWFUL])
        areas = np.stack([video.areas(film) for film in some])
        shares = lawful.mean(), passed[CONSERVED].mean(), (lawful & passed[CONSERVED]).mean()
        found[family] = [*map(float, shares), float((areas[:, -1] - areas[:, 0]).mean())]
    return found


def judge(found: Mapping[str, Numbers]) -> list[Outcome]:
    """Whether conserved mass goes by the one reward, and stays by the other beside the laws."""
    share = lambda name, which: float(np.mean([one[which] for one in found[name].values()]))
    shares = [f"{name}: lawful {share(name, 0):.3f}, {CONSERVED} {share(name, 1):.3f}" for name in found]
    hits = [share(LAWS, 1) < share(BEFORE, 1)]
    if AREAS in found:
        hits += [share(AREAS, 0) >= KEPT, share(AREAS, 1) >= max(WANTED, share(BEFORE, 1))]
    verdict: Verdict = "doesn't hold here" if not hits[0] else "holds" if len(hits) == 3 and all(hits) else "holds in part"
    return [Outcome(CLAIM, "–", f"{'; '.join(shares)}; one seed", verdict)]


def _updates() -> str:
    return " and ".join(f"{updates} updates by the recipe `{shipped}`" for shipped, updates in RUNS.values())


def _cell(values: Sequence[float]) -> str:
    return " / ".join((*(f"{share:.2f}" for share in values[:3]), f"{values[3]:+.3f}"))


def _write(found: Mapping[str, Numbers], out: Path) -> None:
    rows = [(name, family, *values) for name, numbers in found.items() for family, values in numbers.items()]
    write_csv(out / NAME / "areas.csv", ("films", "family", *MEASURES), rows)
    outcomes = judge(found)
    write_outcomes(out / NAME, outcomes)
    cells = [(family, *(_cell(one[family]) for one in found.values())) for family in FAMILIES]
    mean = lambda one, which: f"{np.mean([values[which] for values in one.values()]):.3f}"
    cells.append(("all", *(" / ".join(mean(one, which) for which in range(3)) for one in found.values())))
    note = (
        f"Family and energy law / {CONSERVED} / all three / change of the area from the first frame to the last, as a share of "
        f"the canvas. {FILMS} fresh films of each family; {_updates()}, from the demo's model, one seed. Numbers: "
        f"[areas.csv]({NAME}/areas.csv)."
    )
    verdict = table(("claim", "here", "verdict"), [(one.claim, one.ours, f"**{one.verdict}**") for one in outcomes])
    block = "\n\n".join(["## What a reward does not say", table(("family", *found), cells), note, verdict])
    write_page(out / f"{PAGE}.md", TITLE, "", f"ernest results {NAME}", block)
