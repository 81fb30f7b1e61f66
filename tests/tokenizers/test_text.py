import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ernest.config.tables import SMALLEST_VOCABULARY
from ernest.tokenizers.text import CONTROLS, FIRST_BYTE, TextTokenizer, split_words

ENGLISH = [
    f"a {colour} {digit} at the {place}, says {voice}: {number} + 7 = {number + 7}"
    for number, colour in enumerate(("red", "green", "blue", "yellow", "pink", "white"))
    for digit in ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    for place in ("top left", "top right", "bottom left", "bottom right")
    for voice in ("anna", "ben")
]
CHINESE = [
    "今天早上我去市场买了一些水果和蔬菜，市场里的人很多，水果也很新鲜。",
    "妈妈说，晚上我们一起做饭，你来洗菜，我来切菜，爸爸来洗碗。",
    "吃完饭以后，我们去公园散步，公园里有很多孩子在踢球。",
    "弟弟问我，月亮为什么总是跟着我们走？我说，因为它也想回家。",
    "明天是星期天，我们不上学，可以去海边看日出。",
    "海边的风很大，但是太阳出来以后，大家都觉得很温暖。",
    "老师说，学习一种新的语言，就像打开一扇新的窗户。",
    "我最喜欢的季节是秋天，因为秋天的天空很高，树叶是红色的。",
]
CHINESE_UNSEEN = ["昨天晚上爸爸和我去海边散步，天空很高，月亮很大。", "老师问我们，为什么喜欢秋天？我说，因为水果很多。"]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train(ENGLISH, vocab_size=384)


def random_code_points(count: int) -> str:
    """Code points drawn evenly from all of Unicode; the halves of surrogate pairs are no characters and are left out."""
    points = np.random.default_rng(7).integers(0, 0x110000 - 0x800, count)
    return "".join(map(chr, np.where(points >= 0xD800, points + 0x800, points)))


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_round_trip_of_a_hundred_thousand_random_code_points(tokenizer, dropout):
    text = random_code_points(100_000)
    assert sum(point > "\uffff" for point in text) > 50_000
    assert tokenizer.decode(tokenizer.encode(text, dropout, np.random.default_rng(0))) == text


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    dropout=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    seed=st.integers(0, 9),
)
def test_round_trip_of_any_text(tokenizer, text, dropout, seed):
    assert tokenizer.decode(tokenizer.encode(text, dropout, np.random.default_rng(seed))) == text
    assert "".join(split_words(text)) == text


def test_dropout_segments_a_fifth_of_the_words_differently_and_only_by_its_generator(tokenizer):
    words = [word for text in ENGLISH for word in split_words(text)]
    rng = np.random.default_rng(3)
    different = np.mean([tokenizer.encode(word, 0.1, rng) != tokenizer.encode(word) for word in words])
    assert 0.2 <= different < 0.9
    text = ENGLISH[5]
    first, again, other = (tokenizer.encode(text, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other


def cut_plainly(tokenizer: TextTokenizer, text: str, dropout: float, rng: np.random.Generator) -> list[int]:
    """Round by round, every pair that could be merged before the one chosen so far draws a number of its own."""
    rank = {tuple(pair): number for number, pair in reversed(list(enumerate(tokenizer.merges)))}
    draws = (draw for _ in iter(int, 1) for draw in rng.random(512))
    ids: list[int] = []
    for word in split_words(text):
        parts = [FIRST_BYTE + value for value in word.encode("utf-16-be")]
        while True:
            best: tuple[int, int] | None = None
            for place, pair in enumerate(pairwise(parts)):
                if pair in rank and (best is None or rank[pair] < best[0]) and next(draws) >= dropout:
                    best = rank[pair], place
            if best is None:
                break
            place = best[1]
            piece = tokenizer.pieces[parts[place]] + tokenizer.pieces[parts[place + 1]]
            parts[place : place + 2] = [tokenizer.pieces.index(piece, FIRST_BYTE)]
        ids += parts
    return ids


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.sampled_from(sorted({word for text in ENGLISH for word in text.split(" ")})), max_size=12),
    dropout=st.sampled_from([0.02, 0.1, 0.5, 0.9]),
    seed=st.integers(0, 99),
)
def test_dropout_draws_once_for_every_merge_that_could_be_made(tokenizer, words, dropout, seed):
    """Cut as plainly, over blocks of draws and whatever was cut before, and the generator is left where that leaves it."""
    text, ours, plain = " ".join(words * 3), np.random.default_rng(seed), np.random.default_rng(seed)
    assert tokenizer.encode(text, dropout, ours) == cut_plainly(tokenizer, text, dropout, plain)
    assert ours.random() == plain.random()


def test_full_dropout_leaves_bytes(tokenizer):
    ids = tokenizer.encode("a red seven", 1.0, np.random.default_rng(0))
    assert [number - FIRST_BYTE for number in ids] == list("a red seven".encode("utf-16-be"))


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE, ["aaaaaaa aaaa", "hahaha ahahah"] * 9])
def test_merges_equal_those_of_the_library_that_learnt_them(texts):
    """Our merging, written for its seeded dropout, segments as the `tokenizers` library does without it."""
    from tokenizers import Tokenizer, models

    def letters(piece: bytes) -> str:
        return "".join(chr(0x100 + value) for value in piece)

    tokenizer = TextTokenizer.train(texts, vocab_size=384)
    pieces = tokenizer.pieces
    library = Tokenizer(
        models.BPE(
            vocab={letters(piece): number for number, piece in enumerate(pieces) if piece},
            merges=[(letters(pieces[left]), letters(pieces[right])) for left, right in tokenizer.merges],
        )
    )
    for word in {word for text in [*texts, "aaa aaaaa", "ahaha haha"] for word in split_words(text)}:
        assert library.encode(letters(word.encode("utf-16-be"))).ids == tokenizer.encode(word)


def test_words_of_the_world_are_one_token(tokenizer):
    lengths = [len(tokenizer.encode(word)) for word in (" red", " seven", " top", " left", " yellow", " eight")]
    assert lengths == [1] * 6


@pytest.mark.parametrize("merges", [10, 25, 50])
def test_chinese_needs_no_more_tokens_than_utf8_bpe_with_as_many_merges(merges):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    ours = TextTokenizer.train(CHINESE, FIRST_BYTE + 256 + merges)
    peer = Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    peer.train_from_iterator(
        CHINESE, trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, min_frequency=2, show_progress=False)
    )
    for texts in (CHINESE, CHINESE_UNSEEN):
        characters = sum(map(len, texts))
        ours_per_character = sum(len(ours.encode(text)) for text in texts) / characters
        peers_per_character = sum(len(peer.encode(text).ids) for text in texts) / characters
        assert ours_per_character <= peers_per_character


def test_phrases_that_a_segmenter_splits_are_left_out_of_the_vocabulary():
    phrase = ["我们一起去公园散步"] * 50
    longest = max(len(piece) for piece in TextTokenizer.train(phrase, 400).pieces)
    assert 8 <= longest <= 10, "four Han characters of two bytes, and half a character at either end"
    whole = TextTokenizer.train(phrase, 400, segment=lambda text: [text])
    assert max(len(piece) for piece in whole.pieces) == 2 * len(phrase[0])
    latin = TextTokenizer.train(["incomprehensibly"] * 50, 400)
    assert latin.encode("incomprehensibly") == [latin.vocab_size - 1]


def test_layout_of_the_vocabulary(tokenizer):
    assert [getattr(tokenizer, name) for name in CONTROLS] == list(range(len(CONTROLS)))
    assert tokenizer.vocab_size == 384 == len(set(tokenizer.pieces)) + len(CONTROLS) - 1
    assert TextTokenizer().vocab_size == FIRST_BYTE + 256 == SMALLEST_VOCABULARY
    text = tokenizer.encode("a red seven")
    assert tokenizer.decode([tokenizer.sep, *text, tokenizer.eos]) == "a red seven"


def test_decoding_never_fails_on_bytes_that_are_no_text(tokenizer):
    ids = np.random.default_rng(0).integers(0, tokenizer.vocab_size, 500)
    assert isinstance(tokenizer.decode(ids), str)
    assert tokenizer.decode([FIRST_BYTE + 0xD8, FIRST_BYTE]) == "\ufffd"


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "text.json")
    loaded = TextTokenizer.load(tmp_path / "text.json")
    assert loaded.pieces == tokenizer.pieces
    assert loaded.merges == tokenizer.merges
    assert [path.name for path in tmp_path.iterdir()] == ["text.json"]


@pytest.mark.parametrize("content", ["not json", "[]", "{}", json.dumps({"format": "other", "controls": CONTROLS, "merges": []})])
def test_loading_something_else_names_the_file(tmp_path, content):
    (tmp_path / "text.json").write_text(content)
    with pytest.raises(ValueError, match=r"text\.json is not a text tokenizer"):
        TextTokenizer.load(tmp_path / "text.json")


def test_bad_arguments(tokenizer):
    with pytest.raises(ValueError, match="vocab_size 100"):
        TextTokenizer.train(ENGLISH, 100)
    with pytest.raises(ValueError, match="give rng"):
        tokenizer.encode("a", dropout=0.1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        tokenizer.encode("a", dropout=1.5)
    with pytest.raises(ValueError, match="half a surrogate pair"):
        tokenizer.encode("a \ud800")
    with pytest.raises(ValueError, match="outside the vocabulary"):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(ValueError, match="merge 0"):
        TextTokenizer([(3, 20)])


@pytest.mark.parametrize(("dropout", "floor"), [(0.0, 100_000), (0.1, 20_000)])
def test_speed(tokenizer, dropout, floor):
    import time

    rng = np.random.default_rng(0)
    start = time.process_time()
    tokens = sum(len(tokenizer.encode(text, dropout, rng)) for text in ENGLISH * 5)
    assert tokens / (time.process_time() - start) >= floor
