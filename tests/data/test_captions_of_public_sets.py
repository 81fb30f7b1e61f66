"""Folders of public sets that are kept in ways of their own: the right caption, a refusal, or none, and never another one."""

import json

import numpy as np
import pytest
import soundfile

from ernest.data.importers import import_folder
from ernest.data.named import Index
from ernest.data.tables import read_table
from tests.data.caption_folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# ------------------------------------------------------------------ names of files


@pytest.mark.parametrize(
    ("files", "table", "captions"),
    [
        (
            ("--0PQM4-hqg_000030.mp4", "-0jeONf82dE_000021.mp4"),
            '--0PQM4-hqg,30,waterfall burbling,train\n-0jeONf82dE,21,"playing bass guitar, loud",train\n',
            ["waterfall burbling", "playing bass guitar, loud"],
        ),
        (
            ("-3B32lodo2M_000059_000069.mp4", "0wR5jVB-WPk_000417_000427.mp4"),
            "label,youtube_id,time_start,time_end,split\nabseiling,-3B32lodo2M,59,69,train\n"
            "testing apple juice,0wR5jVB-WPk,417,427,train\n",
            ["abseiling", "testing apple juice"],
        ),
    ],
    ids=["VGGSound", "Kinetics"],
)
def test_films_that_are_called_by_their_times_as_well(folder, files, table, captions):
    folder.pictures(*files).text("table.csv", table)
    assert folder.captions() == {file: [caption] for file, caption in zip(files, captions, strict=True)}


def test_two_pieces_of_one_film_get_the_caption_of_neither(folder):
    folder.pictures("-3B32lodo2M_000059_000069.mp4", "-3B32lodo2M_000070_000080.mp4", "0wR5jVB-WPk_000417_000427.mp4")
    folder.text("table.csv", "label,youtube_id\nabseiling,-3B32lodo2M\njuice,0wR5jVB-WPk\n")
    assert folder.captions() == {"0wR5jVB-WPk_000417_000427.mp4": ["juice"]}


def test_recordings_of_one_sentence_by_two_microphones(folder):
    for speaker in ("p225", "p226"):
        for number in ("001", "002"):
            folder.pictures(*(f"wav48/{speaker}/{speaker}_{number}_mic{one}.flac" for one in (1, 2)))
            folder.text(f"txt/{speaker}/{speaker}_{number}.txt", f"Please call {speaker}, number {number}.")
    found = folder.captions()
    assert len(found) == 8
    assert found["wav48/p226/p226_001_mic2.flac"] == ["Please call p226, number 001."]


@pytest.mark.parametrize(
    ("name", "caption"),
    [("cat.0.jpg", "cat"), ("great_pyrenees_10.jpg", "great pyrenees"), ("03 a-dog.jpg", "a dog"), ("IMG1.jpg", "IMG1")],
)
def test_names_of_files_are_captions_where_that_is_asked_for(folder, name, caption):
    folder.pictures(f"train/{name}", "train/12.jpg")
    with pytest.raises(ValueError, match="their own names are captions with --captions names"):
        folder.captions()
    assert folder.captions(captions="names") == {f"train/{name}": [caption]}


# ------------------------------------------------------------------ what is no caption


NO_CAPTIONS = {
    "list_attr_celeba.txt": "2\nFive_o_Clock Bald Smiling Young\na.jpg -1  1 -1 1\nb.jpg -1 -1 -1  1\n",
    "annotations/list.txt": "#Image CLASS-ID SPECIES BREED ID\n#SPECIES: 1:Cat 2:Dog\na 1 1 1\nb 16 2 8\n",
    "LOC_train_solution.csv": "ImageId,PredictionString\na,n01440764 13 57 304 443\nb,n01443537 1 2 3 4 n01443537 5 6 7 8\n",
    "recognised.txt": "Sentence recognised natural\na.jpg 90,00 85,00\nb.jpg 100,00 95,00\n",
    "wav2capt.txt": "a.jpg x.wav #0\nb.jpg y.wav #1\n",
    "sample_submission.csv": "id,label\na,0\nb,0\n",
    "splits.json": '{"train": ["a.jpg"], "test": ["b.jpg"]}',
}


@pytest.mark.parametrize("name", NO_CAPTIONS)
def test_numbers_places_forms_and_splits_are_no_captions(folder, name):
    folder.pictures("a.jpg", "b.jpg").text(name, NO_CAPTIONS[name])
    notes = []
    with pytest.raises(ValueError, match="no caption in the names of the sub-folders"):
        import_folder(folder.path / "in", folder.path / "out", tell=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith(f"not used: {name}")


def test_a_class_and_boxes_beside_a_picture_are_no_caption(folder):
    folder.pictures("dog/1.jpg", "cat/2.jpg")
    folder.text("dog/1.txt", "Car 0.00 0 -1.57 387.63 181.54 423.81 203.12\nVan 0.00 0 1.8 6 1 4 2\n")
    folder.text("cat/2.txt", "Car 1.00 2 -1.57 614.24 181.78 727.31 284.77\n")
    found, _, notes = folder.imported()
    assert found == {"dog/1.jpg": ["dog"], "cat/2.jpg": ["cat"]}
    assert notes == ["not used: 2 text files beside the media hold numbers, as of boxes"]


def test_json_beside_pictures_that_holds_no_caption_is_said(folder):
    for name in ("dog/1", "cat/2"):
        folder.pictures(f"{name}.jpg").text(f"{name}.json", '{"shapes": [{"label": "tail"}], "imageData": null}')
    found, _, notes = folder.imported()
    assert found == {"dog/1.jpg": ["dog"], "cat/2.jpg": ["cat"]}
    assert notes == [
        "not used: 2 JSON files beside the media hold no caption, captions, text, texts, description, title or label"
    ]


def test_words_with_the_samples_at_which_they_are_spoken(folder):
    folder.pictures("DR1/SA1.WAV", "DR2/SX127.WAV")
    folder.text("DR1/SA1.TXT", "0 46797 She had your dark suit.\n").text("DR2/SX127.TXT", "0 54682 It had 2 lids.\n")
    assert folder.captions() == {"DR1/SA1.WAV": ["She had your dark suit."], "DR2/SX127.WAV": ["It had 2 lids."]}


def test_what_systems_and_programs_leave_is_passed_over(folder):
    left = [
        "$RECYCLE.BIN/S-1-5/x.jpg",
        "System Volume Information/a.jpg",
        "dog/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/a.jpg",
    ]
    left += ["lost+found/#12.jpg", "dog/2.jpg.part", "dog/~$2.jpg", "dog/1.jpg~", "dog/1.jpg:Zone.Identifier", "dog/Icon\r"]
    folder.pictures("dog/1.jpg", "cat/2.jpg", *left)
    found, summary, _ = folder.imported()
    assert found == {"dog/1.jpg": ["dog"], "cat/2.jpg": ["cat"]}
    assert summary.skipped == ()


def test_a_pointer_of_git_lfs_is_called_one(folder):
    folder.pictures("dog/1.jpg").text("dog/2.jpg", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    (fault,) = folder.imported()[1].skipped
    assert fault.endswith("2.jpg: a pointer of Git LFS, and not the file: git lfs pull brings it")


# ------------------------------------------------------------------ tables


def test_of_columns_without_names_the_one_with_most_letters_is_read(folder):
    rows = "1\ta.wav\tDer Hund schläft.\tder hund schläft\td e r | h u n d\t16000\tMALE\n"
    folder.pictures("a.wav", "b.wav").text("train.tsv", rows + rows.replace("a.wav", "b.wav").replace("Der", "Ein"))
    assert folder.captions() == {"a.wav": ["Der Hund schläft."], "b.wav": ["Ein Hund schläft."]}


@pytest.mark.parametrize("have", [2, 1])
@pytest.mark.parametrize("form", ["questions", "pandas", "lists"])
def test_rows_of_json_that_are_called_by_numbers_of_their_own(form, have):
    rows = {f"0{number}": {"id": f"n23{number}", "sky": "dark", "caption": f"no {number}"} for number in range(5)}
    forms = {"questions": rows, "pandas": {str(place): row for place, row in enumerate(rows.values())}}
    forms["lists"] = {str(place): [row["id"], row["caption"]] for place, row in enumerate(rows.values())}
    index = Index([f"n23{number}.jpg" for number in range(have)])
    read = read_table("t.json", json.dumps(forms[form]), index, None, must=False)
    assert read.texts == {f"n23{number}.jpg": [f"no {number}"] for number in range(have)}


@pytest.mark.parametrize("missing", [False, True])
def test_classes_with_lists_of_their_files(missing):
    classes = {"apple_pie": ["apple_pie/1005", "apple_pie/134"], "ribs": ["ribs/1004"], "waffles": ["waffles/7", "waffles/8"]}
    files = [file for some in classes.values() for file in some][missing * 2 :]
    read = read_table("train.json", json.dumps(classes), Index([f"images/{file}.jpg" for file in files]), None, must=False)
    assert read.texts == {f"images/{file}.jpg": [file.partition("/")[0]] for file in files}


def test_what_people_chose_in_label_studio(folder):
    folder.pictures("upload/1/a.jpg", "upload/1/b.jpg")
    tasks = [
        {
            "id": 1,
            "data": {"image": f"/data/upload/1/{name}.jpg"},
            "annotations": [{"result": [{"value": {"choices": [chosen]}}]}],
        }
        for name, chosen in (("a", "Dog"), ("b", "Cat"))
    ]
    folder.text("project.json", json.dumps(tasks))
    assert folder.captions() == {"upload/1/a.jpg": ["Dog"], "upload/1/b.jpg": ["Cat"]}


NAMES_OF_CODES = {
    "words.txt": "n00001740\tentity\nn01440764\ttench, Tinca tinca\nn01443537\tgoldfish\n",
    "LOC_synset_mapping.txt": "n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
    "classes.json": '{"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}',
    "imagenet_class_index.json": '{"0": ["n01440764", "tench, Tinca tinca"], "1": ["n01443537", "goldfish"]}',
    "classes.csv": 'index,mid,display_name\n0,n01440764,"tench, Tinca tinca"\n1,n01443537,goldfish\n',
}


@pytest.mark.parametrize("name", NAMES_OF_CODES)
def test_a_table_says_what_codes_of_folders_mean(folder, name):
    folder.pictures("train/n01440764/a.JPEG", "train/n01443537/b.JPEG", "val/n01443537/c.JPEG").text(name, NAMES_OF_CODES[name])
    found, _, notes = folder.imported(held_out=0)
    assert [found[file] for file in sorted(found)] == [["tench, Tinca tinca"], ["goldfish"], ["goldfish"]]
    assert notes == [f"{name} says what the captions mean: n01440764 is tench, Tinca tinca"]


def test_codes_of_a_table_that_another_explains_and_words_that_are_none(folder):
    folder.pictures("a.jpg", "b.jpg").text("labels.csv", "ImageID,label\na,/m/01g317\na,/m/04rky\nb,/m/0284w\n")
    folder.text("class-descriptions.csv", "/m/01g317,Person\n/m/04rky,Mammal\n/m/0284w,Bus\n")
    assert folder.captions() == {"a.jpg": ["Person", "Mammal"], "b.jpg": ["Bus"]}


def test_words_are_no_codes_and_a_code_without_a_name_leaves_all_as_they_are(folder):
    folder.pictures("dog/1.jpg", "cat/2.jpg").text("kinds.csv", "dog,an animal\ncat,another\n")
    assert folder.captions() == {"dog/1.jpg": ["dog"], "cat/2.jpg": ["cat"]}
    folder.path /= "two"
    folder.pictures("1/a.jpg", "2/b.jpg").text("classes.txt", "1 dog\n2 cat\n").text("parts.txt", "1 back\n2 beak\n")
    found, _, notes = folder.imported()
    assert found == {"1/a.jpg": ["1"], "2/b.jpg": ["2"]}
    assert "classes.txt and parts.txt each say something of the captions, which stay as they are" in notes
    index = Folder(folder.path / "codes").pictures("n1/1.jpg", "n2/2.jpg").text("words.txt", "n1\tdog\n")
    assert index.captions() == {"n1/1.jpg": ["n1"], "n2/2.jpg": ["n2"]}


@pytest.mark.parametrize("order", ["image,audio,caption", "caption,audio,image", "image,mask,caption"])
def test_a_row_with_a_picture_and_a_sound_says_the_caption_of_both(folder, order):
    cells = {"a": "a dog barks", "b": "a cat meows"}
    lines = [order]
    for name, caption in cells.items():
        folder.pictures(f"img/{name}.jpg", f"mask/{name}.png")
        (folder.path / "in/snd").mkdir(exist_ok=True)
        soundfile.write(folder.path / f"in/snd/{name}.wav", np.sin(np.arange(4000) * (0.1 + 0.1 * len(lines))) / 2, 8000)
        row = {"image": f"img/{name}.jpg", "audio": f"snd/{name}.wav", "mask": f"mask/{name}.png", "caption": caption}
        lines.append(",".join(row[column] for column in order.split(",")))
    found, _, notes = folder.text("pairs.csv", "\n".join(lines)).imported(held_out=0)
    both = {f"{place}.{ending}" for place, ending in (("img/a", "jpg"), ("img/b", "jpg"), ("snd/a", "wav"), ("snd/b", "wav"))}
    assert set(found) == (both if "audio" in order else {"img/a.jpg", "img/b.jpg"})
    assert all(captions == [cells[file[4]]] for file, captions in found.items())
    assert bool(notes) == ("audio" in order)
