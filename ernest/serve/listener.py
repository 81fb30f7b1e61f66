"""Turns the engine's events into news of a work: text as it grows, pictures scale by scale, and segments when they are whole.

Runs on the model thread. What is to be drawn and played is gathered first, so that all of a step is decoded in one batch.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ernest.generation.engine import Engine
from ernest.generation.request import Answer, Event
from ernest.generation.text_states import WHOLE
from ernest.serve.work import Ending, Made, Token, Update, Work


class Listener:
    """Follows the samples of one work."""

    def __init__(self, work: Work, engine: Engine) -> None:
        self.samples = [_Sample(work, engine, number) for number in range(work.samples)]

    def hear(self, event: Event) -> list[Update]:
        """What an event says to the asker; sums and codes are not decoded yet."""
        return self.samples[event.sample].hear(event)

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be told, though the engine may still be at work."""
        return all(sample.ended for sample in self.samples)


class _Sample:
    def __init__(self, work: Work, engine: Engine, number: int) -> None:
        self.work, self.tokenizers, self.states, self.number = work, engine.tokenizers, engine.states, number
        self.codes: list[Tensor] = []
        self.texts: list[str] = []
        self.text: _Text | None = None
        self.choices = 0
        self.cut: Ending | None = None
        self.ended = False

    def hear(self, event: Event) -> list[Update]:
        if self.ended:
            return []
        if event.answer is not None:
            return self._end(event.answer)
        self.choices += 1
        updates = self._take(event)
        if self.work.experts and event.experts is not None and updates:
            updates[-1] = replace(updates[-1], experts=event.experts)
        if self.text is not None and self.text.cut is not None and self.work.kinds == ("text",):
            updates += self._finish(self.text.cut, [Made("text", self.text.whole)])
        return updates

    def _take(self, event: Event) -> list[Update]:
        if event.group == "token" and self.tokenizers.text.pieces[event.value]:
            return self._take_text(event)
        updates = self._close_text()
        if event.group == "bits":
            updates += self._take_bits(event)
        elif event.group == "codes":
            updates += self._take_codes(event)
        return updates

    # -------------------------------------------------------------- text

    def _take_text(self, event: Event) -> list[Update]:
        if self.text is None:
            self.text = _Text(self.work)
        spelled = self.tokenizers.text.pieces[event.value]
        whole = self.text.state = int(self.states.after[self.text.state, event.value])
        return self._told(self.text.take(Token(spelled, event.log_likelihood), whole == WHOLE))

    def _close_text(self) -> list[Update]:
        if self.text is None:
            return []
        updates = self._told(self.text.rest())
        self.texts.append(self.text.whole)
        self.cut = self.cut or self.text.cut
        self.text = None
        return updates

    def _told(self, added: tuple[str, tuple[Token, ...]]) -> list[Update]:
        text, tokens = added
        if "text" not in self.work.watch or not (text or tokens):
            return []
        return [Update(self.number, "text", text, tokens)]

    # -------------------------------------------------------------- pictures and sounds

    def _take_bits(self, event: Event) -> list[Update]:
        kind = "video" if self.work.kinds is None or "video" in self.work.kinds else "image"
        if kind not in self.work.watch and "image" not in self.work.watch:
            return []
        assert event.total is not None
        is_drawn = self.work.scales is None or event.scale < self.work.scales
        if event.scale and not is_drawn:
            return []
        made = (Made("image", event.total[None]),) if is_drawn else ()
        return [Update(self.number, "picture", made=made, frame=event.frame, scale=event.scale)]

    def _take_codes(self, event: Event) -> list[Update]:
        if "audio" not in self.work.watch or int(event.value[0]) == self.tokenizers.audio.config.codebook:
            return []
        self.codes.append(event.value)
        made = Made("audio", torch.stack(self.codes))
        return [Update(self.number, "sound", made=(made,), frame=len(self.codes) - 1)]

    # -------------------------------------------------------------- the end

    def _end(self, answer: Answer) -> list[Update]:
        updates = self._close_text()
        texts = iter(self.texts)
        made = [Made(one.kind, next(texts, "") if one.kind == "text" else one.value) for one in answer.segments]
        return updates + self._finish("length" if answer.end == "length" or self.cut == "length" else "stop", made)

    def _finish(self, ending: Ending, made: Sequence[Made]) -> list[Update]:
        self.ended = True
        return [Update(self.number, "end", made=tuple(made), ending=ending, choices=self.choices)]


class _Text:
    """A text as it grows: nothing is told of half a character, nor of what may be the beginning of a stop word."""

    def __init__(self, work: Work) -> None:
        self.stop, self.most = work.stop, work.max_tokens
        self.state, self.count, self.told = WHOLE, 0, 0
        self.whole, self.open = "", b""
        self.tokens: list[Token] = []
        self.cut: Ending | None = None

    def take(self, token: Token, is_whole: bool) -> tuple[str, tuple[Token, ...]]:
        """What can be told now."""
        if self.cut is not None:
            return "", ()
        self.count += 1
        self.open += token.spelled
        self.tokens.append(token)
        if is_whole:
            self.whole, self.open = self.whole + self.open.decode("utf-16-be"), b""
            found = [place for word in self.stop if (place := self.whole.find(word)) >= 0]
            if found:
                self.whole, self.cut = self.whole[: min(found)], "stop"
        if self.cut is None and self.count == self.most:
            self.cut = "length"
        return self._tell(len(self.whole) if self.cut else len(self.whole) - held_back(self.whole, self.stop))

    def rest(self) -> tuple[str, tuple[Token, ...]]:
        return self._tell(len(self.whole))

    def _tell(self, until: int) -> tuple[str, tuple[Token, ...]]:
        if until <= self.told and not (self.cut and self.tokens):
            return "", ()
        added, self.told = self.whole[self.told : until], max(until, self.told)
        tokens, self.tokens = tuple(self.tokens), []
        return added, tokens


def held_back(text: str, stop: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop word."""
    longest = min(len(text), max(map(len, stop), default=1) - 1)
    return next((n for n in range(longest, 0, -1) if any(word.startswith(text[-n:]) for word in stop)), 0)


def decode(engine: Engine, updates: Sequence[Update]) -> list[Update]:
    """Draws and plays what updates hold as sums and codes, each in one batch."""
    parts = [made for update in updates for made in update.made]
    drawn = [made for made in parts if made.kind in ("image", "video")]
    played = [made for made in parts if made.kind == "audio"]
    done: dict[int, Any] = {}
    rate = engine.tokenizers.media.sample_rate
    for made, frames in zip(drawn, engine.draw([made.data for made in drawn]), strict=True):
        done[id(made)] = frames if made.kind == "video" else frames[0]
    for made, wave in zip(played, engine.play([made.data for made in played]), strict=True):
        done[id(made)] = wave
    return [
        replace(one, made=tuple(Made(made.kind, done.get(id(made), made.data), rate) for made in one.made)) if one.made else one
        for one in updates
    ]
