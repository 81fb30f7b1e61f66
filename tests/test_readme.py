"""What README and docs say is true: their commands run, their examples load, and no setting goes unexplained."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.cli.parsing import parse
from ernest.config.media import MediaSpec
from ernest.config.recipe import Recipe, find_recipe, load_recipe
from ernest.config.rl import load_rl_recipe
from ernest.data import media
from ernest.data.records import load_records
from ernest.lcnet import training as classifier
from ernest.lcnet.native.build import available, features
from tests import commands

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def fenced(text: str, language: str = "") -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for kind, block in blocks if kind == language]


COMMANDS = [line for block in fenced(README) for line in block.splitlines() if line]
"""Every line of the README's blocks is a command."""


def in_readme(*words: str) -> list[list[str]]:
    """The `ernest` commands of the README whose second word is one of `words`, as arguments."""
    split = [shlex.split(line) for line in COMMANDS if line.startswith("ernest ")]
    return [arguments[1:] for arguments in split if arguments[1] in words]


def ernest(folder: Path, *arguments: str) -> str:
    """What a command prints, run in `folder` as a user would."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-W", "error", "-m", "ernest", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def here(tmp_path, monkeypatch, capfd) -> Callable[..., str]:
    """What a command prints, run in the test's folder by this process, which has imported PyTorch before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> str:
        capfd.readouterr()
        status, printed = commands.ernest(monkeypatch, *arguments), capfd.readouterr()
        assert status == 0, f"{shlex.join(arguments)}\n{printed.out[-3000:]}\n{printed.err[-3000:]}"
        return printed.out

    return run


# ------------------------------------------------------------------ what is written


def test_every_command_is_one_that_there_is(monkeypatch):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"make demo", "make test"} <= set(COMMANDS)
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        if program == "make":
            assert arguments[0] in targets
        else:
            assert program == "ernest"
            monkeypatch.setattr(sys, "argv", [program, *arguments])
            assert parse()
    assert {shlex.split(line)[1] for line in COMMANDS} >= {"generate", "describe", "slice", "import", "train"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_are_understood(page, monkeypatch):
    """Every line of a block that calls `ernest`; what follows a `#` is said about it, and a pipe begins another program."""
    blocks = [block for language in ("", "sh", "bash") for block in fenced(page.read_text(), language)]
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        program, *arguments = shlex.split(line.partition(" | ")[0], comments=True) or [""]
        if program == "ernest":
            monkeypatch.setattr(sys, "argv", [program, *arguments])
            assert parse()


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("*.md")), *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def leaves(kind: type, prefix: str = "") -> dict[str, object]:
    """Every field of the recipe by its full name, with the value of the demo's recipe."""
    found: dict[str, object] = {}
    for field in fields(kind):
        value = getattr(kind, field.name)
        found |= leaves(value, f"{prefix}{field.name}.") if is_dataclass(value) else {prefix + field.name: value}
    return found


def test_every_field_of_the_recipe_is_explained_with_its_default():
    explained = dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", (ROOT / "docs/recipe.md").read_text(), flags=re.MULTILINE))
    defaults = leaves(Recipe())
    assert explained.keys() == defaults.keys()
    for name, value in defaults.items():
        shown = {"True": "true", "False": "false", "None": "unset", "{}": "none", "()": "none"}.get(str(value), value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert float(explained[name].replace(",", "")) == value, name
        else:
            assert explained[name] == shown, name


def test_every_recipe_is_named_and_counted():
    names = [path.stem for path in (ROOT / "ernest/config/recipes").glob("*.toml")]
    count, told = re.findall(r"^(\w+) recipes come with Ernest:(.*?)\n\n", (ROOT / "docs/recipe.md").read_text(), re.M | re.S)[0]
    assert count == dict(enumerate(("Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve"), 7))[len(names)]
    assert [name for name in names if f"`{name}`" not in told] == []


def test_every_field_of_reinforcement_learning_is_explained():
    table = (ROOT / "docs/rl.md").read_text().partition("## The recipe")[2].partition("## Your own verifiers")[0]
    known = set(re.findall(r"`([\w.]+)`", table))
    sizes = {"trained", "sampler"}  # of a sub-model, each explained as one
    names = [name for name in leaves(load_rl_recipe(find_recipe("laws", "rl"))) if name.partition(".")[0] not in sizes]
    assert [name for name in names if not {name, name.rpartition(".")[2]} & known] == []
    assert sizes <= known


def test_settings_in_the_docs_are_fields():
    for page in PAGES:
        for override in re.findall(r"--set ((?:[\w.→]+=[\w.-]+ ?)+)", page.read_text()):
            if page.parent.name == "lcnet":
                classifier.load_recipe(overrides=override.split())
            elif page.name == "rl.md":
                load_rl_recipe(find_recipe("laws", "rl"), override.split())
            else:
                load_recipe(find_recipe("tiny"), override.split())


def test_the_records_of_the_docs_can_be_loaded(tmp_path):
    lines = [line for block in fenced((ROOT / "docs/data.md").read_text(), "json") for line in block.splitlines()]
    assert len(lines) >= 3
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    for line in lines:
        for segment in json.loads(line)["segments"]:
            if segment["kind"] == "audio":
                media.write_audio(tmp_path / segment["file"], np.zeros(MediaSpec.sample_rate // 4, np.float32))
            elif segment["kind"] == "video":
                media.write_video(tmp_path / segment["file"], np.zeros((9, 32, 32, 3), np.uint8))
            elif segment["kind"] == "image":
                media.write_image(tmp_path / segment["file"], np.zeros((32, 32, 3), np.uint8))
    assert len(list(load_records(tmp_path))) == len(lines)


# ------------------------------------------------------------------ what is promised


SMALL = (
    *("size=5", "model.experts=4", "sequence.rows=2", "parallel.replicate=1", "training.steps=12", "training.show_every=0"),
    *("tokenizers.vision_steps=8", "tokenizers.audio_steps=8"),
)


def photos(folder: Path) -> None:
    """Pictures, sounds and a video with captions in a table, and a file that is none of them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    table = ["file,caption"]
    for number, shade in enumerate((40, 120, 220)):
        picture = rng.integers(shade - 20, shade + 20, (40, 60, 3)).astype(np.uint8)
        media.write_image(folder / f"wall{number}.jpg", picture)
        wave = 0.3 * np.sin(2 * np.pi * (200 + 300 * number) / MediaSpec.sample_rate * np.arange(3000))
        media.write_audio(folder / f"tone{number}.wav", wave.astype(np.float32))
        table += [f"wall{number}.jpg,wall number {number}", f"tone{number}.wav,a tone of {200 + 300 * number} hertz"]
    media.write_video(folder / "flicker.gif", rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8))
    (folder / "captions.csv").write_text("\n".join([*table, "flicker.gif,a flicker"]))
    (folder / "notes.doc").write_text("no picture")


@pytest.mark.slow
def test_a_folder_of_ones_own_is_imported_and_learnt_from(tmp_path, here):
    photos(tmp_path / "photos")
    (how,) = in_readme("import")
    assert "14 records, captions from the table captions.csv, 1 left out" in here(*how)
    (how,) = in_readme("train")
    printed = ernest(tmp_path, *how, "--set", *SMALL)
    model = how[how.index("--out") + 1] + "/model"
    assert f"model: {model}" in printed
    assert here("describe", model, "photos/wall0.jpg").endswith("\n")
    again = time.perf_counter()
    here(*how, "--set", *SMALL)
    assert time.perf_counter() - again < 60
    lines = (tmp_path / model).parent.joinpath("metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(12))


@pytest.mark.slow
def test_a_classifier_is_trained_deployed_and_asked(tmp_path, here):
    rng = np.random.default_rng(0)
    for flower, colour in (("tulip", (220, 40, 60)), ("daisy", (230, 230, 120))):
        (tmp_path / "flowers" / flower).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(rng.normal(colour, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "flowers" / flower / f"{i}.png")
    Image.open(tmp_path / "flowers/daisy/0.png").save(tmp_path / "photo.jpg")
    train, deploy, classify = in_readme("lcnet")
    assert "2 classes" in here(*train, "--set", "arch=PPLCNet_x0_25", "size=32", "epochs=4", "batch=8")
    if "avx512_vnni" not in features() or not {"avx512", "amx"}.intersection(available()):
        deploy, classify = ([word.replace("int8", "fp32") for word in words] for words in (deploy, classify))
    ernest(tmp_path, *deploy)
    assert re.match(r"photo.jpg: (daisy|tulip) 0\.\d{4}, (daisy|tulip) 0\.\d{4}\n", here(*classify))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_demo_and_what_uses_its_checkpoint(tmp_path, here):
    """The network has the size of the real one, so that what README cuts out of it is there; all else is small."""
    dry = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert any(line.endswith("ernest demo") for line in dry.stdout.splitlines())
    printed = ernest(tmp_path, "demo", "--minutes", "0.001", "--set", "sequence.rows=4", "world.held_out=3")
    assert "report: build/demo/report.html" in printed
    assert "image → text" in printed
    report = (tmp_path / "build/demo/report.html").read_text()
    assert "<audio" in report
    assert not re.search(r'(?:src|href)="(?:https?:|//)', report)
    rows = [json.loads(line) for line in (tmp_path / "build/demo/bench/model.jsonl").read_text().splitlines()]
    assert {"row", "value", "bar", "ok", "threads", "command"} == set(rows[0])

    for arguments in in_readme("generate", "describe", "slice"):
        begun = time.perf_counter()
        printed = here(*arguments)
        assert time.perf_counter() - begun < 30, arguments
        if "-o" not in arguments:
            assert printed.endswith("\n")
        elif arguments[0] == "slice":
            assert (tmp_path / "build/demo/small/model.json").is_file()
        else:
            kind, file = arguments[arguments.index("--to") + 1], tmp_path / arguments[arguments.index("-o") + 1]
            made = media.read(file, kind)
            if kind == "audio":
                assert MediaSpec.sample_rate * 0.05 < len(made) < MediaSpec.sample_rate * 4
            else:
                assert made.shape == ((9,) if kind == "video" else ()) + (32, 32, 3)
