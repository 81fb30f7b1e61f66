"""Lays tokenised segments out as a sequence of groups: the input, the target and the position (t, h, w) at every index.

A *group* is what the model predicts in one step (ERNIE 5.0 §2.1): one text token, one scale of one frame, the residual
codes of one codec frame. Segments that are given have groups too: the patches of an image, of four video frames.

The two rows of the report's Fig. 2, for two scales of 1 and 2 cells and a video of two frames:

    input :  T  BOI  I  I  EOI SEP  T  BOI s1 s1 SΣ  EOI  T  BOV  f1s1 f1s1 f1Σ   f2s1 f2s1 f2Σ  EOV
    target: BOI  -   - EOI SEP  T  BOI S1  S2 S2 EOI  T  BOV F1S1 F1S2 F1S2 F2S1  F2S2 F2S2 EOV   T

`BOI` and `BOV` predict scale 1 of the first frame. The cells of scale k+1 carry the sum of the frame's earlier scales and
predict scale k+1. `SΣ` carries the sum of all scales and predicts scale 1 of the next frame, or the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TEXT, PATCH, CELL, CODE, VOICE = 0, 1, 2, 3, 4
"""What a position carries: a token of the text vocabulary, a merged patch, a cell of a scale, one codec frame, a voice."""
CLIP = 4
"""Frames of a given video that are merged to one position, after the first."""


@dataclass(frozen=True)
class ControlTokens:
    """Ids of the control tokens in the text vocabulary. The end of audio is a class of the audio heads instead."""

    eos: int
    boi: int
    eoi: int
    bov: int
    eov: int
    boa: int
    sep: int
    cont: int


@dataclass(frozen=True)
class TextTokens:
    """A text, given or made, as token ids."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class PatchTokens:
    """A given image (one frame) or video: `grid` merged patches per temporal group, the first of 1 frame, later ones of 4."""

    frames: int
    grid: tuple[int, int]
    video: bool

    @property
    def clips(self) -> int:
        """Temporal groups: frame 0 alone, then four frames each."""
        return 1 + -(-(self.frames - 1) // CLIP)


@dataclass(frozen=True)
class ScaleTokens:
    """A made image or video: every frame is coded in `scales`, coarse to fine. An open video predicts no end."""

    frames: int
    scales: tuple[tuple[int, int], ...]
    video: bool
    open: bool = False

    @property
    def cells(self) -> int:
        """Cells of all scales of a frame, which is also the number of positions that a frame takes."""
        return sum(h * w for h, w in self.scales)


@dataclass(frozen=True)
class CodeTokens:
    """Audio of `frames` codec frames."""

    frames: int


@dataclass(frozen=True)
class VoiceTokens:
    """A voice, by one embedding in the context (ERNIE 5.0 §2.3.2): how what follows is to sound."""


Tokens = TextTokens | PatchTokens | ScaleTokens | CodeTokens | VoiceTokens


@dataclass(frozen=True)
class Layout:
    """One document as arrays over its positions, `[positions]` each.

    `source` says what a position carries and `content` where: a token id, or a row of the document's patches, cells,
    codec frames or voices. The three targets are independent, since `SΣ` predicts both a token and a scale: `token_target` is a
    token id, `cell_target` the first row of the bits and `code_target` a codec frame (the end of audio is the frame after
    the last); -1 is none. `weight` is 1 where the target belongs to a segment that is made and 0 elsewhere.
    `position` is (t, h, w) of Uni-RoPE (§2.2.3).
    """

    source: np.ndarray
    content: np.ndarray
    token_target: np.ndarray
    cell_target: np.ndarray
    code_target: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


def lay_out(segments: Sequence[tuple[Tokens, bool]], control: ControlTokens) -> Layout:
    """The layout of a document of (tokens, made) segments.

    Raises ValueError for a first scale of more than one cell, which no single begin token could predict.
    """
    builder = _Builder(control)
    for index, (tokens, made) in enumerate(segments):
        if isinstance(tokens, TextTokens):
            builder.text(tokens, made, index)
            following = segments[index + 1][0] if index + 1 < len(segments) else None
            if isinstance(following, TextTokens):
                builder.token(control.sep, made)
        elif isinstance(tokens, PatchTokens):
            builder.patches(tokens)
        elif isinstance(tokens, ScaleTokens):
            builder.scales(tokens, made)
        elif isinstance(tokens, VoiceTokens):
            builder.voice()
        else:
            builder.codes(tokens, made)
    if not (isinstance(segments[-1][0], ScaleTokens) and segments[-1][0].open):
        builder.expect_token(control.eos, segments[-1][1])
    return builder.layout()


class _Builder:
    """Appends positions; the target of a token is written to the position before it."""

    def __init__(self, control: ControlTokens) -> None:
        self.control = control
        self.rows: list[list[float]] = []  # source, content, token target, cell target, code target, weight, group, t, h, w
        self.groups = 0
        self.count = {PATCH: 0, CELL: 0, CODE: 0, VOICE: 0}

    def text(self, tokens: TextTokens, made: bool, index: int) -> None:
        if index == 0 and made:  # a document that opens with made text needs something to predict its first token from
            self.token(self.control.sep, False)
        for token in tokens.ids:
            self.token(token, made)

    def token(self, token: int, made: bool) -> None:
        self.expect_token(token, made)
        self._append(TEXT, token, self._here())

    def expect_token(self, token: int, made: bool) -> None:
        if self.rows:
            self.rows[-1][2] = token
            self.rows[-1][5] = float(made)

    def patches(self, tokens: PatchTokens) -> None:
        height, width = tokens.grid
        begin, end = (self.control.bov, self.control.eov) if tokens.video else (self.control.boi, self.control.eoi)
        start = len(self.rows)
        self.token(begin, False)
        for clip in range(tokens.clips):
            positions = [(start + clip, start + y, start + x) for y in range(height) for x in range(width)]
            self._group(PATCH, positions)
        self.token(end, False)
        self.token(self.control.sep, False)

    def scales(self, tokens: ScaleTokens, made: bool) -> None:
        if tokens.scales[0] != (1, 1):
            raise ValueError(f"the first scale must be a single cell, got {tokens.scales[0]}")
        start = len(self.rows)
        self.token(self.control.bov if tokens.video else self.control.boi, made)
        target = self.count[CELL]
        for frame in range(tokens.frames):
            self._expect_cells(1, target, made)
            target += 1
            for scale in tokens.scales[1:]:
                self._group(CELL, [(start + frame, start + y, start + x) for y, x in centred(scale, tokens.scales[-1])])
                self._expect_cells(scale[0] * scale[1], target, made)
                target += scale[0] * scale[1]
            ((y, x),) = centred((1, 1), tokens.scales[-1])
            self._group(CELL, [(start + frame + 1, start + y, start + x)])
            if frame + 1 < tokens.frames:
                self.expect_token(self.control.cont, made)
        if not tokens.open:
            self.token(self.control.eov if tokens.video else self.control.eoi, made)

    def codes(self, tokens: CodeTokens, made: bool) -> None:
        self.token(self.control.boa, made)
        for _ in range(tokens.frames + 1):  # the last one is the end of audio
            self._expect_codes(self.count[CODE], made)
            self._group(CODE, [self._here()])

    def voice(self) -> None:
        self._group(VOICE, [self._here()])

    def _expect_cells(self, cells: int, target: int, made: bool) -> None:
        """The last `cells` positions predict the bits from row `target` on."""
        for offset, row in enumerate(self.rows[-cells:]):
            row[3], row[5] = target + offset, float(made)

    def _expect_codes(self, target: int, made: bool) -> None:
        self.rows[-1][4], self.rows[-1][5] = target, float(made)

    def _here(self) -> tuple[float, float, float]:
        """Text and audio: t = h = w = the literal index in the sequence (§2.2.3)."""
        here = len(self.rows)
        return here, here, here

    def _append(self, source: int, content: int, position: tuple[float, float, float]) -> None:
        self.rows.append([source, content, -1, -1, -1, 0.0, self.groups, *position])
        self.groups += 1

    def _group(self, source: int, positions: Sequence[tuple[float, float, float]]) -> None:
        """Positions that see each other."""
        for position in positions:
            self.rows.append([source, self.count[source], -1, -1, -1, 0.0, self.groups, *position])
            self.count[source] += 1
        self.groups += 1

    def layout(self) -> Layout:
        table = np.array(self.rows, dtype=np.float64)
        source, content, token, cell, code = table[:, :5].astype(np.int64).T
        return Layout(
            source, content, token, cell, code, table[:, 5].astype(np.float32), table[:, 6].astype(np.int64), table[:, 7:]
        )


def centred(scale: tuple[int, int], finest: tuple[int, int]) -> list[tuple[float, float]]:
    """Centres of the cells of a scale on the finest grid, row by row: y = (i + 1/2) H / H_k - 1/2 (§2.2.3)."""
    (rows, columns), (height, width) = scale, finest
    return [((i + 0.5) * height / rows - 0.5, (j + 0.5) * width / columns - 0.5) for i in range(rows) for j in range(columns)]
