"""The text tokenizer for transformers, and what keeps a text whole while `generate` makes it."""

# pyright: reportMissingImports=false

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AddedToken, LogitsProcessor, PreTrainedTokenizer

from ernest.generation.text_states import BROKEN, WHOLE, TextStates
from ernest.tokenizers.text import CONTROLS, TextTokenizer

FILE = "text.json"


class ErnestTokenizer(PreTrainedTokenizer):
    """`TextTokenizer` behind transformers' interface: a token of the vocabulary is spelt by its bytes in hexadecimal, a control
    token by its name in angle brackets. What looks like a control token in a text is text."""

    vocab_files_names = {"vocab_file": FILE}  # noqa: RUF012 (transformers reads a dict)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012
    padding_side = "left"

    def __init__(self, vocab_file: str, **kwargs: object) -> None:
        self.text = TextTokenizer.load(vocab_file)
        controls = [f"<{name}>" for name in CONTROLS]
        self._added_tokens_decoder = {id: AddedToken(name, special=True, normalized=False) for id, name in enumerate(controls)}
        self._spelled = [*controls, *(piece.hex() for piece in self.text.pieces[len(controls) :])]
        self._ids = {name: id for id, name in enumerate(self._spelled)}
        named = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<sep>", "sep_token": "<sep>"}
        kwargs = {"extra_special_tokens": controls, "split_special_tokens": True, "padding_side": "left"} | named | kwargs
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return self.text.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Ids by spelling."""
        return dict(self._ids)

    def _tokenize(self, text: str, **kwargs: object) -> list[str]:
        return [self._spelled[id] for id in self.text.encode(text)]

    def _convert_token_to_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self._spelled[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens, with control tokens by their names."""
        text, ids = "", []
        for token in tokens:
            id = self._ids[token]
            if id < len(CONTROLS):
                text, ids = text + self.text.decode(ids) + token, []
            else:
                ids.append(id)
        return text + self.text.decode(ids)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        """Writes the tokenizer; the library would keep beside it that it was loaded from a folder here."""
        for name in ("is_local", "local_files_only"):
            self.init_kwargs.pop(name, None)
        return super().save_pretrained(*args, **kwargs)

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str]:
        """Writes the merges."""
        file = Path(save_directory) / (f"{filename_prefix}-{FILE}" if filename_prefix else FILE)
        self.text.save(file)
        return (str(file),)


class WholeText(LogitsProcessor):
    """Leaves to each row, `[rows, vocabulary]`, the tokens that keep its text whole and let it end within `longest` positions, as
    the engine does: no control token but the end, and that only where no character is half made.

    A text begins behind the last control token: what `generate` is given may end within a character, as the drafts of an
    assistant do."""

    def __init__(self, states: TextStates, eos: int, longest: int) -> None:
        self.states, self.eos, self.longest = states, eos, longest
        self._seen = torch.zeros(0, 0, dtype=torch.long)
        self._of_row: list[int] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        left = self.longest - input_ids.shape[1] - 1
        allowed = torch.stack([self._allowed(state, left, scores.shape[1]) for state in self._states(input_ids)])
        return scores.masked_fill(~allowed.to(scores.device), -torch.inf)

    def _states(self, input_ids: Tensor) -> list[int]:
        """The state of each row's text; one more token is the usual case, and rows in another order come from a search."""
        before = input_ids[:, :-1]
        if before.shape == self._seen.shape and torch.equal(before, self._seen):
            new = input_ids[:, -1:]
        else:
            self._of_row, new = [WHOLE] * len(input_ids), input_ids
        for row, tokens in enumerate(new.tolist()):
            for token in tokens:
                if token < len(CONTROLS):
                    self._of_row[row] = WHOLE
                elif self._of_row[row] != BROKEN:
                    self._of_row[row] = int(self.states.after[self._of_row[row], token])
        self._seen = input_ids
        return self._of_row

    def _allowed(self, state: int, left: int, vocabulary: int) -> Tensor:
        if state == BROKEN:  # was given so
            return torch.ones(vocabulary, dtype=torch.bool)
        if state != WHOLE:
            return self.states.allowed(state, left)
        allowed = self.states.allowed(state, left).clone()
        allowed[self.eos] = True
        return allowed
