"""Folders as people have them, imported without an option: which captions come out."""

import csv
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ernest.data.importers import HELD_OUT, held_out_names, import_folder
from ernest.data.named import Index
from ernest.data.records import read_lines
from ernest.data.tables import read_table
from tests.data.caption_folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# ------------------------------------------------------------------ public layouts


def test_librispeech(folder):
    folder.sounds(*(f"84/121123/84-121123-000{number}.flac" for number in (0, 1)))
    folder.text("84/121123/84-121123.trans.txt", "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS THAN FIVE\n")
    found, summary, _ = folder.imported()
    assert list(found.values()) == [["GO DO YOU HEAR"], ["BUT IN LESS THAN FIVE"]]
    assert summary.captions == "the table 84/121123/84-121123.trans.txt"


def test_libritts_has_two_texts_beside_each_sound(folder):
    folder.sounds("84/1/84_1_0_0.wav", "84/1/84_1_0_1.wav")
    for number in (0, 1):
        folder.text(f"84/1/84_1_0_{number}.original.txt", f"Mr. {number}").text(
            f"84/1/84_1_0_{number}.normalized.txt", f"Mister {number}"
        )
    assert list(folder.captions().values()) == [["Mister 0"], ["Mister 1"]]


def test_ljspeech(folder):
    folder.sounds("wavs/LJ001.wav", "wavs/LJ002.wav")
    folder.text("metadata.csv", 'LJ001|"Printing, in 1850|"Printing, in eighteen fifty\nLJ002|the second|the second\n')
    found, _, notes = folder.imported()
    assert found == {"wavs/LJ001.wav": ['"Printing, in eighteen fifty'], "wavs/LJ002.wav": ["the second"]}
    assert notes == ["metadata.csv: captions are its column 3, not 2"]


@pytest.mark.parametrize("karpathy", [False, True])
def test_coco(folder, karpathy):
    folder.pictures("train2017/00001.jpg", "train2017/00002.jpg")
    images = [{"id": number, "file_name": f"0000{number}.jpg"} for number in (1, 2)]
    if karpathy:
        images = [
            {"filename": i["file_name"], "sentences": [{"raw": f"caption {k} of {i['id']}"} for k in range(5)]} for i in images
        ]
        folder.text("dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    else:
        entries = [{"image_id": i, "id": 10 * i + k, "caption": f"caption {k} of {i}"} for i in (1, 2) for k in range(5)]
        folder.text("annotations/captions_train2017.json", json.dumps({"images": images, "annotations": entries, "info": {}}))
        boxes = [{"image_id": 1, "bbox": [0, 0, 1, 1], "category_id": 3}]
        folder.text("annotations/instances_train2017.json", json.dumps({"images": images, "annotations": boxes}))
    found, _, notes = folder.imported()
    assert found == {f"train2017/0000{i}.jpg": [f"caption {k} of {i}" for k in range(5)] for i in (1, 2)}
    assert notes[-1] == "2 files have several captions: training draws one of them each time"
    if not karpathy:
        assert notes[0] == "not used: annotations/instances_train2017.json: COCO's annotations without captions"


def test_coco_without_its_captions_is_no_folder_of_names(folder):
    folder.pictures("train2017/00001.jpg")
    with pytest.raises(ValueError, match=r"nothing to import: .*has no caption"):
        folder.imported()


def test_common_voice(folder):
    folder.sounds(*(f"en/clips/common_voice_en_{number}.mp3" for number in range(4)))
    head = "client_id\tpath\tsentence\tup_votes\tage\n"
    rows = [f'x{number}\tcommon_voice_en_{number}.mp3\t"Hello, {number}," he said.\t2\ttwenties\n' for number in range(4)]
    folder.text("en/train.tsv", head + rows[0]).text("en/test.tsv", head + rows[1]).text(
        "en/validated.tsv", head + rows[0] + rows[1]
    )
    folder.text("en/invalidated.tsv", head + rows[2]).text("en/other.tsv", head + rows[3])
    found, summary, notes = folder.imported()
    assert found == {f"en/clips/common_voice_en_{number}.mp3": [f'"Hello, {number}," he said.'] for number in (0, 1)}
    assert summary.captions == "3 tables (en/test.tsv, en/train.tsv, en/validated.tsv)"
    assert sum("not confirmed" in note for note in notes) == 2
    assert len(summary.skipped) == 2


@pytest.mark.parametrize("form", ["token", "captions.txt", "results.csv"])
def test_flickr(folder, form):
    names = ["1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg"]
    folder.pictures(*(f"Images/{name}" for name in names))
    said = [(name, k, f"A child , number {k} , climbs") for name in names for k in range(5)]
    if form == "token":
        folder.text("Flickr8k.token.txt", "".join(f"{name}#{k}\t{text}\n" for name, k, text in said))
        folder.text("Flickr_8k.trainImages.txt", "\n".join(names))
    elif form == "captions.txt":
        table = io.StringIO()
        csv.writer(table).writerows([("image", "caption"), *((name, text) for name, _, text in said)])
        folder.text("captions.txt", table.getvalue())
    else:
        folder.text("results.csv", "image_name| comment_number| comment\n" + "".join(f"{n}| {k}| {t}\n" for n, k, t in said))
    assert folder.captions() == {f"Images/{name}": [text for other, _, text in said if other == name] for name in names}


def test_clotho_keeps_captions_in_numbered_columns(folder):
    """All of them are the file's; one that is asked for by name is the only one."""
    folder.sounds("development/bell.wav", "development/rain.wav")
    head = "file_name," + ",".join(f"caption_{k}" for k in range(1, 6))
    rows = [f"{name}.wav," + ",".join(f"{name} in words {k}" if k < 5 else "" for k in range(1, 6)) for name in ("bell", "rain")]
    folder.text("clotho_captions.csv", "\n".join([head, *rows]))
    every = {f"development/{name}.wav": [f"{name} in words {k}" for k in range(1, 5)] for name in ("bell", "rain")}
    assert folder.captions() == every
    read = read_table("t.csv", "\n".join([head, *rows]), Index(list(every)), "caption_2", must=True)
    assert read.texts == {name: texts[1:2] for name, texts in every.items()}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_hugging_face_image_folder(folder, form):
    for split in ("train", "test"):
        folder.pictures(f"{split}/01.png", f"{split}/02.png")
        rows = [(f"0{number}.png", f"{split} {number}") for number in (1, 2)]
        if form == "csv":
            folder.text(f"{split}/metadata.csv", "file_name,text\n" + "\n".join(",".join(row) for row in rows))
        else:
            lines = [json.dumps({"file_name": name, "text": text, "objects": {"bbox": [1]}}) for name, text in rows]
            folder.text(f"{split}/metadata.jsonl", "\n".join(lines))
    found, summary, _ = folder.imported()
    assert found == {"train/01.png": ["train 1"], "train/02.png": ["train 2"]}
    assert (summary.held_out, summary.held_out_by) == (4, "the files of their own test or validation split")


def test_vctk_keeps_texts_in_a_tree_of_their_own(folder):
    folder.sounds("wav48/p225/p225_001.wav", "wav48/p226/p226_001.wav")
    folder.text("txt/p225/p225_001.txt", "Please call Stella.\n").text("txt/p226/p226_001.txt", "Ask her.\n")
    assert folder.captions() == {"wav48/p225/p225_001.wav": ["Please call Stella."], "wav48/p226/p226_001.wav": ["Ask her."]}


def test_kaldi_and_nemo(folder):
    folder.sounds("wav/u1.wav", "wav/u2.wav").text("text", "u1 one two\nu2 three\n")
    assert folder.captions() == {"wav/u1.wav": ["one two"], "wav/u2.wav": ["three"]}


def test_nemo_manifest_with_paths_of_another_machine(folder):
    folder.sounds("wav/u1.wav", "wav/u2.wav")
    lines = [{"audio_filepath": f"/home/me/set/wav/u{n}.wav", "duration": 1.5, "text": f"number {n}"} for n in (1, 2)]
    folder.text("manifest.json", "\n".join(map(json.dumps, lines)))
    assert folder.captions() == {"wav/u1.wav": ["number 1"], "wav/u2.wav": ["number 2"]}


def test_esc50_and_urban_sound(folder):
    folder.sounds("audio/1-100032-A-0.wav", "audio/1-100038-A-14.wav")
    folder.text(
        "meta/esc50.csv",
        "filename,fold,target,category,esc10\n1-100032-A-0.wav,1,0,dog,True\n1-100038-A-14.wav,1,14,chirping_birds,False\n",
    )
    assert list(folder.captions().values()) == [["dog"], ["chirping_birds"]]


def test_speech_commands_and_ucf_have_lists_of_files_that_are_no_captions(folder):
    folder.sounds("right/a1_nohash_0.wav", "left/b2_nohash_0.wav").text("testing_list.txt", "right/a1_nohash_0.wav\n")
    folder.text("trainlist01.txt", "left/b2_nohash_0.wav 1\nright/a1_nohash_0.wav 2\n").text("README.md", "# Words")
    found, _, notes = folder.imported()
    assert found == {"left/b2_nohash_0.wav": ["left"], "right/a1_nohash_0.wav": ["right"]}
    assert any("testing_list.txt" in note for note in notes)


@pytest.mark.parametrize("shuffled", [False, True])
def test_webdataset(folder, shuffled, tmp_path):
    """Members of a key need not stand together; names have dots; what a Mac adds is passed over; keys come back in other tars."""
    for shard in (0, 1):
        files: list[tuple[str, bytes]] = []
        for number in range(3):
            folder.pictures("tmp.png")
            content = (tmp_path / "in/tmp.png").read_bytes()
            name = f"./photo.v{number}"
            files += [(f"{name}.jpg", content), (f"{name}.txt", f"photo {number} of {shard}".encode()), (f"{name}.json", b"{}")]
            files += [(f"./._photo.v{number}.jpg", b"mac"), (f"{name}.cls", b"3")]
        (tmp_path / "in/tmp.png").unlink()
        with tarfile.open(tmp_path / f"in/shard-{shard}.tar", "w") as archive:
            for name, content in sorted(files, key=lambda file: file[0].rpartition(".")[2] if shuffled else file[0]):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    found = folder.captions()
    assert found == {f"shard-{s}.tar/photo.v{n}.jpg": [f"photo {n} of {s}"] for s in (0, 1) for n in range(3)}


def test_a_torn_tar_is_named_and_the_rest_goes_on(folder):
    folder.pictures("cat/1.png").text("a.tar", b"no archive").text("b.tar.gz", b"\x1f\x8b")
    found, summary, _ = folder.imported()
    assert found == {"cat/1.png": ["cat"]}
    assert [line.rpartition("/")[2].partition(":")[0] for line in summary.skipped] == ["a.tar", "b.tar.gz"]


@pytest.mark.parametrize("kind", ["captions", "classes", "paths", "two texts"])
def test_parquet_of_hugging_face_datasets(folder, kind):
    """Pictures as bytes, in row groups; rows that only give a path are looked for, and named where they are not there."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    for split, count in (("train", 40), ("test", 2)):
        folder.pictures(*(f"tmp{number}.png" for number in range(count)))
        contents = [(folder.path / f"in/tmp{number}.png").read_bytes() for number in range(count)]
        for number in range(count):
            (folder.path / f"in/tmp{number}.png").unlink()
        cells = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents)]
        if kind == "paths" and split == "train":
            folder.pictures("data/1.png")
            cells[0], cells[1] = {"bytes": None, "path": "gone.png"}, {"bytes": None, "path": "1.png"}
        columns = {"image": cells, "caption": [[f"{split} {n}", "again"] for n in range(count)], "width": list(range(count))}
        if kind == "classes":
            columns = {"image": cells, "label": [number % 2 for number in range(count)]}
        if kind == "two texts":
            columns = {"image": cells, "english": ["a dog"] * count, "german": ["ein Hund"] * count}
        table = arrow.table(columns)
        if kind == "classes":
            features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        path = folder.path / f"in/data/{split}-00000-of-00001.parquet"
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(table, path, row_group_size=7)
    if kind == "two texts":
        with pytest.raises(ValueError, match=r"no column of captions: .* found image, english, german \(choose"):
            folder.imported()
        return
    found, summary, _ = folder.imported()
    first = "data/train-00000-of-00001.parquet/"
    assert summary.held_out_by == "the files of their own test or validation split"
    assert found[f"{first}5"] == (["dog"] if kind == "classes" else ["train 5", "again"])
    assert len(found) == 39 if kind == "paths" else 40
    assert [line.partition("row ")[2].partition(",")[0] for line in summary.skipped] == (
        ["0: no bytes"] if kind == "paths" else []
    )


# ------------------------------------------------------------------ texts as people write them


def test_each_line_of_a_text_beside_is_a_caption_and_that_is_said(folder):
    for number in (1, 2):
        folder.pictures(f"{number}.png").text(f"{number}.txt", "a man with short hair\r\na person, hair black\r\n")
    found, _, notes = folder.imported()
    assert found["1.png"] == ["a man with short hair", "a person, hair black"]
    assert notes[1].startswith("2 text files hold several lines: each line is a caption")


def test_lines_are_joined_where_that_is_asked_for(folder):
    folder.pictures("1.png").text("1.txt", "a man\nin the rain\n")
    assert folder.captions(lines=False) == {"1.png": ["a man in the rain"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(folder, encoding):
    folder.pictures("1.png").text("1.txt", "ein Haus, groß\n", encoding)
    folder.pictures("2.png").text("2.caption", "ein Hünd", encoding)
    assert folder.captions() == {"1.png": ["ein Haus, groß"], "2.png": ["ein Hünd"]}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("order", ["file first", "caption first", "no header"])
def test_tables_of_any_separator_order_and_name(folder, separator, order):
    folder.pictures("01.png", "b/02.png")
    rows = [("01.png", "A photo, of a lady; outside"), ("b/02.png", "A second")]
    header = ("image_file", "says")
    if order == "caption first":
        rows, header = [row[::-1] for row in rows], header[::-1]
    table = io.StringIO()
    csv.writer(table, delimiter=separator).writerows([*([] if order == "no header" else [header]), *rows])
    folder.text("my words.csv", table.getvalue())
    assert folder.captions() == {"01.png": ["A photo, of a lady; outside"], "b/02.png": ["A second"]}


@pytest.mark.parametrize(
    "content",
    [
        {"1.png": "one", "2.png": ["two", "a pair"]},
        [{"image": "1.png", "caption": "one"}, {"image": "2.png", "caption": ["two", "a pair"]}],
        {"data": [{"id": "1", "text": "one"}, {"id": "2", "text": ["two", "a pair"]}], "version": 1},
        {"1": {"caption": "one", "seed": 5}, "2": {"caption": ["two", "a pair"]}},
    ],
)
def test_json_of_any_shape(folder, content):
    folder.pictures("1.png", "2.png").text("labels.json", json.dumps(content))
    assert folder.captions() == {"1.png": ["one"], "2.png": ["two", "a pair"]}


def test_a_table_that_names_files_and_leaves_its_captions_open_is_an_error_and_not_passed_over(folder):
    folder.pictures("shirts/10.png", "shirts/11.png")
    folder.text("styles.csv", "id,gender,colour\n10,Men,Blue\n11,Women,Red\n")
    with pytest.raises(ValueError, match=r"styles\.csv: no column of captions: .* found id, gender, colour \(choose with --text"):
        folder.imported()
    assert folder.captions(text_column="colour") == {"shirts/10.png": ["Blue"], "shirts/11.png": ["Red"]}


def test_names_of_folders_where_that_is_asked_for(folder):
    folder.pictures("shirts/10.png", "shoes/11.png").text("styles.csv", "id,gender,colour\n10,Men,Blue\n11,Women,Red\n")
    assert folder.captions(captions="folders") == {"shirts/10.png": ["shirts"], "shoes/11.png": ["shoes"]}


def test_tables_that_speak_of_other_things_are_said_and_not_in_the_way(folder):
    folder.pictures("cat/1.png", "dog/2.png").text("classes.txt", "cat\ndog\n").text("prices.csv", "day,price\nMonday,3\n")
    folder.text("labels.json", '{"0": "cat", "1": "dog"}')
    found, _, notes = folder.imported()
    assert found == {"cat/1.png": ["cat"], "dog/2.png": ["dog"]}
    assert len(notes) == 3
    assert all(note.startswith("not used: ") for note in notes)


def test_boxes_beside_pictures_are_no_captions(folder):
    folder.pictures("cat/1.png").text("cat/1.txt", "0 0.5 0.5 0.25 0.25\n3 0.1 0.1 0.2 0.2\n")
    found, _, notes = folder.imported()
    assert found == {"cat/1.png": ["cat"]}
    assert notes == [
        "not used: 1 text files beside the media hold numbers, as of boxes",
        'all captions are "cat", the name of a folder',
    ]


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("train/cat/1.png", "cat"),
        ("cat/train/1.png", "cat"),
        ("images/val/tabby_cat/1.png", "tabby cat"),
        ("dev-clean/cat/1.png", "cat"),
        ("7/1.png", "7"),
        ("train2014/1.png", None),
        ("photos/1.png", None),
        ("data/00012/1.png", None),
        ("shard_3/test/1.png", None),
    ],
)
def test_names_of_folders_that_say_how_files_are_kept_are_no_captions(folder, name, caption):
    folder.pictures(name, "else/2.png")
    assert folder.captions(held_out=0).get(name) == (caption and [caption])


def test_numbers_before_names_of_folders_only_order_them(folder):
    folder.pictures("001.Black_Albatross/1.png", "002.Laysan_Albatross/1.png")
    assert sorted(folder.captions().values()) == [["Black Albatross"], ["Laysan Albatross"]]


def test_what_covers_more_files_is_taken_and_the_rest_said(folder):
    folder.pictures("1.png", "2.png", "3.png").text("1.txt", "one").text("2.txt", "two").text("3.txt", "three")
    folder.text("few.csv", "file,caption\n1.png,other\n")
    found, _, notes = folder.imported()
    assert found == {"1.png": ["one"], "2.png": ["two"], "3.png": ["three"]}
    assert notes == ["not used: the table few.csv, since more files have a text beside them"]


@pytest.mark.parametrize(
    ("table", "captions"),
    [
        ("file,caption\na.png,a cat, on a mat\nC.png,c\nC#.png,c sharp\n", [["a cat, on a mat"], ["c"], ["c sharp"]]),
        ("a.png,a cat, on a mat\nC.png,c\nC#.png,c sharp\n", [["a cat, on a mat"], ["c"], ["c sharp"]]),
        ("sep=;\r\nid;file;caption\r\n1;a.png;a cat\r\n2;C.png;c\r\n3;C#.png;d\r\n", [["a cat"], ["c"], ["d"]]),
        ("file\tcaption\ra.png\ta cat\rC.png\tc\rC#.png\td\r", [["a cat"], ["c"], ["d"]]),
        ("image,caption\na.png,a cat\nC.png,c\nC#.png,d\nimage.png,e\n", [["a cat"], ["c"], ["d"], ["e"]]),
        ("file,caption\nA.PNG,a cat\nC.png,c\nC.5,five\ncafe\u0301.png,d\n", [["a cat"], ["c"], ["d"]]),
        ("file,caption,split\na.png,a cat, big,train\nC.png,c,train\n", [["c"]]),
        ('file,caption\nC.png,c\na.png,"a cat\nC#.png,d\n', [["c"]]),
        ("label,img\n0,0\n1,1\n0,2\n", [["0"], ["1"], ["0"]]),
    ],
    ids=[
        "commas",
        "bare",
        "Excel's first line",
        "old line ends",
        "a file called as a column",
        "names",
        "cut",
        "quote",
        "numbers",
    ],
)
def test_tables_as_people_write_them_give_no_file_the_caption_of_another(folder, table, captions):
    folder.pictures("a.png", "C.png", "C#.png", "image.png", "caf\u00e9.png", "0.png", "1.png", "2.png").text(
        "captions.csv", table
    )
    found = folder.captions(held_out=0)
    order = ["a.png", "C.png", "C#.png", "café.png", "image.png", "0.png", "1.png", "2.png"]
    assert [found[name] for name in order if name in found] == captions


def test_a_text_or_table_whose_file_is_gone_says_nothing_of_a_file_in_another_folder(folder):
    names = [f"{kind}/{number}" for kind in ("cat", "dog") for number in range(3)]
    folder.pictures(*(f"{name}.png" for name in names if name != "cat/1"))
    for name in names:
        folder.text(f"{name}.txt", name)
    assert folder.captions(held_out=0) == {f"{name}.png": [name] for name in names if name != "cat/1"}
    for kind in ("cat", "dog"):
        folder.text(f"{kind}/labels.csv", "".join(f"{number}.png,{kind} {number}\n" for number in range(3)))
    index = Index([f"{name}.png" for name in names if name != "cat/1"])
    read = read_table("cat/labels.csv", "file,text\n0.png,a\n1.png,b\n", index, None, must=False)
    assert (read.texts, read.faults) == ({"cat/0.png": ["a"]}, ["cat/labels.csv, line 3: there is no file named 1.png"])


def test_labels_beside_files_may_be_numbers_and_files_may_be_numbered_from_zero(folder):
    folder.pictures("0.png", "1.png").text("0.json", '{"label": 0}').text("1.json", '{"label": true}')
    assert folder.captions() == {"0.png": ["0"], "1.png": ["True"]}
    read = read_table(
        "t.jsonl", '{"file": 0, "text": "a"}\n{"file": 1, "text": "b"}\n', Index(["0.png", "1.png"]), None, must=True
    )
    assert read.texts == {"0.png": ["a"], "1.png": ["b"]}


def test_links_are_followed_once_and_what_cannot_be_read_or_named_is_told(folder):
    folder.pictures("cat/a.png", "../elsewhere/b.png")
    top = folder.path / "in"
    (top / "dog").symlink_to(folder.path / "elsewhere")
    (top / "again").symlink_to(top / "cat")
    (top / "cat/up").symlink_to(folder.path)
    (top / "cat/gone.png").symlink_to("nowhere")
    Path(os.fsdecode(bytes(top / "cat") + b"/caf\xe9.png")).write_bytes(b"x")
    folder.text("cat/c.png.json", "").pictures("cat/c.png").text("t.jsonl", '{"file": "cat/c.png", "caption": "half \\ud83d"}')
    found, summary, _ = folder.imported(captions="folders")
    assert found == {"cat/a.png": ["cat"], "cat/c.png": ["cat"], "dog/b.png": ["dog"]}
    assert [
        "nowhere, which is not there" in summary.skipped[0],
        "caf\\xe9.png: its name is not in UTF-8" in summary.skipped[1],
    ] == [True] * 2
    with pytest.raises(ValueError, match="its caption holds half a surrogate pair"):
        import_folder(top, folder.path / "other", captions="t.jsonl")


@pytest.mark.parametrize("seed", range(30))
def test_tables_drawn_at_random_give_back_what_was_written(seed):
    """Names, words, columns, order and separators are drawn; the reference is what was written."""
    rng = np.random.default_rng(seed)
    media = [f"{rng.choice(['a', 'b/c', 'images'])}/x{number:03}.{rng.choice(['png', 'wav'])}" for number in range(12)]
    words = np.array(["dog", "Haus", "a, b", "c; d", 'say "no"', "7", "été", "x | y", "of"])
    texts = {name: " ".join([*rng.choice(words, 3), "end"]) for name in media}
    call = rng.integers(3)
    called = {name: (name, name.rpartition("/")[2], name.rpartition("/")[2].partition(".")[0])[call] for name in media}
    columns = ["caption", "file_name", *["index", "score"][: rng.integers(3)]]
    rng.shuffle(columns)
    cells = lambda number, name: {"caption": texts[name], "file_name": called[name], "index": number, "score": number / 8}
    rows = [[cells(number, name)[column] for column in columns] for number, name in enumerate(media)]
    table = io.StringIO()
    csv.writer(table, delimiter=str(rng.choice(list(",;")))).writerows([columns, *rows])
    read = read_table("words.csv", table.getvalue(), Index(media), None, must=False)
    assert read.texts == {name: [text] for name, text in texts.items()}
    assert read.faults == []


# ------------------------------------------------------------------ what is held out


def test_a_tenth_of_each_caption_is_held_out(folder):
    folder.pictures(*(f"{kind}/{number:02}.png" for kind in ("cat", "dog") for number in range(20)), "rare/1.png")
    found, summary, _ = folder.imported()
    assert (summary.records, summary.held_out, summary.held_out_by) == (2 * 37, 2 * 4, "10% of them")
    assert sum(caption == ["cat"] for caption in found.values()) == 18
    assert {record.facts["file"] for record in read_lines(folder.path / "out" / HELD_OUT).stored}.isdisjoint(found)


def test_twelve_files_and_a_picture_that_is_there_twice(folder):
    folder.pictures(*(f"{number:02}.png" for number in range(12)))
    for number in range(12):
        folder.text(f"{number:02}.txt", f"picture {number}")
    held, _ = held_out_names({f"{number:02}.png": [f"picture {number}"] for number in range(12)}, 0.1)
    (name,) = held
    first = folder.path / "in" / ("00.png" if name != "00.png" else "01.png")
    (folder.path / "in" / name).write_bytes(first.read_bytes())
    found, summary, _ = folder.imported()
    assert summary.held_out in (0, 4), "both copies lie on one side"
    assert len(found) in (12, 10)


def test_few_files_hold_out_none_and_a_share_can_be_chosen(folder):
    folder.pictures(*(f"cat/{number}.png" for number in range(9)))
    assert folder.imported()[1].held_out == 0
    assert len(held_out_names({f"cat/{number}": ["cat"] for number in range(100)}, 0.25)[0]) == 25
    assert held_out_names({f"cat/{number}": ["cat"] for number in range(100)}, 0.0)[0] == set()
    with pytest.raises(ValueError, match="held_out: expected a share from 0 to below 1, got 1"):
        import_folder(folder.path / "in", folder.path / "other", held_out=1.0)
