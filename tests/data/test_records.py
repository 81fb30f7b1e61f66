import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given as given_that
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ernest.data import media
from ernest.data.record_writer import save_records
from ernest.data.records import LINES, load_records, read_lines
from ernest.sequence.record import Record, Segment, given, made

PICTURE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
FILM = np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
SOUND = np.random.default_rng(2).uniform(-1, 1, 3000).astype(np.float32)
EVERYTHING = [
    Record((given("image", PICTURE), made("text", "a red seven, “été”, 七 😀\n")), "image→text", {"digit": 7, "colour": "red"}),
    Record((given("text", "a film"), made("video", FILM)), "text→video"),
    Record((given("text", "its first frame"), made("video", FILM[:1], open=True)), "text→first frame", {"x": [1.5, None]}),
    Record((given("audio", SOUND), made("text", "seven")), "speech→text"),
    Record((made("image", PICTURE),)),
]


def assert_equal(one: Record, other: Record) -> None:
    assert one.task == other.task
    assert dict(one.facts) == dict(other.facts)
    assert len(one.segments) == len(other.segments)
    for left, right in zip(one.segments, other.segments, strict=True):
        assert (left.kind, left.made, left.open) == (right.kind, right.made, right.open)
        assert np.array_equal(left.data, right.data)


def test_records_of_every_kind_come_back_exactly(tmp_path):
    assert save_records(tmp_path / "new" / "set", iter(EVERYTHING)) == 5
    loaded = load_records(tmp_path / "new" / "set")
    assert len(loaded) == 5
    for one, other in zip(EVERYTHING, loaded, strict=True):
        assert_equal(one, other)
    assert_equal(loaded[-1], EVERYTHING[-1])
    assert [record.task for record in loaded[1:3]] == ["text→video", "text→first frame"]
    assert len(np.load(tmp_path / "new" / "set/media/image.npy")) == 1, "the same picture is stored once"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
SEGMENTS = st.one_of(
    st.builds(Segment, st.just("text"), TEXTS, st.booleans()),
    st.builds(Segment, st.just("image"), arrays.arrays(np.uint8, (32, 32, 3)), st.booleans()),
    st.builds(
        Segment,
        st.just("video"),
        st.integers(1, 10).flatmap(lambda frames: arrays.arrays(np.uint8, (frames, 32, 32, 3))),
        st.booleans(),
    ),
    st.builds(
        Segment,
        st.just("audio"),
        arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1, 1, width=32)),
        st.booleans(),
    ),
)
FACTS = st.dictionaries(TEXTS, st.one_of(st.integers(), st.booleans(), st.none(), TEXTS, st.lists(st.integers())), max_size=3)
LAST = st.one_of(
    st.builds(made, st.just("text"), TEXTS),
    st.builds(made, st.just("video"), arrays.arrays(np.uint8, (1, 32, 32, 3)), st.booleans()),
)
RECORDS = st.builds(
    lambda segments, last, task, facts: Record((*segments, last), task, facts), st.lists(SEGMENTS), LAST, TEXTS, FACTS
)


@settings(max_examples=30, deadline=None)
@given_that(records=st.lists(RECORDS, min_size=1, max_size=4))
def test_any_records_come_back_exactly(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("sets") / "set"
    save_records(folder, records)
    for one, other in zip(records, load_records(folder), strict=True):
        assert_equal(one, other)


def test_numbers_of_numpy_among_the_facts_become_plain(tmp_path):
    facts = {"digit": np.int64(7), "energy": np.array([2.0, 1.0]), "open": np.bool_(True)}
    save_records(tmp_path / "set", [Record((made("text", "a"),), "", facts)])
    assert load_records(tmp_path / "set")[0].facts == {"digit": 7, "energy": [2.0, 1.0], "open": True}


def test_writing_is_all_or_nothing(tmp_path):
    def broken():
        yield EVERYTHING[0]
        raise RuntimeError("the source fails")

    with pytest.raises(RuntimeError, match="the source fails"):
        save_records(tmp_path / "set", broken())
    with pytest.raises(ValueError, match=r"record 2: its facts cannot be written as JSON"):
        save_records(tmp_path / "set", [EVERYTHING[0], Record((made("text", "a"),), "", {"x": object()})])
    with pytest.raises(ValueError, match="no record"):
        save_records(tmp_path / "set", [])
    assert list(tmp_path.iterdir()) == []
    save_records(tmp_path / "set", EVERYTHING)
    with pytest.raises(ValueError, match="set exists already"):
        save_records(tmp_path / "set", EVERYTHING)


def segment(**changes) -> dict:
    return {
        key: value for key, value in ({"kind": "image", "role": "made", "file": "a.png"} | changes).items() if value is not None
    }


TEXT = {"kind": "text", "role": "made", "text": "a"}
MISTAKES = {
    "not json": ("{'segments'}", r"not JSON: .* at column 2"),
    "rows of a text": (
        json.dumps({"segments": [{"kind": "text", "role": "made", "text": "a", "rows": [0, 1]}]}),
        r"rows: expected",
    ),
    "rows backwards": ([segment(rows=[3, 1])], r"segments\[0\]\.rows: expected \[start, end\] of an array .* got \[3, 1\]"),
    "rows of a picture": ([segment(rows=[0, 1])], r"segments\[0\]\.file: .*a\.png: no array that can be read"),
    "not an object": ("[1]", r"the record: expected an object, got \[1\]"),
    "unknown key": (json.dumps({"segmets": []}), r"unknown field 'segmets': did you mean 'segments'\?"),
    "far key": (json.dumps({"zzz": 1}), r"unknown field 'zzz': known are task, segments, facts"),
    "no segments": (json.dumps({"task": "x"}), r"'segments' is missing"),
    "segments of a wrong type": (json.dumps({"segments": {}}), r"segments: expected a list, got \{\}"),
    "empty segments": (json.dumps({"segments": []}), r"segments: at least one needs \"role\": \"made\""),
    "task of a wrong type": (json.dumps({"task": 3, "segments": [TEXT]}), r"task: expected a text, got 3"),
    "facts of a wrong type": (json.dumps({"facts": 3, "segments": [TEXT]}), r"facts: expected an object, got 3"),
    "unknown kind": ([segment(kind="imagge")], r"segments\[0\]\.kind: 'imagge' is none of .*: did you mean 'image'\?"),
    "kind of a wrong type": ([segment(kind=[1])], r"segments\[0\]\.kind: \[1\] is none of"),
    "unknown role": ([TEXT, segment(role="maed")], r"segments\[1\]\.role: 'maed' is none of given, made: did you mean 'made'\?"),
    "unknown segment key": ([segment(flie="x")], r"segments\[0\]: unknown field 'flie': did you mean 'file'\?"),
    "no role": ([segment(role=None)], r"segments\[0\]: the field 'role' is missing"),
    "segment of a wrong type": (["text"], r"segments\[0\]: expected an object"),
    "text in an image": ([segment(text="x")], r"segments\[0\]\.text: a segment of kind \"image\" has the field \"file\""),
    "file in a text": ([TEXT | {"file": "a.png"}], r"segments\[0\]\.file: a segment of kind \"text\" has the field \"text\""),
    "no file": ([segment(file=None)], r"segments\[0\]\.file: "),
    "empty text": ([TEXT | {"text": ""}], r"segments\[0\]\.text: is empty"),
    "half a pair": ('{"segments": [{"kind": "text", "role": "made", "text": "\\ud800"}]}', "half a surrogate pair"),
    "text of a wrong type": ([TEXT | {"text": 7}], r"segments\[0\]\.text: expected a text, got 7"),
    "others that are no list": ([TEXT | {"others": "b"}], r"segments\[0\]\.others: expected a list of texts, got \"b\""),
    "an empty one of others": ([TEXT | {"others": ["b", ""]}], r"segments\[0\]\.others\[1\]: is empty"),
    "others of a picture": ([segment(others=["b"])], r"segments\[0\]\.others: only a text has this field"),
    "missing file": ([segment(file="none.png")], r"segments\[0\]\.file: .*none\.png: there is no such file"),
    "absolute path": ([segment(file="/etc/a.png")], r"segments\[0\]\.file: '/etc/a\.png' must be a path inside the folder"),
    "path of windows": ([segment(file="C:\\a.png")], r"must be a path inside the folder"),
    "escaping path": ([segment(file="b/../../a.png")], r"must be a path inside the folder"),
    "wrong kind": ([segment(kind="audio")], r"segments\[0\]\.file: .*a\.png: not a sound that can be read: it holds a picture"),
    "broken picture": ([segment(file="broken.png")], r"segments\[0\]\.file: .*broken\.png: not a picture that can be read"),
    "open picture": ([segment(open=True)], r"segments\[0\]\.open: only a video has this field"),
    "open of a wrong type": ([segment(kind="video", open=1)], r"segments\[0\]\.open: expected true or false, got 1"),
    "frames of a wrong type": ([segment(kind="video", frames=True)], r"segments\[0\]\.frames: expected a whole number, got true"),
    "no frames": ([segment(kind="video", frames=0)], r"segments\[0\]\.frames: expected 1 or more, got 0"),
    "nothing made": ([segment(role="given")], r"segments: at least one needs"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_mistake_names_file_line_and_field(tmp_path, mistake):
    content, message = MISTAKES[mistake]
    line = content if isinstance(content, str) else json.dumps({"segments": content})
    media.write_image(tmp_path / "a.png", PICTURE)
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    good = json.dumps({"segments": [segment()]})
    (tmp_path / LINES).write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(ValueError, match=rf"records\.jsonl, line 3: .*{message}"):
        load_records(tmp_path)


def test_mistakes_of_the_whole_folder(tmp_path):
    with pytest.raises(ValueError, match=r"is no folder of records: it has no records\.jsonl"):
        load_records(tmp_path)
    (tmp_path / LINES).write_text("\n")
    with pytest.raises(ValueError, match="holds no record"):
        load_records(tmp_path)
    (tmp_path / LINES).write_bytes(b"\xff\n")
    with pytest.raises(ValueError, match=r"line 1: not UTF-8: byte 0 is 0xff"):
        load_records(tmp_path)


def test_written_by_hand_with_other_sizes_and_rates(tmp_path):
    """What a user writes: only the needed fields, a photo of any size, a film as a gif, a stereo sound."""
    import soundfile
    from PIL import Image

    Image.new("RGB", (640, 480), "blue").save(tmp_path / "photo.JPG")
    media.write_video(tmp_path / "film.gif", np.zeros((20, 64, 48, 3), np.uint8))
    soundfile.write(tmp_path / "sound.flac", np.zeros((44100, 2)), 44100)
    segments = [
        {"kind": kind, "role": "given", "file": name}
        for kind, name in (("image", "photo.JPG"), ("video", "film.gif"), ("audio", "./sound.flac"))
    ]
    (tmp_path / LINES).write_text(json.dumps({"segments": [*segments, TEXT]}))
    record = load_records(tmp_path)[0]
    assert [segment.data.shape for segment in record.segments[:3]] == [(32, 32, 3), (9, 32, 32, 3), (8000,)]


@pytest.mark.parametrize(
    "array", [np.zeros((4, 32, 32, 3), np.uint8), np.zeros((6, 32, 30, 3), np.uint8), np.zeros((6, 32, 32, 3))]
)
def test_rows_that_are_not_there_or_no_pictures_are_named(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    content = {"segments": [segment(file="a.npy", rows=[4, 5])]}
    (tmp_path / LINES).write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"line 1: segments\[0\]\.file: .*a\.npy: no rows 4 to 5 of a segment of kind image, but"
    ):
        load_records(tmp_path)


def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    """Of a record only where its line begins and ends is kept, far less than the line itself."""
    lines = (
        json.dumps({"segments": [{"kind": "text", "role": "made", "text": f"a long caption, number {n} " * 9}]})
        for n in range(4000)
    )
    (tmp_path / "records.jsonl").write_text("\n\n".join(lines))
    tracemalloc.start()
    folder = read_lines(tmp_path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(folder) == 4000
    assert held < 4000 * 80
    assert peak < 4000 * 200
    assert folder.stored[3999].line == 7999
    assert folder[-1].segments[0].data.endswith("number 3999 ")


def test_an_array_is_opened_once_for_all_its_segments(tmp_path, monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    save_records(tmp_path / "a", [Record((given("image", one), made("text", "x"))) for one in data])
    opened = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *arguments, **named: opened.append(arguments) or load(*arguments, **named))
    assert all(
        np.array_equal(record.segments[0].data, one) for record, one in zip(load_records(tmp_path / "a"), data, strict=True)
    )
    assert len(opened) == 1
    np.save(tmp_path / "a/media/image.npy", data[::-1])  # another content under the same name is read anew
    assert np.array_equal(load_records(tmp_path / "a")[0].segments[0].data, data[-1])


def test_a_text_may_have_others(tmp_path):
    records = [Record((given("image", PICTURE), made("text", "a cat", others=("an animal", "a pet"))), "image→text")]
    save_records(tmp_path / "set", records)
    line = json.loads((tmp_path / "set/records.jsonl").read_text())
    assert line["segments"][1] == {"kind": "text", "role": "made", "text": "a cat", "others": ["an animal", "a pet"]}
    text = load_records(tmp_path / "set")[0].segments[1]
    assert (text.data, text.others) == ("a cat", ("an animal", "a pet"))
    with pytest.raises(ValueError, match="others: only a text"):
        Segment("image", PICTURE, True, others=("a",))
    with pytest.raises(ValueError, match="others: only a text"):
        made("text", "a", others=("",))
