"""Words of captions as targets: any script, rare words first, and nothing where captions tell nothing apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernest.tokenizers.training.words import caption_words, word_targets


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A photo of a Cat, asleep.", {"a", "photo", "of", "cat", "asleep"}),
        ("dog_barking-2", {"dog", "barking", "2"}),
        ("Ein Öltank; naïve CAFÉ", {"ein", "öltank", "naïve", "café"}),
        ("E\u0301TE\u0301", {"été"}),  # signs in two parts
        ("हिन्दी में लिखा", {"हिन्दी", "में", "लिखा"}),  # whose signs of vowels are marks, not letters
        ("قطة نائمة", {"قطة", "نائمة"}),
        ("猫が寝る", {"猫", "が", "寝", "る", "猫が", "が寝", "寝る", "猫が寝", "が寝る", "猫が寝る"}),
        ("แมว", {"แ", "ม", "ว", "แม", "มว", "แมว"}),
        ("iPhone手机", {"iphone", "手", "机", "手机"}),
        ("ＡＢＣ１２", {"abc12"}),  # full width
        ("🐈 cat 🐈🐕", {"🐈", "cat", "🐕"}),
        ("...", set()),
    ],
)
def test_words_of_any_script(caption, expected):
    assert caption_words(caption) == expected


def test_rare_words_weigh_more_and_common_ones_nothing():
    kinds = [f"a photo of a {kind}" for kind in ("cat", "dog", "cow", "pig") for _ in range(20)]
    phrased = [text + (" indoors" if n % 2 else "") for n, text in enumerate(kinds)]
    targets = word_targets([[text] for text in phrased])
    assert targets.words == ("cat", "cow", "dog", "indoors", "pig")
    rows = targets.rows(np.arange(80))
    assert np.allclose(rows.sum(1), 1)
    share = np.log(4) / (np.log(4) + np.log(2))
    assert np.allclose(rows[1], [share, 0, 0, 1 - share, 0])
    assert np.allclose(rows[0], [1, 0, 0, 0, 0])  # the other phrasing: the kind is all there is to say


def test_words_that_always_come_together_are_one():
    """Or a name of three words would count three times, and a phrase without blanks as often as it has parts."""
    captions = [["golden retriever dog"], ["persian cat"], ["金毛犬"], ["波斯猫"]] * 10
    assert word_targets(captions).words == ("persian", "retriever", "波斯猫", "金毛犬")


def test_all_captions_of_a_file_are_heard():
    targets = word_targets([["one cat", "the animal sleeps"], ["one dog", "the animal runs"]] * 8)
    assert set(targets.words) == {"sleeps", "runs"}
    assert targets.rows(np.array([0])).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    "captions",
    [[["the same"]] * 30, [[f"word{n}"] for n in range(30)], [[]] * 30, [["a"]], [], [["..."], [""]]],
    ids=["one for all", "one for each, all different", "none", "one file", "no file", "no words"],
)
def test_captions_that_tell_nothing_apart_teach_nothing(captions):
    targets = word_targets(captions)
    assert targets.words == ()
    assert targets.rows(np.arange(len(captions))).shape == (len(captions), 0)


def test_a_caption_for_each_file_teaches_the_words_that_come_back():
    captions = [[f"{'red' if n % 3 else 'blue'} thing number x{n}"] for n in range(60)]
    assert word_targets(captions).words == ("blue", "red")


def test_of_many_words_those_that_tell_most_stay():
    captions = [[f"common{n % 2} rare{n // 2 % 20}"] for n in range(200)]
    assert word_targets(captions, most=2).words == ("common0", "common1")
    assert len(word_targets(captions).words) == 22


texts = st.lists(st.lists(st.text(st.sampled_from("ab 猫犬แ.🐈é1"), max_size=12), max_size=3), max_size=12)


@given(texts)
def test_targets_are_shares_of_words_that_are_there(captions):
    targets = word_targets(captions, most=5)
    rows = targets.rows(np.arange(len(captions)))
    assert len(targets.words) <= 5
    assert (targets.weights > 0).all()
    for row, of_file in zip(rows, captions, strict=True):
        assert row.sum() == pytest.approx(1) or row.sum() == 0
        said = set().union(*map(caption_words, of_file))
        assert all(row[n] == 0 or word in said for n, word in enumerate(targets.words))
