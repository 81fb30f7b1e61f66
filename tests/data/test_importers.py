import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ernest.data import media
from ernest.data.importers import import_folder
from ernest.data.mnist import import_mnist
from ernest.data.records import load_records
from ernest.storage import own_folder
from ernest.world.images import parse

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def write_picture(path: Path, colour: str = "red", size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_sound(path: Path, seconds: float = 0.5, rate: int = 44100) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones((round(seconds * rate), 2)), rate)


def captions_of(folder: Path) -> dict[str, list[str]]:
    """Captions by file, from the records that describe."""
    found: dict[str, list[str]] = {}
    for record in load_records(folder):
        if record.task.endswith("→text"):
            found.setdefault(record.facts["file"], []).extend((record.segments[1].data, *record.segments[1].others))
    return found


# ------------------------------------------------------------------ MNIST


def write_idx(path: Path, values: np.ndarray) -> None:
    content = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes() + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "t10k")])
@pytest.mark.parametrize("ending", ["-ubyte", "-ubyte.gz"])
def test_idx_files_become_records_of_both_directions(tmp_path, split, stem, ending):
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 28, 28)), np.array([3, 1, 4, 1, 5, 9])
    write_idx(tmp_path / f"{stem}-images-idx3{ending}", images)
    write_idx(tmp_path / f"{stem}-labels.idx1{ending}", labels)
    assert import_mnist(tmp_path, tmp_path / "out", split, limit=5).records == 10
    records = load_records(tmp_path / "out")
    for number, label in enumerate(labels[:5]):
        describe, draw = records[2 * number], records[2 * number + 1]
        picture, text = describe.segments
        assert (describe.task, draw.task) == ("image→text", "text→image")
        assert [segment.made for segment in (*describe.segments, *draw.segments)] == [False, True, False, True]
        assert parse(text.data) == (label, "white", "centre") == tuple(describe.facts.values())
        assert np.array_equal(picture.data[2:30, 2:30], np.repeat(images[number][..., None], 3, axis=2))
        assert np.array_equal(draw.segments[1].data, picture.data)
        assert draw.segments[0].data == text.data


@pytest.mark.parametrize("fault", ["missing", "not packed", "cut", "other dimensions", "unequal", "too large"])
def test_faults_of_idx_files_are_named(tmp_path, fault):
    images, labels = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz"
    write_idx(images, np.zeros((4, 40 if fault == "too large" else 28, 28)))
    write_idx(labels, np.zeros(3 if fault == "unequal" else 4))
    message = "train-images-idx3-ubyte"
    match fault:
        case "missing":
            images.unlink()
        case "not packed":
            images.write_bytes(b"not gzip")
        case "cut":
            images.write_bytes(gzip.compress(gzip.decompress(images.read_bytes())[:-1]))
        case "other dimensions":
            write_idx(images, np.zeros(4))
        case "unequal":
            message = "4 pictures and 3 labels"
    with pytest.raises(ValueError, match=message):
        import_mnist(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="split: 'dev'"):
        import_mnist(tmp_path, tmp_path / "out", split="dev")


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="no MNIST in ../shared/data/mnist")
def test_the_real_mnist(tmp_path):
    import_mnist(SHARED / "mnist", tmp_path / "out", "test", limit=200)
    records = load_records(tmp_path / "out")
    digits = [record.facts["digit"] for record in records[::2]]
    assert digits[:10] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert 20 < np.mean([record.segments[0].data for record in records[::2]]) < 35


# ------------------------------------------------------------------ folders


def test_captions_beside_the_files(tmp_path):
    write_picture(tmp_path / "in" / "one.JPG")
    write_picture(tmp_path / "in" / "deep" / "two.png")
    write_sound(tmp_path / "in" / "three.wav")
    (tmp_path / "in" / "one.txt").write_text("\ufeffa red\n  card \n", encoding="utf-8")
    (tmp_path / "in" / "deep" / "two.png.TXT").write_text("ein rotes Blatt, größer")
    (tmp_path / "in" / "three.txt").write_text("a hum")
    (tmp_path / "in" / "readme.txt").write_text("not a caption")
    imported = import_folder(tmp_path / "in", tmp_path / "out")
    assert (imported.records, imported.skipped) == (6, ())
    assert captions_of(tmp_path / "out") == {
        "one.JPG": ["a red card"],
        "deep/two.png": ["ein rotes Blatt, größer"],
        "three.wav": ["a hum"],
    }
    tasks = {record.task for record in load_records(tmp_path / "out")}
    assert tasks == {"image→text", "text→image", "speech→text", "text→speech"}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("captions.csv", 'file,text\n"a.png","a red card, of paper"\nsub/b.png,another\n'),
        ("captions.csv", "\ufeffFile;Caption\r\na.png;a red card, of paper\r\n./sub/b.png;another\r\n"),
        ("captions.tsv", "path\tlabel\nb.png\tanother\na\ta red card, of paper\n"),
        ("metadata.csv", 'file_name,license,text\na.png,mine,"a red card,\n of paper"\nsub\\b.png,yours,another\n'),
        ("metadata.jsonl", '{"file_name": "a.png", "text": "a red card, of paper"}\n\n{"file_name": "b", "text": "another"}\n'),
    ],
)
def test_captions_in_a_table(tmp_path, name, table):
    write_picture(tmp_path / "in" / "a.png")
    write_picture(tmp_path / "in" / "sub" / "b.png")
    (tmp_path / "in" / name).write_text(table, encoding="utf-8", newline="")
    imported = import_folder(tmp_path / "in", tmp_path / "out")
    assert imported.captions == f"the table {name}"
    assert imported.skipped == ()
    assert captions_of(tmp_path / "out") == {"a.png": ["a red card, of paper"], "sub/b.png": ["another"]}


def test_a_table_with_several_captions_a_file_and_columns_of_its_own(tmp_path):
    write_picture(tmp_path / "in" / "a.png")
    (tmp_path / "words.csv").write_text("image,by,says\na.png,me,a card\na.png,you,a red card\n")
    with pytest.raises(ValueError, match=r"words\.csv: no column of captions: expected text or .* found image, by, says"):
        import_folder(tmp_path / "in", tmp_path / "out", tmp_path / "words.csv")
    imported = import_folder(tmp_path / "in", tmp_path / "out", tmp_path / "words.csv", text_column="says")
    assert imported.records == 2
    assert captions_of(tmp_path / "out") == {"a.png": ["a card", "a red card"]}


def test_faulty_lines_of_a_table_are_named_and_left_out(tmp_path):
    for name in ("a.png", "x/same.png", "y/same.png", "without.png"):
        write_picture(tmp_path / "in" / name)
    lines = ["file,text", "a.png,a card", "b.png,gone", ",nameless", "a.png,", "same.png,which", "../in/a.png,outside"]
    (tmp_path / "in" / "captions.csv").write_text("\n".join(lines))
    skipped = import_folder(tmp_path / "in", tmp_path / "out").skipped
    wanted = [
        "captions.csv, line 3: there is no file named b.png",
        "captions.csv, line 4: the file name is empty",
        "captions.csv, line 5: the caption is empty",
        "captions.csv, line 6: several files are named same.png",
        "captions.csv, line 7: there is no file named ../in/a.png",
        "without.png: has no caption in the table captions.csv",
        "x/same.png: has no caption in the table captions.csv",
        "y/same.png: has no caption in the table captions.csv",
    ]
    assert len(skipped) == len(wanted)
    for message, end in zip(skipped, wanted, strict=True):
        assert message.endswith(end)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", b"file,text\na.png,gr\0\xfc\xdfe\n", "cannot be read as text"),
        ("captions.csv", b"", "no column of file names: expected file or .* found none"),
        ("metadata.jsonl", b'{"file_name": "a.png", "text": "x"}\n{', "line 2: not JSON"),
        ("metadata.jsonl", b"[1]", "line 1: expected an object"),
    ],
)
def test_a_table_that_cannot_be_understood_is_an_error(tmp_path, name, content, message):
    write_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}.*{message}"):
        import_folder(tmp_path / "in", tmp_path / "out")


def test_sub_folders_as_labels_with_all_that_real_folders_hold(tmp_path):
    """Labels from folder names; hidden and system files passed over; what cannot be read named and left out."""
    source = tmp_path / "in"
    write_picture(source / "red_card" / "1.png")
    Image.new("CMYK", (64, 64)).save(source / "red_card" / "2.jpeg")
    write_sound(source / "hum" / "3.flac")
    (source / "film").mkdir()
    media.write_video(source / "film" / "4.gif", np.stack([np.full((20, 20, 3), 9 * time, np.uint8) for time in range(5)]))
    write_picture(source / "unlabelled.png")
    write_sound(source / "hum" / "long.wav", seconds=9.0, rate=8000)
    for name in ("._1.png", ".DS_Store", "Thumbs.db"):
        (source / "red_card" / name).write_bytes(b"system")
    write_picture(source / "__MACOSX" / "1.png")
    (source / "red_card" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (source / "red_card" / "photo.heic").write_bytes(b"heic")
    imported = import_folder(source, tmp_path / "out")
    assert imported.captions == "the names of the sub-folders"
    assert captions_of(tmp_path / "out") == {
        "film/4.gif": ["film"],
        "hum/3.flac": ["hum"],
        "red_card/1.png": ["red card"],
        "red_card/2.jpeg": ["red card"],
    }
    names = (
        "long.wav: the sound lasts 9.0 s",
        "broken.jpg: not a picture",
        "photo.heic: not a format",
        "unlabelled.png: has no caption",
    )
    assert len(imported.skipped) == len(names)
    for message, name in zip(imported.skipped, names, strict=True):
        assert name in message
    videos = [record for record in load_records(tmp_path / "out") if record.task == "text→video"]
    assert videos[0].segments[1].data.shape == (9, 32, 32, 3)


def test_nothing_to_import_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match="nothing to import: it holds no pictures"):
        import_folder(tmp_path / "in", tmp_path / "out")
    write_picture(tmp_path / "in" / "a.png")
    with pytest.raises(ValueError, match=r"nothing to import: .*a\.png: has no caption"):
        import_folder(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match="lies in the folder that is read"):
        import_folder(tmp_path / "in", tmp_path / "in" / "out")
    with pytest.raises(ValueError, match="is no folder"):
        import_folder(tmp_path / "none", tmp_path / "out")
    with pytest.raises(ValueError, match="no such table"):
        import_folder(tmp_path / "in", tmp_path / "out", captions="none.csv")


@pytest.mark.skipif(not (SHARED / "noto_emoji").is_dir(), reason="no pictures in ../shared/data/noto_emoji")
def test_real_pictures_with_a_table_of_their_own(tmp_path):
    with zipfile.ZipFile(SHARED / "noto_emoji" / "noto_emoji_72px_png.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")][:60]
        archive.extractall(tmp_path / "in", names)
    imported = import_folder(
        tmp_path / "in", tmp_path / "out", SHARED / "noto_emoji" / "names.tsv", text_column="name", held_out=0
    )
    assert imported.records == 120
    lines = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == len(load_records(tmp_path / "out")) == 120


def test_two_imports_into_one_folder_do_not_mix(tmp_path):
    """The second would keep what the first held out."""
    write_picture(tmp_path / "in/cat/a.png")
    with own_folder(tmp_path / "out"), pytest.raises(ValueError, match="out is in use by process"):
        import_folder(tmp_path / "in", tmp_path / "out")
    assert import_folder(tmp_path / "in", tmp_path / "out").records == 2
