"""Records refuse what no tokenizer could use, in one clear line."""

import numpy as np
import pytest

from ernest.sequence.record import Record, Segment, given, made

IMAGE = np.zeros((8, 8, 3), np.uint8)
VIDEO = np.zeros((9, 8, 8, 3), np.uint8)
WAVE = np.zeros(800, np.float32)


@pytest.mark.parametrize(
    ("kind", "data", "says"),
    [
        ("smell", "rose", "text, image, video, audio"),
        ("text", "", "not empty"),
        ("text", 7, "not empty"),
        ("image", IMAGE.astype(np.float32), "uint8"),
        ("image", VIDEO, "height, width, 3"),
        ("video", IMAGE, "frames, height, width, 3"),
        ("video", VIDEO[..., :1], "frames, height, width, 3"),
        ("audio", WAVE.astype(np.float64), "float32"),
        ("audio", WAVE[:0], "float32"),
        ("audio", [0.0], "numpy array"),
    ],
)
def test_a_segment_names_its_kind_and_what_would_be_right(kind: str, data: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        Segment(kind, data, made=True)
    assert kind in str(refused.value)


def test_good_segments_pass() -> None:
    for kind, data in (("text", "a"), ("image", IMAGE), ("video", VIDEO), ("audio", WAVE)):
        assert Segment(kind, data, made=False).data is data


def test_a_record_makes_something() -> None:
    with pytest.raises(ValueError, match="at least one segment"):
        Record(())
    with pytest.raises(ValueError, match="made"):
        Record((given("text", "a"),))


def test_only_a_made_video_at_the_end_is_open() -> None:
    assert made("video", VIDEO, open=True).open
    with pytest.raises(ValueError, match="open"):
        made("image", IMAGE, open=True)
    with pytest.raises(ValueError, match="open"):
        Segment("video", VIDEO, made=False, open=True)
    with pytest.raises(ValueError, match="last"):
        Record((made("video", VIDEO, open=True), made("text", "a")))
