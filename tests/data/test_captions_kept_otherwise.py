"""Captions as people keep them who have never seen this project: parts of large sets, programs' tables, trees of texts."""

import csv
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from ernest.data.importers import import_folder
from ernest.data.named import Index
from ernest.data.tables import TableCaptions, read_table
from ernest.data.tree import decoded
from tests.data.caption_folder import Folder

TWO = {"a.png": ["a red card"], "b.png": ["a blue card"]}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def read(name: str, text: str, *media: str) -> TableCaptions:
    return read_table(name, text, Index(media), None, must=False)


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize(
    "content",
    [
        {"file": ["a.png", "b.png"], "caption": ["a red card", "a blue card"]},
        {"says": ["a red card", "a blue card"], "img": ["/home/me/a.png", "/home/me/b.png"], "n": [1, 2]},
        {"file": {"0": "a.png", "1": "b.png"}, "caption": {"0": "a red card", "1": "a blue card"}},
        {"columns": ["file", "caption"], "index": [0, 1], "data": [["a.png", "a red card"], ["b.png", "a blue card"]]},
        [["a.png", "a red card"], ["b.png", "a blue card"]],
        [["file", "text"], ["a.png", "a red card"], ["b.png", "a blue card"]],
        {"info": {"version": 1}, "captions": {"a.png": "a red card", "b.png": "a blue card"}},
        {"images": [{"file_name": name, "caption": text} for name, (text,) in TWO.items()], "annotations": []},
        [{"id": 1, "data": {"image": f"/data/upload/1/{name}", "caption": text}} for name, (text,) in TWO.items()],
        {
            "videos": [{"video_id": name[0], "category": 3, "split": "train"} for name in TWO],
            "sentences": [{"caption": text, "video_id": name[0], "sen_id": 7} for name, (text,) in TWO.items()],
        },
    ],
    ids=[
        "lists",
        "lists of other names",
        "pandas",
        "pandas, split",
        "pairs",
        "pairs with names",
        "inside",
        "with images",
        "Label Studio",
        "MSR-VTT",
    ],
)
def test_json_as_programs_write_it(content):
    assert read("x.json", json.dumps(content), "a.png", "b.png").texts == TWO


@pytest.mark.parametrize(
    ("name", "table", "first"),
    [
        ("x.tsv", 'file\ttext\na.png\t"a red\ncard"\nb.png\ta blue card\n', ["a red card"]),
        ("x.tsv", 'file\ttext\tn\na.png\t"a\tred\ncard"\t1\nb.png\ta blue card\t2\n', ["a red card"]),
        ("x.tsv", 'file\ttext\na.png\t"a red\nb.png\ta blue card\n', ['"a red']),
        ("x.csv", "file,caption,caption\na.png,a,card\nb.png,a blue card,\n", ["a", "card"]),
        ("x.csv", "file,raw\na.png,\"['a', 'card']\"\nb.png,a blue card\n", ["a", "card"]),
        ("x.csv", 'file,raw\na.png,"[""a"", ""it\'s""]"\nb.png,a blue card\n', ["a", "it's"]),
        ("x.csv", "file,raw\na.png,\"['a'\n 'card']\"\nb.png,a blue card\n", ["a", "card"]),
        ("x.csv", "file,raw\na.png,['a] b\nb.png,a blue card\n", ["['a] b"]),
        ("x.csv", "url,caption\nhttps://x.org/i/a.png?w=1&h=2,a red card\nhttp://y.org/b.png#top,a blue card\n", ["a red card"]),
        ("x.csv", "img,mask,note\na.png,a_mask.png,a red card\nb.png,b_mask.png,a blue card\n", ["a red card"]),
        ("x.csv", '"a, red\ncard",1,/my set/a.png\na blue card,2,/my set/b.png\n', ["a, red card"]),
        ("x.txt", "a.png: a red card\nb.png: a blue card\n", ["a red card"]),
        ("x.txt", "a.png - a red card\nb.png - a blue card\n", ["a red card"]),
    ],
)
def test_tables_as_programs_and_people_write_them(name, table, first):
    assert read(name, table, "a.png", "b.png").texts == {"a.png": first, "b.png": ["a blue card"]}


def test_what_is_not_a_number_is_no_caption_and_json_is_refused_where_it_ends():
    found = read("x.jsonl", '{"file": "a.png", "text": "x"}\n{"file": "b.png", "text": NaN}\n', "a.png", "b.png")
    assert (found.texts, found.faults) == ({"a.png": ["x"]}, ["x.jsonl, line 2: the caption is empty"])
    for text in ('[\n{"file": "a.png", "text": "x"},\n]', '{"file": "a.png", "text": "x"}\n\n{"file": }'):
        with pytest.raises(ValueError, match=r"x\.json, line 3: not JSON: "):
            read("x.json", text, "a.png")


def test_lists_within_lists_without_end_are_no_captions(folder):
    folder.pictures("cat/a.png").text("cat/a.json", "[" * 100_000).text("x.json", "[" * 100_000).text("y.jsonl", "[" * 100_000)
    found, _, notes = folder.imported()
    assert found == {"cat/a.png": ["cat"]}
    assert notes == [
        *(f"not used: {name}, line 1: not JSON: too many lists within lists" for name in ("x.json", "y.jsonl")),
        "not used: 1 JSON files beside the media hold no caption, captions, text, texts, description, title or label",
        'all captions are "cat", the name of a folder',
    ]


def test_numbers_with_zeros_before_them_are_names_of_files():
    """Others may be counts: of those most must name files."""
    table = lambda form: "id,caption\n" + "".join(f"{number:{form}},number {number}\n" for number in range(20))
    assert read("x.csv", table("04"), "0003.png", "0017.png").texts == {"0003.png": ["number 3"], "0017.png": ["number 17"]}
    with pytest.raises(ValueError, match="names none of the files"):
        read("x.csv", table(""), "3.png", "17.png")


def test_an_address_writes_blanks_otherwise():
    found = read("x.csv", "url,caption\nhttps://x.org/my%20cat.png,a cat\n100%25.png,all\n", "my cat.png", "100%.png").texts
    assert found == {"my cat.png": ["a cat"], "100%.png": ["all"]}


def test_addresses_are_no_captions(folder):
    """The segments of Multilingual LibriSpeech say where each sound is from."""
    folder.sounds("audio/1_2.flac", "audio/1_3.flac").text("transcripts.txt", "1_2\thello\n1_3\tgood bye\n")
    folder.text("segments.txt", "1_2\thttp://x.org/a.mp3\t1.0\t2.0\n1_3\thttp://x.org/a.mp3\t2.0\t3.0\n")
    found, _, notes = folder.imported()
    assert found == {"audio/1_2.flac": ["hello"], "audio/1_3.flac": ["good bye"]}
    assert notes == ["not used: segments.txt: names files, and has no column with words"]


LARGE = {
    "LJSpeech": ("metadata.csv", "wav", "{stem}|Number, {n}, no. {n}|number, {n}, said\n", ["number, {n}, said"]),
    "Flickr": ("f.token.txt", "jpg", "{stem}.jpg#0\tA , {n} , up\n{stem}.jpg#1\tB , {n}\n", ["A , {n} , up", "B , {n}"]),
    "LibriSpeech": ("x.trans.txt", "flac", "{stem} NUMBER {n} SAID\n", ["NUMBER {n} SAID"]),
    "VITS": ("filelist.txt", "wav", "DUMMY/wavs/{stem}.wav|7|number, {n}, said\n", ["number, {n}, said"]),
    "csv": ("x.csv", "png", '{stem}.png,"a card, {n}"\n', ["a card, {n}"]),
}


@pytest.mark.parametrize("form", LARGE)
@pytest.mark.parametrize("have", [range(3), range(700, 703), [0, 350, 899]])
def test_a_few_files_of_a_large_set_with_the_whole_table(form, have):
    """Which column and which separator it is shows in the lines about files that are there, wherever these stand."""
    name, ending, line, captions = LARGE[form]
    stem = lambda number: f"LJ{number:04}"
    table = "".join(line.format(stem=stem(number), n=number) for number in range(900))
    media = [f"wavs/{stem(number)}.{ending}" for number in have]
    found = read(name, table, *media)
    assert found.texts == {file: [text.format(n=n) for text in captions] for file, n in zip(media, have, strict=True)}
    assert len(found.faults) == 11
    assert found.faults[-1].startswith(f"{name}: ")
    assert found.faults[-1].endswith(f"{line.count(chr(10)) * 897 - 10} more lines name no file that is there")


def test_a_large_table_that_names_one_of_many_files_by_chance_holds_no_captions(folder):
    names = [f"{kind}/{kind}{number}.png" for kind in ("cat", "dog") for number in range(8)]
    folder.pictures(*names, "cat/w500.png").text("words.txt", "".join(f"w{number}\tthing {number}\n" for number in range(1000)))
    found, _, notes = folder.imported(held_out=0)
    assert {tuple(captions) for captions in found.values()} == {("cat",), ("dog",)}
    assert notes == ["not used: words.txt: names none of the files"]


def test_a_column_that_is_asked_for_and_not_there_is_an_error(folder):
    folder.pictures("cat/1.png")
    with pytest.raises(ValueError, match="says: there is no table of captions that has such a column"):
        folder.imported(text_column="says")


# ------------------------------------------------------------------ texts beside, and in trees of their own


@pytest.mark.parametrize("seed", range(8))
def test_trees_of_texts_drawn_at_random_belong_to_the_tree_beside_them(seed):
    """Files of one name in many folders; some media and some texts are gone; the reference is how the names were made."""
    from ernest.data.beside import neighbours

    rng = np.random.default_rng(seed)
    form = ["{root}/{kind}/{n}", "{kind}/{root}/{n}", "set/{root}/{kind}/x/{n}"][seed % 3]
    pairs = [(kind, n) for kind in ("anna", "bob", "cy") for n in range(4)]
    name = lambda root, pair, ending: f"{form.format(root=root, kind=pair[0], n=pair[1])}.{ending}"
    media = [name("images", pair, "png") for pair in pairs if rng.random() < 0.8]
    texts = [name("captions", pair, "txt") for pair in pairs if rng.random() < 0.8]
    expected = {
        name("images", pair, "png"): {"txt": name("captions", pair, "txt")}
        for pair in pairs
        if name("images", pair, "png") in media and name("captions", pair, "txt") in texts
    }
    assert neighbours(Index(media), texts) == expected


def test_a_tree_of_texts_without_the_folders_of_its_files(folder):
    folder.pictures("jpg/image_1.jpg", "jpg/image_2.jpg")
    folder.text("text/class_1/image_1.txt", "a rose").text("text/class_2/image_2.txt", "a lily").text(
        "text/class_2/image_3.txt", "?"
    )
    assert folder.captions() == {"jpg/image_1.jpg": ["a rose"], "jpg/image_2.jpg": ["a lily"]}


@pytest.mark.parametrize("ending", ["jpg.json", "jpg.supplemental-metadata.json"])
def test_the_title_that_google_takeout_gives_each_photo_is_no_caption(folder, ending):
    folder.pictures("IMG_1.jpg", "IMG_2.jpg", "Rose.jpg")
    folder.text(f"IMG_1.{ending}", '{"title": "IMG_1.jpg", "description": "a red card"}')
    folder.text(f"IMG_2.{ending}", '{"title": "IMG_2.jpg", "description": ""}').text("Rose.json", '{"title": "Rose"}')
    assert folder.captions() == {"IMG_1.jpg": ["a red card"], "Rose.jpg": ["Rose"]}


def test_a_class_beside_a_picture_in_a_tar(folder):
    folder.pictures("cat.png", "dog.png").text("cat.cls", "cat").text("dog.cls", "7")
    assert folder.captions() == {"cat.png": ["cat"], "dog.png": ["7"]}


def test_captions_longer_than_a_row_are_left_out_and_others_of_their_files_kept(folder):
    """Told before hours of training, for the rows of the recipe; text that says little in many letters has room."""
    long = " ".join(f"word{number}" for number in range(300))
    folder.pictures("a.png", "b.png", "c.png", "d.png").text("a.txt", "short").text("b.txt", long).text(
        "c.txt", f"one\n{long}\ntwo"
    )
    folder.text("d.txt", "as well " * 60)
    found, summary, _ = folder.imported()
    assert found == {"a.png": ["short"], "c.png": ["one", "two"], "d.png": [("as well " * 60).strip()]}
    assert [line.rpartition("/")[2] for line in summary.skipped] == [
        "b.png: its caption is too long for rows of 256 positions: shorten it, or --set sequence.length",
        "c.png: 1 of its 3 captions is too long for rows of 256 positions: shorten it, or --set sequence.length",
    ]
    assert import_folder(folder.path / "in", folder.path / "wide", length=4096).skipped == ()


# ------------------------------------------------------------------ what is not read is said


def test_texts_that_are_not_used_for_one_reason_are_told_once(folder):
    folder.pictures(*(f"cat/{number}.png" for number in range(12)))
    for number in range(12):
        folder.text(f"cat/{number}.xml", "<name>dog</name>")
    folder.text("all.xlsx", b"PK\3\4")
    found, _, notes = folder.imported(held_out=0)
    assert set(map(tuple, found.values())) == {("cat",)}
    assert notes == [
        "not used: all.xlsx: a spreadsheet: save it as CSV",
        "not used: 12 text files, such as cat/0.xml: of a kind that is not read for captions",
        'all captions are "cat", the name of a folder',
    ]


RUSSIAN, CHINESE, JAPANESE = "красная карта", "一张红色的卡片放在桌子上", "赤いカードがテーブルの上にある"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(RUSSIAN, "koi8-r"), (RUSSIAN, "cp1251"), (CHINESE, "gb18030"), (JAPANESE, "shift_jis"), (JAPANESE, "euc_jp")],
)
def test_text_in_an_encoding_that_is_not_known_is_no_caption_of_wrong_letters(text, encoding):
    with pytest.raises(ValueError, match=r"a\.txt: cannot be read as text: .* save it as UTF-8"):
        decoded(text.encode(encoding), "a.txt")
    assert decoded(text.encode("utf-8"), "a.txt") == decoded(text.encode("utf-16"), "a.txt") == text


@pytest.mark.parametrize("text", ["die Füße, größer: süß", "“été” – là", "niño, ¿qué?", "Ærø"])
def test_western_text_is_read(text):
    assert decoded(text.encode("cp1252"), "a.txt") == text


def test_packed_files_are_named_and_how_to_unpack_them(folder):
    folder.pictures("cat/1.png").pictures("x.png")
    inside = folder.path / "in"
    with tarfile.open(inside / "A.TAR", "w") as archive:
        archive.add(inside / "x.png", "dog/x.png")
    with tarfile.open(inside / "b.tar", "w:gz") as archive:
        archive.add(inside / "x.png", "x.png")
    with zipfile.ZipFile(inside / "c.ZIP", "w") as archive:
        archive.write(inside / "x.png", "x.png")
    (inside / "x.png").unlink()
    found, summary, _ = folder.imported()
    assert found == {"cat/1.png": ["cat"], "A.TAR/dog/x.png": ["dog"]}
    assert sorted(line.rpartition("/")[2] for line in summary.skipped) == [
        "b.tar: not an archive that can be read: it is compressed: make it a plain .tar, whose members are read where they lie",
        "c.ZIP: is packed: unpack it, and what it holds is read",
    ]


# ------------------------------------------------------------------ parquet


def test_parquet_with_paths_is_a_table_of_the_files_beside_it(folder):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.pictures("train/a.png", "train/b.png")
    table = arrow.table({"file_name": ["a.png", "b.png"], "text": ["a red card", "a blue card"], "hash": [b"1", b"2"]})
    parquet.write_table(table, folder.path / "in/train/metadata.parquet")
    assert folder.captions() == {f"train/{name}": texts for name, texts in TWO.items()}


def test_parquet_with_plain_bytes(folder):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.pictures("a.png", "b.png")
    contents = [(folder.path / f"in/{name}").read_bytes() for name in TWO]
    columns = {"md5": [b"12", b"34"], "jpg": contents, "caption": ["a red card", "a blue card"]}
    (folder.path / "in2").mkdir()
    parquet.write_table(arrow.table(columns), folder.path / "in2/t.parquet")
    assert import_folder(folder.path / "in2", folder.path / "out").captions == "the parquet files"


@pytest.mark.parametrize("seed", range(20))
def test_tables_in_csv_of_any_separator_give_back_quotes_lines_and_separators(seed):
    """Written by the csv module, with ends of lines and separators within captions; the reference is what was written."""
    rng = np.random.default_rng(seed)
    separator = str(rng.choice(list(",;\t|")))
    words = np.array(["dog", "a\nb", f"x{separator}y", 'say "no"', "été", "7", "it's"])
    texts = {f"x{number:03}.png": " ".join([*rng.choice(words, 3), "end"]) for number in range(12)}
    table = io.StringIO()
    writer = csv.writer(table, delimiter=separator, quoting=csv.QUOTE_ALL if seed % 2 else csv.QUOTE_MINIMAL)
    writer.writerows([("file", "caption", "n"), *((name, text, 5) for name, text in texts.items())])
    assert read("x.csv", table.getvalue(), *texts).texts == {name: [" ".join(text.split())] for name, text in texts.items()}
