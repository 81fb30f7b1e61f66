"""Trains a refiner beside a tokenizer: on the world's pictures, or on a folder of one's own; what was cut goes on bit for bit."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ernest.config.media import LARGEST, MediaSpec
from ernest.config.recipe import Recipe
from ernest.data.decoded import DecodedRecords
from ernest.data.records import LINES
from ernest.device import usual_defaults
from ernest.refiner.network import FILE, Refiner
from ernest.refiner.refine import small_versions
from ernest.refiner.training import PicturePairs, RefinerTraining, train_refiner
from ernest.storage import own_folder, remove_files, write_folder
from ernest.tokenizers import load
from ernest.tokenizers.standalone import PictureTokenizer
from ernest.training.progress import progress_on, stage_bar, tell
from ernest.training.run_settings import RUN_FILE, check_free
from ernest.training.standalone import chosen_records, decode_records, listing
from ernest.world.stills import stills

WORLD = "world"
"""What stands for a folder where the world draws the pictures."""
DRAWN = 1500
"""Pictures of the world that are learnt from."""
MOST = 8192
"""Pictures and frames of a folder that are learnt from; of more, evenly spread ones."""


@dataclass(frozen=True)
class RefinerRun:
    """A training of a refiner on `data`, a folder or `WORLD`, of what `tokenizer`, a folder, makes of pictures, to pictures that
    are `factor` times as high and as wide."""

    data: str
    tokenizer: Path
    out: Path
    factor: int = 4
    steps: int = RefinerTraining.steps
    seed: int = 0

    def __post_init__(self) -> None:
        """Numbers of numpy become plain ones, and names of folders become paths."""
        for name, kind in {"data": str, "tokenizer": Path, "out": Path, "factor": int, "steps": int, "seed": int}.items():
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name, least in {"steps": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} = {getattr(self, name)}: expected at least {least}")


def train_refiner_run(run: RefinerRun) -> str:
    """Trains a refiner and writes it to `run.out`; returns a line that says what it is. The same call goes on where it was cut.

    Raises ValueError for a tokenizer of something else than pictures, for data without pictures or smaller than what is to be
    drawn, and for a folder of something else.
    """
    tokenizer = load(run.tokenizer, "vision")
    assert isinstance(tokenizer, PictureTokenizer)
    spec = large_media(tokenizer.media, run.factor, run.data)
    records = None if run.data == WORLD else chosen_records("vision", Path(run.data), Recipe(media=spec))
    settings = {"data": WORLD if records is None else listing(records), "tokenizer": tokenizer.about.fingerprint}
    settings |= {"factor": run.factor, "steps": run.steps, "seed": run.seed}
    if (run.out / FILE).is_file():
        raise ValueError(f"{run.out} holds a refiner already: choose another folder")
    check_free(run.out, json.dumps(settings, indent=1))
    with usual_defaults(), own_folder(run.out):
        if not (run.out / RUN_FILE).is_file():
            with write_folder(run.out) as aside:
                if records is not None:
                    decode_records(records, aside / "decoded")
                (aside / RUN_FILE).write_text(json.dumps(settings, indent=1))
        large = stills(run.seed, 0, DRAWN, spec.height) if records is None else frames_of(DecodedRecords(run.out / "decoded"))
        refiner = _train(run, large, tokenizer)
        refiner.save(run.out)
        remove_files(run.out / "state", "*.safetensors")
        remove_files(run.out / "decoded", LINES, "*.npy")
    count = sum(value.numel() for value in refiner.parameters())
    return f"{run.out}: a refiner of {refiner.config}, {count / 1e6:.2f} million parameters"


def large_media(media: MediaSpec, factor: int, data: str) -> MediaSpec:
    """The media of a tokenizer, `factor` times as high and as wide. Raises ValueError where that is too large, or no square of
    the world's."""
    height, width = media.size
    if max(height, width) * factor > LARGEST:
        raise ValueError(f"{factor} times {height} x {width} pixels are more than {LARGEST}: --factor 2, or a smaller tokenizer")
    if data == WORLD and height != width:
        raise ValueError(f"the world draws squares, and the tokenizer is one of {height} x {width} pixels: --data FOLDER")
    return replace(media, height=height * factor, width=width * factor)


def decoded_frames(data: Path, spec: MediaSpec, folder: Path, most: int = MOST) -> np.ndarray:
    """The pictures and frames of the files of `data`, decoded into `folder`: uint8 `[N, height, width, 3]`. Raises ValueError
    where there are none."""
    decode_records(chosen_records("vision", data, Recipe(media=spec)), folder)
    return frames_of(DecodedRecords(folder), most)


def frames_of(decoded: DecodedRecords, most: int = MOST) -> np.ndarray:
    """All pictures and frames uint8 `[N, height, width, 3]`, or about `most` of them, evenly spread."""
    found = [one for one in (decoded.images, decoded.frames) if one is not None]
    step = -(-sum(map(len, found)) // most)
    return np.concatenate([one[::step] for one in found])


def _train(run: RefinerRun, large: np.ndarray, tokenizer: PictureTokenizer) -> Refiner:
    (run.out / "state").mkdir(exist_ok=True)
    height, width = tokenizer.media.size
    tell(f"{len(large)} pictures, from {height} x {width} pixels to {height * run.factor} x {width * run.factor}")
    rebuilt = tokenizer.decode(tokenizer.encode(small_versions(large, run.factor)))
    pairs, training = PicturePairs(large, rebuilt), RefinerTraining(run.steps)
    with stage_bar() as bar:
        report = progress_on(bar, "refiner", run.steps)
        return train_refiner(pairs, tokenizer.media.size, training, run.seed, report, run.out / "state/state.safetensors")
