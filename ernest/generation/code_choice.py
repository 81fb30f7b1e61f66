"""Chooses the codes of a codec frame while the network runs: a level after each of its top layers."""

import torch
from torch import Tensor

from ernest.generation.row import Row
from ernest.generation.sampling import Draws, apply_cfg, choose_class
from ernest.model.decoding import log_probs


class CodeChoice:
    """Chooses the codes of a codec frame, level by level, for R rows and the unconditioned rows of their `twins`."""

    def __init__(self, rows: list[Row], draws: Draws, twins: list[int], end: int, levels: int) -> None:
        self.rows, self.draws, self.twins, self.end, self.levels = rows, draws, twins, end, levels
        self.is_ended = torch.tensor([row.predicts == "end of codes" for row in rows])
        self.codes: list[Tensor] = []
        self.log_p = self.own = 0.0

    def __call__(self, level: int, logits: Tensor) -> Tensor:
        """The end is decided by the first level, or by the row; the other levels follow it."""
        own = logits[: len(self.rows)]
        guided = own.clone()
        if self.twins:
            free = own.clone()
            free[self.twins] = logits[len(self.rows) :]
            guided = apply_cfg(own, free, self.draws)
        if level:
            guided[:, self.end] = -torch.inf
        code, log_p = choose_class(guided, self.draws)
        ended = self.codes[0] == self.end if level else self.is_ended.to(code.device)
        code, log_p = code.masked_fill(ended, self.end), log_p.masked_fill(ended, 0.0)
        self.codes.append(code)
        self.log_p = self.log_p + log_p
        self.own = self.own + log_probs(own, code)
        if level + 1 == self.levels:
            self._note()
        return torch.cat([code, code[self.twins]])

    def _note(self) -> None:
        assert isinstance(self.log_p, Tensor)
        assert isinstance(self.own, Tensor)
        codes = torch.stack(self.codes, dim=1).cpu()
        for row, chosen, log_p, own in zip(self.rows, codes, self.log_p.tolist(), self.own.tolist(), strict=True):
            row.chosen_codes = chosen, log_p, own
