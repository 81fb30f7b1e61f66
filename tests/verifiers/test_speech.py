"""The judge of spoken words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.sequence.record import Record, made
from ernest.verifiers.speech import CANVAS, WordJudge, verify_word
from ernest.verifiers.training import train_word_judge
from ernest.world.speech import VOICES, WORDS, speech
from ernest.world.split import HELD_OUT


@pytest.fixture(scope="module")
def judge() -> WordJudge:
    """A judge of three words and two voices, trained for seconds."""
    clips = [speech(9, index, VOICES[:2], WORDS[:3]) for index in range(90)]
    return train_word_judge([clip.wave for clip in clips], [clip.word for clip in clips], 40, 0, lambda *_: None)


def test_it_knows_words_in_draws_it_never_heard(judge: WordJudge) -> None:
    clips = [speech(0, HELD_OUT + index, VOICES[:2], WORDS[:3]) for index in range(30)]
    right = [said == clip.word for said, clip in zip(judge.judge([clip.wave for clip in clips]), clips, strict=True)]
    assert np.mean(right) > 0.8


def test_a_verdict_does_not_depend_on_the_batch_nor_on_silence_after_the_word(judge: WordJudge) -> None:
    waves = [speech(0, index, VOICES[:2], WORDS[:3]).wave for index in range(6)]
    together = judge.judge(waves)
    assert [judge.judge([wave])[0] for wave in waves] == together
    assert judge.judge([np.pad(wave, (0, 20000)) for wave in waves]) == together
    assert judge.judge([]) == []
    assert max(len(wave) for wave in waves) <= CANVAS * 160


def test_another_default_type_of_numbers_changes_nothing_and_whole_numbers_are_refused(judge: WordJudge) -> None:
    wave = speech(0, 1, VOICES[:2], WORDS[:3]).wave
    before = judge.judge([wave])
    torch.set_default_dtype(torch.float64)
    try:
        assert judge.judge([wave]) == before
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(ValueError, match="wave 0: expected finite float samples"):
        judge.judge([(32768 * wave).astype(np.int16)])


def test_saved_and_loaded_it_judges_the_same(judge: WordJudge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge.safetensors")
    waves = [speech(1, index).wave for index in range(8)]
    assert WordJudge.load(tmp_path / "judge.safetensors").judge(waves) == judge.judge(waves)


def test_words_it_cannot_know_are_named() -> None:
    with pytest.raises(ValueError, match="not eleven"):
        train_word_judge([np.zeros(700, np.float32)], ["eleven"], 1, 0, lambda *_: None)
    with pytest.raises(ValueError, match="got 1 clips and 0 words"):
        train_word_judge([np.zeros(700, np.float32)], [], 1, 0, lambda *_: None)


def test_a_word_heard_as_its_rhyme_does_not_pass() -> None:
    class Rhymes(WordJudge):
        """Hears five for nine."""

        def judge(self, waves):
            return [{1: "nine", 2: "five"}[len(wave)] for wave in waves]

    verify = verify_word(Rhymes())
    record = Record((made("text", "?"),), facts={"word": "nine"})
    assert verify(record, [made("audio", np.zeros(1, np.float32))]).passed
    verdict = verify(record, [made("audio", np.zeros(2, np.float32))])
    assert (verdict.passed, verdict.score, verdict.reason) == (False, 0.0, "word: expected 'nine', found 'five'")
    assert not verify(record, []).passed
