"""Chooses the codes of a codec frame while the network runs: a level after each of its top layers."""

import torch
from torch import Tensor

from ernest.device import HOST
from ernest.generation.row import ChosenCodes, Row
from ernest.generation.sampling import Draws, apply_cfg, choose_class
from ernest.model.decoding import log_probs


class CodeChoice:
    """Chooses the codes of a codec frame, level by level, for R rows and the unconditioned rows of their `twins`."""

    def __init__(self, rows: list[Row], draws: Draws, twins: list[int], end: int, levels: int) -> None:
        self.rows, self.draws, self.end, self.levels = rows, draws, end, levels
        self.fed = torch.tensor([*range(len(rows)), *twins], device=HOST)
        self.free = torch.arange(len(rows), device=HOST)
        self.free[twins] = torch.arange(len(rows), len(self.fed), device=HOST)
        self.numbers = draws.uniform((levels,), torch.device(HOST)).numpy()
        self.is_ended = torch.tensor([row.predicts == "end of codes" for row in rows], device=HOST)
        self.begun = {n: row.recall() for n, row in enumerate(rows) if row.predicts == "codes" and row.begun}
        self.codes: list[Tensor] = []
        self.log_p: list[Tensor] = []
        self.own = torch.zeros(len(rows), dtype=torch.float32, device=HOST)

    def __call__(self, level: int, logits: Tensor) -> Tensor:
        """The end is decided by the first level, or by the row; the other levels follow it."""
        own = logits[: len(self.rows)]
        guided = own.clone() if len(self.fed) == len(own) else apply_cfg(own, logits[self.free], self.draws)
        if level:
            guided[:, self.end] = -torch.inf
        code, log_p = choose_class(guided, self.draws, self.numbers[:, level])
        for n, chosen in self.begun.items():
            code[n] = int(chosen[level])
        ended = self.codes[0] == self.end if level else self.is_ended.to(code.device)
        code, log_p = code.masked_fill(ended, self.end), log_p.masked_fill(ended, 0.0)
        self.codes.append(code)
        self.log_p.append(log_p)
        self.own = self.own + log_probs(own, code).cpu()
        if level + 1 == self.levels:
            self._note()
        return code[self.fed]

    def _note(self) -> None:
        codes, elements = (torch.stack(part, dim=1).cpu() for part in (self.codes, self.log_p))
        told = zip(elements.sum(1).tolist(), self.own.tolist(), (codes[:, 0] == self.end).tolist(), strict=True)
        for n, (row, chosen, of_codes, sums) in enumerate(zip(self.rows, codes, elements, told, strict=True)):
            row.chosen_codes = ChosenCodes(chosen, of_codes, *sums, n in self.begun)
