"""Measures a tokenizer by itself: how like what comes back is to what went in, what of its codes is used, and how fast it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ernest.data.decoded import DecodedRecords
from ernest.evaluation.likeness import drawn_features, frechet_of_frames, pooled_features, psnr, ssim
from ernest.evaluation.measured import SHOWN, Measure, Pair, speeds, spread, timed
from ernest.evaluation.sounds import HeardSounds, measure_sounds
from ernest.tokenizers.standalone import PictureTokenizer, SoundTokenizer, Standalone, WordTokenizer, named

MOST_PICTURES, MOST_VIDEOS, MOST_TEXTS = 256, 32, 2000
"""What is measured at most."""
EVEN, DEAD = 0.1, 0.01
"""A bit is even that is set in a share of cells within this of a half, and dead that is set in less than this share or more than
all but it."""
USUAL_PACE = 8.0
"""Frames a second that count as real time of videos without a rate."""


@dataclass(frozen=True)
class TokenizerReport:
    """All that is told of a tokenizer."""

    title: str
    about: str
    measures: tuple[Measure, ...]
    pairs: tuple[Pair, ...]
    sample_rate: int
    facts: dict[str, str]


def measure_tokenizer(tokenizer: Standalone, decoded: DecodedRecords, source: str, judge: Path | None = None) -> TokenizerReport:
    """Everything about a tokenizer on media of `source` of its kind. `judge` is a trained judge: of pictures, whose features make
    up the Fréchet distance (without it, those of a network that was drawn), or of words, which are then counted as misheard."""
    if isinstance(tokenizer, PictureTokenizer):
        measures, pairs = _pictures(tokenizer, decoded, judge)
    elif isinstance(tokenizer, SoundTokenizer):
        measures, pairs = measure_sounds(tokenizer, _heard(decoded), judge)
    else:
        measures, pairs = _texts(tokenizer, decoded)
    about, media = tokenizer.about, tokenizer.media
    facts = {"kind": about.kind, "recipe": about.recipe, "fingerprint": about.fingerprint[:16], "measured on": source}
    facts["media"] = str(media)
    return TokenizerReport(named(about.kind).capitalize(), str(about), tuple(measures), tuple(pairs), media.sample_rate, facts)


# ------------------------------------------------------------------ pictures


def _pictures(tokenizer: PictureTokenizer, decoded: DecodedRecords, judge: Path | None) -> tuple[list[Measure], list[Pair]]:
    stills, videos = _arrays(decoded, "image", MOST_PICTURES), _arrays(decoded, "video", MOST_VIDEOS)
    frames = np.concatenate([*stills, *videos])
    alone = tokenizer.media.temporal_stride == 1  # each frame, so that one film can be made of all
    films = [frames] if alone else [*stills, *videos]
    coded, encoding = timed(lambda: [tokenizer.encode(film) for film in films])
    drawn, decoding = timed(lambda: _drawn(tokenizer, coded, films))
    rebuilt = np.concatenate(drawn)
    measures = [
        Measure("PSNR", psnr(frames, rebuilt), "dB", f"mean over {len(frames)} frames"),
        Measure("SSIM", ssim(frames, rebuilt), "", "1 is the same"),
    ]
    if len(frames) > 1:  # one has no spread
        measures.append(Measure("Fréchet distance", _frechet(frames, rebuilt, judge), "", _of(judge)))
    sizes = tokenizer.network.quantiser.sizes
    for scales, (rows, columns) in enumerate(sizes[:-1], 1):
        likeness = psnr(frames, np.concatenate(_drawn(tokenizer, coded, films, scales)))
        note = f"the first {scales} of {len(sizes)} scales"
        measures.append(Measure(f"PSNR up to {rows} x {columns} cells", likeness, "dB", note))
    size, pace = tokenizer.bits_a_frame / 8, tokenizer.media.frame_rate or USUAL_PACE
    note, spent = f"at {pace:g} frames a second", {"encoding": encoding, "decoding": decoding}
    measures += [
        *bit_use(np.concatenate(coded)),
        Measure("a frame", size, "bytes", f"{frames[0].nbytes / size:,.0f} times smaller than its pixels"),
        Measure("a second of video", size * pace, "bytes", note),
        *speeds(len(frames) / pace, spent, note, len(frames), "frames"),
    ]
    return measures, _beside(stills, videos, rebuilt)


def _arrays(decoded: DecodedRecords, kind: Literal["image", "video"], most: int) -> list[np.ndarray]:
    """At most `most` pictures or videos, uint8 `[frames, height, width, 3]` each; a picture is one frame."""
    return [np.array(decoded.arrays[kind][start:end]) for start, end in spread(list(decoded.captions(kind)), most)]


def _drawn(
    tokenizer: PictureTokenizer, coded: Sequence[np.ndarray], films: Sequence[np.ndarray], scales: int | None = None
) -> list[np.ndarray]:
    """What comes back of each film, by its first `scales` scales, without the frames that filled up its last group."""
    return [tokenizer.decode(bits, scales)[: len(film)] for bits, film in zip(coded, films, strict=True)]


def _beside(stills: Sequence[np.ndarray], videos: Sequence[np.ndarray], rebuilt: np.ndarray) -> list[Pair]:
    """Some pictures and videos, each beside its part of what came back, in which all of them lie one after the other."""
    ends = np.cumsum([len(one) for one in (*stills, *videos)])
    back = np.split(rebuilt, ends[:-1])
    pairs = [Pair(one[0], other[0], f"{psnr(one, other):.1f} dB") for one, other in zip(stills[:SHOWN], back, strict=False)]
    for film, other in zip(videos[: SHOWN // 2], back[len(stills) :], strict=False):
        pairs.append(Pair(film, other, f"{psnr(film, other):.1f} dB, {len(film)} frames"))
    return pairs


def bit_use(bits: np.ndarray) -> list[Measure]:
    """How often each bit is set, over cells of all frames bool `[frames, cells, bits]`: entropy, even bits, dead bits."""
    share = bits.reshape(-1, bits.shape[-1]).mean(0)
    inside = share[(share > 0) & (share < 1)]
    entropy = float(-(inside * np.log2(inside) + (1 - inside) * np.log2(1 - inside)).sum() / len(share))
    dead, even = ((share < DEAD) | (share > 1 - DEAD)).sum(), (abs(share - 0.5) <= EVEN).sum()
    return [
        Measure("bits used", entropy * len(share), "", f"of {len(share)} of a cell: the sum of their entropies"),
        Measure("even bits", float(even), "", f"of {len(share)}, set in {0.5 - EVEN:.0%} to {0.5 + EVEN:.0%} of the cells"),
        Measure(
            "dead bits",
            float(dead),
            "",
            f"of {len(share)}, set in less than {DEAD:.0%} of the cells, or more than {1 - DEAD:.0%}",
        ),
    ]


def _frechet(frames: np.ndarray, rebuilt: np.ndarray, judge: Path | None) -> float:
    from ernest.verifiers.vision import load_digit_judge

    features = drawn_features(frames) if judge is None else pooled_features(load_digit_judge(judge))
    return frechet_of_frames(frames, rebuilt, features)


def _of(judge: Path | None) -> str:
    return "of features of an LCNet with drawn weights" if judge is None else f"of features of the LCNet {judge}"


# ------------------------------------------------------------------ sounds


def _heard(decoded: DecodedRecords) -> HeardSounds:
    captions = decoded.captions("audio")
    return HeardSounds([np.array(decoded.arrays["audio"][start:end]) for start, end in captions], list(captions.values()))


# ------------------------------------------------------------------ texts


def _texts(tokenizer: WordTokenizer, decoded: DecodedRecords) -> tuple[list[Measure], list[Pair]]:
    texts = spread([segment.data for record in decoded for segment in record.segments], MOST_TEXTS)
    ids, encoding = timed(lambda: [tokenizer.encode(text) for text in texts])
    back, decoding = timed(lambda: [tokenizer.decode(one) for one in ids])
    tokens, characters = sum(map(len, ids)), sum(map(len, texts))
    size, utf8 = tokenizer.network.vocab_size, sum(len(text.encode()) for text in texts)
    used = len(np.unique(np.concatenate(ids)))
    same = sum(one == other for one, other in zip(texts, back, strict=True))
    measures = [
        Measure("characters a token", characters / tokens, "", f"over {len(texts):,} texts"),
        Measure("bytes a token", utf8 / tokens, "", "of UTF-8"),
        Measure("came back", 100 * same / len(texts), "%", "texts that are the same again"),
        Measure("ids used", used, "", f"of {size:,}"),
        Measure("encoding", utf8 / 1e6 / encoding, "MB/s", "of a process"),
        Measure("decoding", utf8 / 1e6 / decoding, "MB/s", "of a process"),
    ]
    shown = [
        Pair(text, " · ".join(tokenizer.network.decode([i]) for i in one), f"{len(one)} tokens")
        for text, one in zip(texts, ids, strict=True)
    ]
    return measures, shown[:SHOWN]
