"""Pictures that stand in a data set more than once, against the plain comparison of all bytes with all bytes."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.lcnet.training import repeats
from ernest.lcnet.training.listing import Listing
from ernest.lcnet.training.repeats import contents, describe_repeats


@given(st.lists(st.binary(max_size=6).map(lambda some: bytes(byte % 3 for byte in some)) | st.none(), max_size=12))
def test_contents_are_equal_where_all_bytes_are(files: list[bytes | None]) -> None:
    """None stands for a file that is not there; of two bytes in the middle many files are alike, and the whole has to tell."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "PIECE", 2)
        paths = [Path(folder, str(number)) for number in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            if content is not None:
                path.write_bytes(content)
        found = contents(paths)
    for one, key in zip(files, found, strict=True):
        assert [other == key for other in found].count(True) == (1 if one is None else files.count(one))


def test_what_is_told_counts_the_pictures_and_names_a_pair(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abcdefgh"]
    for file, content in zip(files, ("1", "2", "3", "2", "4", "1", "5", "5"), strict=True):
        file.write_text(content)
    os.link(files[4], tmp_path / "linked")
    learn = Listing(tuple(files[:5]), (0, 0, 0, 1, 1), ("x", "y"))
    score = Listing((files[5], tmp_path / "linked", *files[6:]), (0, 1, 0, 0), ("x", "y"))
    assert describe_repeats(learn, score) == (
        f"2 of 4 pictures to score with are learnt from too ({files[5]} is {files[0]}): scores are too good",
        f"2 pictures stand under other classes too ({files[3]} is {files[1]}): one of their labels is wrong",
    )
    assert describe_repeats(Listing(tuple(files[:3]), (0, 0, 1), ("x", "y")), Listing((files[4],), (0,), ("x", "y"))) == ()
