"""Decoding, holding and batches: what a step sees depends on seed, epoch and step, and on nothing else."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.lcnet import prepare
from ernest.lcnet.image_io.preprocess import normalise
from ernest.lcnet.image_io.reader import read_input
from ernest.lcnet.training import dataset
from ernest.lcnet.training.dataset import (
    batch,
    batches,
    dataset_from_arrays,
    draw_order,
    evaluation_reader,
    evaluation_transform,
    read_dataset,
    steps_per_epoch,
    training_reader,
)
from ernest.lcnet.training.listing import Listing, read_listing
from ernest.lcnet.training.recipe import Recipe, load_recipe, preprocessing_of

RECIPE = Recipe(size=32, batch=8, epochs=2)


def photos(count: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth random pictures of several sizes."""
    rng = np.random.default_rng(seed)
    sides = rng.integers(30, 90, (count, 2))
    return [
        np.asarray(Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)).resize((int(w), int(h)))) for h, w in sides
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, photo in enumerate(photos(12)):
        file = tmp_path / "data" / "ab"[place % 2] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(file)
    return tmp_path / "data"


def test_batches_are_a_function_of_seed_epoch_and_step() -> None:
    pictures = dataset_from_arrays(photos(50), np.arange(50) % 2, ("a", "b"))
    recipe = replace(RECIPE, sizes=(24, 32), augment=1, erase=0.5, elastic_distort=True)
    whole = list(batches(pictures, recipe, epoch=3))
    assert len(whole) == steps_per_epoch(pictures, recipe) == 6
    for (images, targets), (again, same) in zip(whole[4:], batches(pictures, recipe, epoch=3, first=4), strict=True):
        assert torch.equal(images, again)
        assert torch.equal(targets, same)
    other = next(batches(pictures, recipe, epoch=4))
    assert other[0].shape != whole[0][0].shape or not torch.equal(other[0], whole[0][0])
    assert {images.shape[-1] for images, _ in whole} == {24, 32}
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in whole)


def test_an_epoch_shows_every_picture_once_and_whole_batches_only() -> None:
    flat = [np.full((32, 32, 3), place, np.uint8) for place in range(50)]
    pictures = dataset_from_arrays(flat, np.arange(50), [str(place) for place in range(50)])
    seen = torch.cat([targets for _, targets in batches(pictures, RECIPE, 0)])
    assert len(seen) == len(set(seen.tolist())) == 48
    preprocessing = preprocessing_of(RECIPE)
    for images, targets in batches(pictures, RECIPE, 1):
        levels = images * torch.tensor(preprocessing.std).view(-1, 1, 1) + torch.tensor(preprocessing.mean).view(-1, 1, 1)
        assert torch.allclose(levels.mean((1, 2, 3)) * 255, targets.float(), atol=1e-3)
    few = dataset_from_arrays(flat[:5], np.arange(5), "abcde")
    assert [len(targets) for _, targets in batches(few, RECIPE, 0)] == [5]


def test_a_batch_that_breaks_off_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    made = batches(dataset_from_arrays(photos(50), np.zeros(50), ("a", "b")), RECIPE, 0)
    next(made)
    made.close()
    assert threading.active_count() == before


def test_a_crop_of_everything_without_flip_is_what_evaluation_sees() -> None:
    recipe = replace(RECIPE, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False)
    square = [photo[:30, :30] for photo in photos(8)]
    pictures = dataset_from_arrays(square, np.zeros(8), ("a", "b"))
    images, _ = batch(pictures, recipe, np.arange(8), (0, 0, 0))
    for image, photo in zip(images, square, strict=True):
        assert torch.allclose(image[None], prepare(photo, preprocessing_of(recipe)), atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 90), (90, 20), (200, 31)])
def test_a_long_picture_is_squashed_whole_in_training_and_evaluation(shape: tuple[int, int]) -> None:
    recipe = replace(RECIPE, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False, fit="squash")
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pictures = dataset_from_arrays([photo] * 2, np.zeros(2), ("a", "b"))
    images, _ = batch(pictures, recipe, np.arange(2), (0, 0, 0))
    assert images.shape[2:] == (32, 32)
    assert torch.allclose(images[:1], prepare(photo, preprocessing_of(recipe)), atol=1e-5)


def test_crops_are_resized_to_the_rounded_sums_of_whole_numbers() -> None:
    """A pixel of the result is at ((2 i + 1) n - m) / 2m of n pixels for m; with both axes a fraction over 4 m m'."""

    def taps(length: int, made: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.clip((2 * np.arange(made) + 1) * length - made, 0, 2 * made * (length - 1))
        first = place // (2 * made)
        return first, np.minimum(first + 1, length - 1), place - first * 2 * made

    recipe = replace(RECIPE, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False, fit="squash")
    side, wrong, rng = recipe.size, 0, np.random.default_rng(0)
    for tall, wide in rng.integers(2, 60, (50, 2)):
        photo = rng.integers(0, 256, (tall, wide, 3), np.uint8)
        (top, below, y), (left, right, x) = taps(tall, side), taps(wide, side)
        rows = photo[top] * (2 * side - y)[:, None, None] + photo[below] * y[:, None, None]
        sums = rows[:, left] * (2 * side - x)[:, None] + rows[:, right] * x[:, None]
        expected = (sums + 2 * side * side) // (4 * side * side)
        images, _ = batch(dataset_from_arrays([photo], [0], ("a", "b")), recipe, np.arange(1), (0, 0, 0))
        levels = normalise(torch.from_numpy(expected).movedim(-1, 0)[None], preprocessing_of(recipe))
        steps = (images - levels).abs() * 255 * 0.225
        assert steps.max() < 1.1  # exactly between two levels, the last bit of a sum decides
        wrong += int((steps > 0.5).sum())
    assert wrong < 0.001 * 50 * 3 * side**2


def test_flips_are_half_of_all() -> None:
    recipe = replace(RECIPE, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), channels=1)
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))
    images, _ = batch(dataset_from_arrays([ramp] * 400, np.zeros(400), ("a", "b")), recipe, np.arange(400), (0, 0, 0))
    turned = images[:, 0, 0, 0] > images[:, 0, 0, -1]
    assert float(turned.float().mean()) == pytest.approx(0.5, abs=0.08)
    assert torch.equal(images[turned][0], images[~turned][0].flip(-1))


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_sees_exactly_what_prepare_makes(channels: int) -> None:
    preprocessing = preprocessing_of(Recipe(size=112, channels=channels))
    photo = photos(1)[0][..., :channels]
    seen = torch.from_numpy(evaluation_transform(preprocessing)(photo)).movedim(-1, 0)[None]
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    wanted = prepare(photo[..., 0] if channels == 1 else photo, preprocessing)
    assert torch.allclose((seen / 255 - mean) / std, wanted, atol=1e-5)


def test_memory_or_not_the_pictures_are_the_same(folder: Path) -> None:
    listing, form = read_listing(folder), training_reader(Recipe(size=16))
    held, again = read_dataset(listing, form), read_dataset(listing, form, most=5000)
    assert held.fingerprint == again.fingerprint
    assert held.picture(0) is held.picture(0)
    assert again.picture(11) is not again.picture(11)
    for place in range(12):
        assert np.array_equal(held.picture(place), again.picture(place))
        assert min(held.picture(place).shape[:2]) == 24


def test_evaluation_reads_what_classify_sees(tmp_path: Path) -> None:
    preprocessing = preprocessing_of(Recipe(size=112))
    Image.fromarray(np.resize(photos(1)[0], (700, 900, 3))).save(tmp_path / "x.jpg")
    seen = torch.from_numpy(np.array(evaluation_reader(preprocessing)(tmp_path / "x.jpg")))[None].movedim(-1, 1).float()
    assert torch.equal(normalise(seen, preprocessing), read_input(tmp_path / "x.jpg", preprocessing))


def test_pictures_take_a_quarter_of_the_memory_that_the_process_may_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "memory_limit", lambda: 4 * 5000)
    few = read_dataset(read_listing(folder), training_reader(Recipe(size=16)))
    assert few.picture(0) is few.picture(0)
    assert few.picture(11) is not few.picture(11)


def test_the_fingerprint_knows_pictures_targets_and_labels() -> None:
    images = photos(4)
    marks = {
        dataset_from_arrays(images, np.arange(4), "abcd").fingerprint,
        dataset_from_arrays(images, np.arange(4), "abce").fingerprint,
    }
    marks |= {
        dataset_from_arrays(images, np.array([0, 1, 3, 2]), "abcd").fingerprint,
        dataset_from_arrays(photos(4, 1), np.arange(4), "abcd").fingerprint,
    }
    assert len(marks) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x / 255, r"images: expected uint8 \[H, W\] or \[H, W, C\], C being 1 or 3, got float64 \[8, 9, 3\]"),
        (lambda x: x > 100, "got bool"),
        (lambda x: x.transpose(0, 3, 1, 2), r"got uint8 \[3, 8, 9\]"),
        (lambda x: np.concatenate([x, x], -1), r"got uint8 \[8, 9, 6\]"),
        (lambda x: [Image.fromarray(one).convert("P") for one in x], "images: expected arrays, got Image"),
    ],
)
def test_images_that_are_no_levels_are_not_learnt_from(change: Callable, said: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (2, 8, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=said):
        dataset_from_arrays(change(levels), np.arange(2), "ab")
    assert dataset_from_arrays(levels, np.arange(2), "ab").fingerprint == (
        dataset_from_arrays(torch.from_numpy(levels), [0.0, 1.0], "ab").fingerprint
    )


@pytest.mark.parametrize("targets", [[0], [0, 2], [0, -2], [0, 0.5], ["a", "b"], [[0, 1]], [[0, 1], [2, 0]], [0, float("nan")]])
def test_targets_that_are_no_places_are_refused(targets: list) -> None:
    with pytest.raises(ValueError, match="targets: expected"):
        dataset_from_arrays(np.zeros((2, 8, 8), np.uint8), np.array(targets), "ab")


def test_broken_pictures_are_named_and_refused_or_skipped(folder: Path) -> None:
    whole = (folder / "a" / "0.png").read_bytes()
    (folder / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "b" / "1.png").write_text("no picture at all")
    (folder / "b" / "3.png").write_bytes(b"")
    listing, form = read_listing(folder), training_reader(RECIPE)
    with pytest.raises(
        ValueError, match=r"3 of 12 pictures cannot be read: .*a/0\.png: .*truncated.*; .*b/1\.png: .*; .*b/3\.png"
    ):
        read_dataset(listing, form)
    kept = read_dataset(listing, form, skip=True)
    assert (len(kept), len(kept.skipped)) == (9, 3)
    assert kept.targets.tolist() == [0] * 5 + [1] * 4
    only_broken = Listing(listing.files[:1] + listing.files[6:], listing.targets[:1] + listing.targets[6:], listing.labels)
    with pytest.raises(ValueError, match="class 'a': none of its pictures can be read"):
        read_dataset(only_broken, form, skip=True)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_draws_show_all_classes_equally_often_and_each_picture_as_often_as_its_neighbour(seed: int) -> None:
    targets = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], [500, 90, 10]))
    for balance, shares in ((1.0, [200, 200, 200]), (0.5, np.sqrt([500, 90, 10]) * 600 / np.sqrt([500, 90, 10]).sum())):
        order = draw_order(targets, balance, np.random.default_rng(seed))
        assert np.abs(np.bincount(targets[order]) - shares).max() <= 1
        drawn = np.bincount(order, minlength=600)
        assert all(np.ptp(drawn[targets == place]) <= 1 for place in range(3))
        assert (np.diff(np.flatnonzero(targets[order] == 0)) > 1).sum() > 50  # mixed, not one class after the other
    assert sorted(draw_order(targets, 0.0, np.random.default_rng(seed))) == list(range(600))


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("shape", [(64, 256), (256, 64), (40, 40)])
def test_images_that_are_no_squares_are_the_same_in_training_and_evaluation(fit: str, shape: tuple[int, int]) -> None:
    whole = {"crop_area": (1.0, 1.0), "crop_aspect": (1.0, 1.0), "flip": False}
    recipe = load_recipe(overrides=whole | {"size": 32, "width": 96, "fit": fit, "batch": 4})
    rows = np.linspace(0, 200, shape[0])[:, None, None] + np.linspace(0, 40, shape[1])[None, :, None]
    picture = np.broadcast_to(rows, (*shape, 3)).astype(np.uint8)
    pictures = dataset_from_arrays([picture] * 4, np.zeros(4), ("a", "b"))
    seen, _ = batch(pictures, recipe, np.arange(4), (0, 0, 0))
    assert seen.shape == (4, 3, 32, 96)
    assert (seen[0] - prepare(picture, preprocessing_of(recipe))[0]).abs().max() < 1.5 / 255 / 0.22
    larger, _ = batch(pictures, replace(recipe, sizes=(48,)), np.arange(4), (0, 0, 0))
    assert larger.shape == (4, 3, 48, 144)
