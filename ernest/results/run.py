"""Runs what claims are tried by: every target writes tables, a picture, outcomes and a page, and goes on where it was stopped."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ernest.checkpoint import run_of
from ernest.results.pages import check_page
from ernest.results.units import based_on
from ernest.storage import fingerprint, folder_fingerprint
from ernest.training.group import check_alone

if TYPE_CHECKING:
    from ernest.results import small_runs
    from ernest.results.rl import study

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a target keeps its work (`build`), writes what it found (`out`), finds a model (`checkpoint`) and a zip of
    photographs."""

    build: Path
    out: Path
    checkpoint: Path
    tell: Tell = lambda line: None
    photographs: Path | None = None


@dataclass(frozen=True)
class Target:
    """What is run under a name: `run` writes into the folder of this name, and onto the `page` of the same name, or another;
    `needs` says of the place what is not there, None where nothing is missing."""

    words: str
    run: Callable[[Place], None]
    needs: Callable[[Place], str | None] = lambda place: None
    page: str = ""


def _time_marching(place: Place) -> None:
    from ernest.results.marching.race_page import run_race

    run_race(place.build / "time-marching", place.out, place.tell)


def _superconvergence(place: Place) -> None:
    from ernest.results.marching.superconvergence_page import run_orders

    run_orders(place.build / "superconvergence", place.out, place.tell)


def _routing(place: Place) -> None:
    from ernest.results.routing.page import run_routing

    run_routing(place.checkpoint, place.out)


def _elastic(place: Place) -> None:
    from ernest.results.elastic.page import run_elastic

    run_elastic(_on_demo(place, "elastic"), place.out)


def _elastic_longer(place: Place) -> None:
    from ernest.results.elastic.page import run_longer

    run_longer(_on_demo(place, "elastic-longer"), place.out)


def _ablations(place: Place) -> None:
    from ernest.results.recipe.ablations_page import run_ablations

    run_ablations(_on_demo(place, "ablations"), place.out)


def _sparse(place: Place) -> None:
    from ernest.results.recipe.sparse import run_sparse

    run_sparse(_on_demo(place, "sparse"), place.out)


def _context(place: Place) -> None:
    from ernest.results.context.page import run_context

    run_context(place.build / "context", place.out, place.tell)


def _precision(place: Place) -> None:
    from ernest.results.recipe.precision import run_precision

    run_precision(_on_demo(place, "precision", kept_in="ablations"), place.out)


def _films(place: Place) -> None:
    from ernest.results.films.page import run_films

    run_films(_on_demo(place, "films"), place.out)


def _inference(place: Place) -> None:
    from ernest.results.inference.page import run_inference

    run_inference(place.checkpoint, place.build / "inference", place.out)


def _rl(place: Place) -> None:
    from ernest.results.rl.laws import run_reinforcement

    run_reinforcement(_from_demo(place, "rl"), place.out)


def _photographs(place: Place) -> None:
    from ernest.results.photographs.page import run_photographs

    assert place.photographs is not None
    run_photographs(place.photographs, place.build / "photographs", place.out, place.tell)


def _rl_together(place: Place) -> None:
    from ernest.results.rl.together import run_together

    run_together(_from_demo(place, "rl-together"), place.out)


def _rl_methods(place: Place) -> None:
    from ernest.results.rl.methods_page import run_methods

    run_methods(_from_demo(place, "rl-methods", kept_in="rl-together"), place.build / "rl-methods", place.out)


def _rl_areas(place: Place) -> None:
    from ernest.results.rl.areas import run_areas

    run_areas(_from_demo(place, "rl-areas"), place.out)


def _on_demo(place: Place, name: str, kept_in: str = "") -> "small_runs.Study":
    """Trains on a demo's examples; what is kept in another target's folder serves both."""
    from ernest.results.small_runs import Study

    demo = run_of(place.checkpoint)
    study = Study(demo, place.build / (kept_in or name), lambda line: place.tell(f"{name}: {line}"))
    based_on(
        study.build, {"recipe": fingerprint(demo / "recipe.json"), "examples": study.store.fingerprint} | _shared(demo, demo)
    )
    return study


def _from_demo(place: Place, name: str, kept_in: str = "") -> "study.Study":
    """Goes on from a demo's model; the fine-tuned one is kept in the folder of the target that makes it."""
    from ernest.results.rl.study import Study

    study = Study(place.checkpoint, place.build / (kept_in or name), lambda line: place.tell(f"{name}: {line}"))
    weights = fingerprint(study.checkpoint / "model.safetensors")
    based_on(study.build, {"model": weights} | _shared(study.checkpoint, run_of(study.checkpoint)))
    return study


def _shared(checkpoint: Path, demo: Path) -> dict[str, str]:
    """Tokenizers and judges, by their fingerprints."""
    return {"tokenizers": folder_fingerprint(checkpoint / "tokenizers"), "judges": folder_fingerprint(demo / "judges")}


def _has_demo(place: Place) -> str | None:
    demo = run_of(place.checkpoint)
    there = all((demo / name).exists() for name in ("recipe.json", "examples", "tokenizers", "judges"))
    return None if there else f"{demo} is no demo: `make demo` makes one, or name its model, --checkpoint FOLDER"


def _has_both(place: Place) -> str | None:
    return _has_model(place) or _has_demo(place)


def _has_photographs(place: Place) -> str | None:
    there = place.photographs is not None and place.photographs.is_file()
    return None if there else "name a zip of train/CLASS/NAME.jpg and test/CLASS/NAME.jpg, such as CIFAR-10's, --photographs FILE"


def _has_model(place: Place) -> str | None:
    there = (place.checkpoint / "model.json").is_file()
    return None if there else f"{place.checkpoint} is no checkpoint: `make demo` trains one, or name another, --checkpoint FOLDER"


TARGETS: Mapping[str, Target] = {
    "superconvergence": Target("orders in time at the ends of elements and between them", _superconvergence),
    "time-marching": Target("the paper's two schemes beside IMEX-BDF4 and ETDRK4", _time_marching),
    "routing": Target("what experts of a trained model specialise in", _routing, _has_model),
    "elastic": Target("elastic training beside plain training and networks of the reduced size", _elastic, _has_demo),
    "elastic-longer": Target("the same in trainings as long as the demo's", _elastic_longer, _has_demo, "elastic"),
    "ablations": Target("parts of the recipe left out or set otherwise, one at a time", _ablations, _has_demo),
    "sparse": Target("under 3 % of the parameters active, beside a dense network and the demo's sparsity", _sparse, _has_demo),
    "precision": Target("training with products in 8-bit floats, imitated, beside the same without", _precision, _has_demo),
    "context": Target("rows that grow in mid-training, beside some that never do", _context),
    "films": Target("corruption and hidden frames of long films, and few bits first", _films, _has_demo),
    "inference": Target("drafts, and one expert a token instead of four", _inference, _has_model),
    "photographs": Target("each rule of PP-LCNet added and left out, on photographs", _photographs, _has_photographs),
    "rl": Target("reinforcement learning of films by the laws of their flows", _rl, _has_both),
    "rl-together": Target("all modalities in one run of reinforcement learning, in two orders", _rl_together, _has_both, "rl"),
    "rl-methods": Target("masks, hints and replayed experts of reinforcement learning", _rl_methods, _has_both, "rl"),
    "rl-areas": Target("what becomes of the mass of films that are rewarded for their energy", _rl_areas, _has_both, "rl"),
}


def run_targets(names: Sequence[str], place: Place) -> None:
    """Runs the named targets, or all that can be run, and writes the table over all claims.

    Raises ValueError for a name that there is not, and for a named target that lacks something.
    """
    check_alone("ernest results")
    for name in names:
        if name not in TARGETS:
            raise ValueError(f"{name}: expected one of {', '.join(TARGETS)}")
        if missing := TARGETS[name].needs(place):
            raise ValueError(f"{name}: {missing}")
    for name in names or [name for name in TARGETS if not TARGETS[name].needs(place)]:
        check_page(place.out / f"{TARGETS[name].page or name}.md", f"ernest results {name}")
    check_page(place.out / "index.md", "ernest results")
    from ernest.results.claims.index import write_index  # imports torch, which a mistake above need not wait for

    for name in names or TARGETS:
        if missing := TARGETS[name].needs(place):
            place.tell(f"{name}: left out: {missing}")
            continue
        place.tell(f"{name}: {TARGETS[name].words}")
        TARGETS[name].run(place)
        place.tell(f"{name}: {place.out / f'{TARGETS[name].page or name}.md'}")
    write_index(place.out, place.build.parent)
    place.tell(f"all claims: {place.out / 'index.md'}")
