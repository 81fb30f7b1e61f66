"""`python -m tests.mutants [ROOM ...]`: breaks one line of the package at a time and says which break no test noticed.

The package and its tests are copied into a temporary folder, where each mutant in turn replaces one piece of text that stands
in its file exactly once; the tests named beside it then have to fail. Exit status 1 if a mutant lives, or if the tests fail
without one.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
COPIED = "ernest", "tests", "benchmarks", "examples", "docs", "conftest.py", "pyproject.toml", "README.md", "Makefile"
COPIED += ("constraints.txt",)
"""What tests look at: some draw their problems as a benchmark does, and must not find that of another tree."""


@dataclass(frozen=True)
class Mutant:
    """In `file` of the package, `old` becomes `new`; `tests` are files or folders of tests that should notice."""

    file: str
    old: str
    new: str
    tests: str

    @property
    def room(self) -> str:
        return self.file.split("/")[0].removesuffix(".py")


MUTANTS = (
    # ground floor
    Mutant("storage/files.py", "_sync(entry)\n                _keep", "pass\n                _keep", "test_storage.py"),
    Mutant("storage/tensors.py", ".resolve_conj()", "", "test_storage.py"),
    Mutant("storage/tensors.py", "else one.clone()", "else one", "test_storage.py"),
    Mutant("overrides.py", "math.isfinite", "math.isnan", "test_overrides.py"),
    # the model's language
    Mutant("sequence/mask.py", "<= query_group", "< query_group", "sequence/test_mask.py"),
    Mutant("sequence/mask.py", "seen = same & (", "seen = (", "sequence/test_mask.py"),
    Mutant("sequence/history.py", "end + window * scales", "end + window * scales + 1", "sequence/test_history.py"),
    Mutant("sequence/history.py", "gone.maximum(end + 1)", "gone", "sequence/test_history.py"),
    Mutant("data/corruption.py", "rates[now - 1, -1] + share", "least[now, 0] + share", "data/test_corruption.py"),
    Mutant("generation/row.py", "self.begin - window, 0", "self.begin - window - 1, 0", "generation/test_frame_window.py"),
    Mutant("sequence/groups.py", "start + frame + 1, start + y", "start + frame, start + y", "sequence/test_groups.py"),
    Mutant("sequence/packing.py", "if need > room:", "if need >= room:", "sequence/test_packing.py"),
    Mutant("data/sampler.py", "config.length, leftover)", "config.length)", "data/test_sampler.py"),
    Mutant("data/sampler.py", "(seed, step, 0, row)", "(seed, step, 0)", "data/test_sampler.py"),
    Mutant("data/decoded.py", "if key in self.known:", "if False:", "training/test_prepare.py"),
    Mutant("sequence/positions.py", "a * cos - b * sin, b * cos", "a * cos + b * sin, b * cos", "sequence/test_positions.py"),
    Mutant("tokenizers/bitwise_quantiser.py", "self.bits) < rates", "self.bits) > rates", "tokenizers/test_bitwise_quantiser.py"),
    Mutant("tokenizers/training/vision.py", "sqrt(variance / DRAWN)", "sqrt(DRAWN / variance)", "tokenizers/test_vision.py"),
    Mutant("tokenizers/training/bounded.py", ").clamp_max(1)", ")", "tokenizers/test_bounded.py"),
    Mutant("tokenizers/vision.py", "coarse, pooled = share(coarse, pooled)", "pass", "tokenizers/test_bounded.py"),
    # model
    Mutant(
        "model/submodel.py", "range(1, config.layers - levels)", "range(1, config.layers - levels + 1)", "model/test_submodel.py"
    ),
    Mutant("model/slicing.py", "best = importance.topk(width", "best = (-importance).topk(width", "model/test_slicing.py"),
    Mutant("model/attention.py", "(q * d**-0.5)", "(q * d**-1.0)", "model/test_attention.py"),
    Mutant("model/heads.py", "if level + 1 < self.levels:", "if level + 2 < self.levels:", "model/test_network.py"),
    Mutant("model/router.py", "score_TN + self.selection_bias", "score_TN", "model/test_experts.py"),
    Mutant("model/router.py", "gate_Tk.sum(dim=-1, keepdim=True).clamp_min(1e-12)", "1.0", "model/test_experts.py"),
    Mutant("model/router.py", "torch.sign(gap)", "-torch.sign(gap)", "model"),
    Mutant("model/likelihood.py", "first_positions(batch).flatten()", "torch.arange(batch.valid.numel())", "model"),
    Mutant("model/source/norms.h", "splat(scale * mean)) * splat(scale)", "splat(scale * mean))", "model/test_native.py"),
    Mutant("model/source/experts.h", "if (gate[c] != 0) ++first", "++first", "model/test_experts.py"),
    # data and world
    Mutant("world/split.py", "return index >= HELD_OUT", "return index > HELD_OUT", "world"),
    Mutant("world/video.py", "(1 - drop) * first", "(1 + drop) * first", "world/test_video.py"),
    Mutant("world/images.py", "T).argmin()", "T).argmax()", "world/test_images.py"),
    Mutant("data/collate.py", "-len(rest) % CLIP, axis=0", "-len(rest) % CLIP + CLIP, axis=0", "data"),
    Mutant("checkpoint.py", 'load_tensors(folder / "importance', 'load_tensors(folder / "model', "test_checkpoint.py"),
    Mutant("data/films.py", "shown.swapaxes(0, 1), c, b", "shown.swapaxes(0, 1), b, c", "data/test_media_table.py"),
    Mutant("data/pictures.py", "lasts if lasts > 10 else 100.0", "lasts", "data/test_media_table.py"),
    # generation
    Mutant("generation/text_states.py", "row <= left)", "row <= left + 1)", "generation/test_text_states.py"),
    Mutant("generation/sampling.py", "(logits - free)", "(free - logits)", "generation"),
    Mutant("generation/sampling.py", "- ordered > top_p", "> top_p", "generation/test_sampling.py"),
    # training
    Mutant("training/schedule.py", "config.bias_speed / 10", "config.bias_speed", "training/test_schedule.py"),
    Mutant("training/schedule.py", "(late + 1) / decay", "late / decay", "training/test_schedule.py"),
    Mutant("training/loss.py", "max(self.running.get(name, centre), 1e-6)", "1.0", "training/test_loss.py"),
    Mutant("training/launch.py", "PR_SET_PDEATHSIG, signal.SIGKILL", "PR_SET_PDEATHSIG, 0", "training/test_killed.py"),
    Mutant("training/tensor.py", "own(keys, queries + keys)", "own(keys, queries)", "training/test_tensor.py"),
    Mutant("training/experts.py", "index_select(0, token_S) * there_Sk", "index_select(0, token_S)", "training/test_experts.py"),
    Mutant("config/stages.py", "(rows - first) * step // ramp", "(rows - first) * step // (ramp + 1)", "training/test_stages.py"),
    Mutant("data/sampler.py", "and config.grows_to else 0", "and not config.grows_to else 0", "data/test_sampler.py"),
    Mutant("planner/pipeline.py", "min(stages - stage - 1, rows)", "min(stages - stage, rows)", "planner/test_pipeline.py"),
    # evaluation and report
    Mutant("evaluation/routing.py", "1 / counts.shape[-1]", "0.0", "evaluation/test_routing.py"),
    Mutant("verifiers/rules.py", 'PICTURE = ("digit", "colour", "place")', 'PICTURE = ("digit", "colour")', "verifiers"),
    Mutant("evaluation/evaluate.py", "verdicts[0].passed", "verdicts[-1].passed", "evaluation"),
    Mutant("evaluation/likelihood.py", "nats / unigram", "unigram / nats", "evaluation"),
    Mutant("report/tables.py", "score.ok is not None]", "score.ok]", "report/test_tables.py"),
    Mutant("demo/folder.py", "before.wall + wall", "wall", "demo/test_folder.py"),
    Mutant("fit.py", "if config.clip is not None:", "if config.clip is None:", "test_fit.py"),
    # lcnet
    Mutant("lcnet/folding.py", "torch.sqrt(variance + norm.eps)", "torch.sqrt(variance)", "lcnet/test_folding.py"),
    Mutant("lcnet/weights/paddle_export.py", "sorted(shapes)", "list(shapes)", "lcnet/weights/test_paddle_export.py"),
    Mutant("lcnet/weights/paddle_file.py", "== np.uint16", "== np.uint32", "lcnet/weights/test_foreign.py"),
    Mutant("lcnet/weights/load.py", "not tensor.isfinite().all()", "False", "lcnet/weights/test_foreign.py"),
    Mutant(
        "lcnet/training/parts.py",
        "for inside in insides) and bool(",
        "for inside in insides) or bool(",
        "lcnet/training/test_parts.py",
    ),
    Mutant("lcnet/native/source/amx.h", "multiply_tiles<3, 5, 7>()", "multiply_tiles<3, 5, 6>()", "lcnet/native"),
    Mutant("lcnet/native/source/amx.h", "if (p + 1 < count) store_high", "if (p + 2 < count) store_high", "lcnet/native"),
    Mutant("lcnet/native/source/amx_int8.h", "_mm512_setr_epi32(0, 4, 1, 5", "_mm512_setr_epi32(0, 1, 4, 5", "lcnet/native"),
    Mutant("lcnet/native/source/amx_int8.h", "block % 2 * 2 + quad % 2;", "block % 2 + quad % 2 * 2;", "lcnet/native"),
    Mutant(
        "lcnet/native/source/amx_int8.h", "scales = operand.scales + first", "scales = operand.scales + pixel", "lcnet/native"
    ),
    Mutant("lcnet/native/source/amx_stem.h", "2 * kx + c / 2;", "kx + 4 * (c / 2);", "lcnet/native"),
    Mutant("lcnet/heads/boxes.py", "return share - (around - union) / around", "return share", "lcnet/heads/test_boxes.py"),
    Mutant("lcnet/training/schedule.py", "min(decay, (1 + step) / (10 + step))", "decay", "lcnet/training/test_schedule.py"),
    Mutant("lcnet/training/flips.py", "is_sure = lost - won", "is_sure = won - lost", "lcnet/training/test_flips.py"),
    # phasefield
    Mutant("phasefield/schemes/settling.py", "rho / (1 - rho) * ", "0 * ", "phasefield/test_settling.py"),
    Mutant("phasefield/evolution/kicks.py", "(tau * grid.cell) ** -0.5", "tau ** -0.5", "phasefield/evolution/test_noise.py"),
    Mutant("phasefield/solver/controller.py", "return error <= MOST_AT_ONCE", "return True or MOST_AT_ONCE", "phasefield/solver"),
    Mutant(
        "phasefield/solver/controller.py",
        "** (-1 / self.order)",
        "** (-1 / (self.order + 3))",
        "phasefield/solver/test_controller.py",
    ),
    Mutant("phasefield/timeelement.py", "-1 / (2 * j + 1)", "-1 / (2 * j - 1)", "phasefield/test_timeelement.py"),
    Mutant("phasefield/solver/events.py", "before * after <= 0", "before * after < 0", "phasefield/solver/test_events.py"),
)


def copy_of_the_tree(folder: Path) -> Path:
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def passes(tree: Path, tests: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", str(tree / "tests" / tests)]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode == 0


def survives(tree: Path, mutant: Mutant) -> bool:
    """Whether the mutant's tests pass with it in place; the tree is as before afterwards."""
    path = tree / "ernest" / mutant.file
    whole = path.read_text()
    path.write_text(whole.replace(mutant.old, mutant.new))
    try:
        return passes(tree, mutant.tests)
    finally:
        path.write_text(whole)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help="only those of these rooms, such as model or lcnet")
    rooms = parser.parse_args().rooms
    chosen = [mutant for mutant in MUTANTS if not rooms or mutant.room in rooms]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_of_the_tree(Path(folder))
        for tests in sorted({mutant.tests for mutant in chosen}):
            if not passes(tree, tests):
                sys.stdout.write(f"tests/{tests} fails without a mutant\n")
                return 1
        for mutant in chosen:
            begun = time.monotonic()
            lives = survives(tree, mutant)
            alive += lives
            verdict = "NOT NOTICED" if lives else "noticed"
            took = time.monotonic() - begun
            sys.stdout.write(f"{verdict:12} {took:4.0f} s  {mutant.file}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - alive} of {len(chosen)} mutants noticed\n")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
