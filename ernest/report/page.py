"""Writes the report as one HTML file without outside parts, for light and dark, wide and narrow screens."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ernest.evaluation.results import BEFORE, Findings, Sample
from ernest.evaluation.routing import max_violation, normalised_entropy
from ernest.report import charts, media, tables
from ernest.report.document import document, facts_list, plain_table
from ernest.storage import write_text

GENERATED_KINDS = {
    "picture made": ("Pictures from words", "A judge reads the digit; colour and place are read exactly."),
    "speech made": ("Speech from words", "The spectrogram shows low notes at the bottom and time to the right."),
    "video made": ("Video from words", "Each as a film and frame by frame; the energy of a physical one must fall."),
    "video continued": ("Video from its first frame", "The first frame is given, the other eight are made."),
}
UNDERSTOOD = {
    "picture described": ("Pictures read", "A held-out picture, and what the model says it is."),
    "speech heard": ("Speech heard", "Draws and voices that were never heard in training."),
    "video described": ("Video watched", "A held-out video, and what the model says happens."),
    "text": ("Text alone", "Questions with exact answers, and text that is continued."),
}
OWN_READ = {"read": ("Your files, read", "Held-out files, and what the model says of each.")}
OWN_MADE = {
    "drawn": ("Drawn from what is given", "For texts of held-out records; nothing judges these but your eyes."),
    "spoken": ("Sounds from what is given", "For texts of held-out records; nothing judges these but your ears."),
}
UNTRAINED = {"untrained": ("Directions never trained", "No record ever joined these kinds; what comes out is shown as it is.")}


def write_report(path: Path, findings: Findings) -> None:
    """Writes the report to `path`; an older one stays until the new one is whole."""
    write_text(path, page(findings))


def page(findings: Findings) -> str:
    """The report as HTML text. A section that has nothing to show is left out."""
    made, understood = GENERATED_KINDS | OWN_MADE, UNDERSTOOD | OWN_READ
    known = {**made, **understood, **UNTRAINED}
    others = {s.kind: (s.kind.capitalize(), "") for s in findings.samples if s.kind not in known}
    sections = {
        "Scores": _scores(findings),
        "What it makes": gallery(findings.samples, made),
        "What it understands": gallery(findings.samples, understood),
        "Beyond training": gallery(findings.samples, UNTRAINED | others),
        "How it learned": _learning(findings),
        "One training, many sizes": _sizes(findings),
        "Who uses which expert": _experts(findings),
        "Where the time went": _time(findings),
        "The run": facts_list(findings.facts),
    }
    return document(findings.title, _summary(findings), sections)


def _summary(findings: Findings) -> str:
    judged = any(score.ok is not None for score in findings.scores)
    parts = [f"{tables.headline(findings).capitalize() if judged else 'Scored'}, on records held out from training."]
    wall = sum(stage.wall for stage in findings.stages if not stage.within)
    if wall:
        threads = f"{findings.threads} processor{'s' if findings.threads > 1 else ''}"
        parts.append(f"Everything below was made, trained and measured in {_duration(wall)} on {threads}.")
    return " ".join(parts)


def _scores(findings: Findings) -> str:
    if not findings.scores:
        return ""
    return f'{tables.html_table(findings)}<p class="small">{_legend(findings)}</p>'


def _legend(findings: Findings) -> str:
    """What the table's columns are, of those that are there."""
    shown = {name for name, _ in tables.columns_beside(findings)}
    words = [
        ("bar", "The line on a track, which runs from 0 to 1, is the bar."),
        ("rebuilt", "The ring is the score of true records after the tokenizers, about as far as the model can get."),
        (BEFORE, "Before: the model from which the training went on."),
        ("rebuilt", "True and rebuilt: the verifier’s word on true records, and on them after the tokenizers."),
    ]
    parts = [line for name, line in words if name in shown]
    if set(tables.submodels(findings)) - {BEFORE}:
        parts.append("Beside the score stand sub-models, cut from the same weights.")
    return " ".join(parts)


# ------------------------------------------------------------------ samples


def gallery(samples: Sequence[Sample], kinds: Mapping[str, tuple[str, str]]) -> str:
    """Cards of samples, under the title and the words of their kind."""
    parts = []
    for kind, (title, about) in kinds.items():
        listed = [sample for sample in samples if sample.kind == kind]
        if not listed:
            continue
        verdicts = [sample.correct for sample in listed if sample.correct is not None]
        count = f'<span class="count">{sum(verdicts)} of {len(verdicts)} correct</span>' if verdicts else ""
        size = "words" if all(s.pixels is None and s.wave is None for s in listed) else _size(listed[0])
        cards = "".join(map(_card, listed))
        parts.append(f'<h3>{escape(title)} {count}</h3><p class="small">{escape(about)}</p>')
        parts.append(f'<div class="cards {size}">{cards}</div>')
    return "".join(parts)


def _size(sample: Sample) -> str:
    return "narrow" if sample.pixels is not None and sample.pixels.ndim == 3 and sample.wave is None else "wide"


def _card(sample: Sample) -> str:
    """A sample with its media above its words; every part is there only if the sample has it."""
    parts = []
    alt = escape(sample.text or sample.prompt, quote=True)
    if sample.pixels is not None and sample.pixels.ndim == 3:
        parts.append(f'<img class="pixels" src="{media.picture(sample.pixels)}" alt="{alt}">')
    if sample.pixels is not None and sample.pixels.ndim == 4:
        parts.append(_film(sample.pixels, alt, _energy(sample)))
    if sample.wave is not None:
        parts.append(f'<img class="mel" src="{media.spectrogram(sample.wave, sample.sample_rate)}" alt="spectrogram">')
        if sample.pixels is not None:
            parts = [f'<div class="film">{"".join(parts)}</div>']
        parts.append(f'<audio controls preload="none" src="{media.sound(sample.wave, sample.sample_rate)}"></audio>')
    words = [
        f'<p class="prompt">{escape(sample.prompt)}</p>' if sample.prompt else "",
        f'<p class="answer">{escape(sample.text)}</p>' if sample.text is not None else "",
        f'<p class="small">{escape(sample.note)}</p>' if sample.note else "",
    ]
    return f'<figure class="card">{"".join(parts)}<figcaption>{_mark(sample.correct)}{"".join(words)}</figcaption></figure>'


def _film(frames: np.ndarray, alt: str, energy: str) -> str:
    """A video as it moves; beside it the energy, with the frames below, or else the frames in rows of three."""
    film = f'<img class="pixels" src="{media.video(frames)}" alt="{alt}">'
    columns = len(frames) if energy else 3
    still = f'<img class="pixels still" src="{media.sheet(frames, columns)}" alt="the frames side by side">'
    return f'<div class="film">{film}{energy}</div>{still}' if energy else f'<div class="film">{film}{still}</div>'


def _mark(correct: bool | None) -> str:
    if correct is None:
        return ""
    kind, word = ("ok", "correct") if correct else ("missed", "wrong")
    return f'<span class="mark {kind}" role="img" aria-label="{word}" title="{word}">{tables.MARKS[correct]}</span>'


def _energy(sample: Sample) -> str:
    """The energy of a video as a small curve, and whether it obeys its law."""
    if sample.curve is None or len(sample.curve) < 2:
        return ""
    share = np.asarray(sample.curve, float) / max(float(sample.curve[0]), 1e-12)
    top = max(1.0, float(share.max()))
    x, y = np.linspace(4, 116, len(share)), 60 - 54 * share / top
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    law = {True: "obeys the energy law", False: "breaks the energy law", None: ""}[sample.obeys_energy_law]
    return (
        f'<div class="energy"><svg viewBox="0 0 120 64" role="img" aria-label="energy of the frames">'
        f'<path d="M4 60H116"/><polyline points="{points}"/><circle cx="{x[-1]:.1f}" cy="{y[-1]:.1f}" r="3"/></svg>'
        f'<p class="small">energy ends at {100 * share[-1]:.0f} %<br>{_mark(sample.obeys_energy_law)} {law}</p></div>'
    )


# ------------------------------------------------------------------ charts and tables


def _learning(findings: Findings) -> str:
    svgs = charts.losses(findings.metrics)
    pace = charts.speed(findings.metrics)
    if pace is not None:
        svgs["Speed"] = pace
    last = max((entry["step"] for entry in findings.metrics), default=0) + 1
    words = f"Loss on the training mixture over {last:,.0f} steps; faint is every step, the line its running mean."
    return f'<p class="small">{words}</p>{grid(svgs)}' if svgs else ""


def _sizes(findings: Findings) -> str:
    svgs = charts.elastic(findings.submodels)
    if not svgs:
        return ""
    names = list(dict.fromkeys(direction for row in findings.submodels for direction in row.scores))
    head = ["sub-model", "active", "total", "layers", "experts", "top k", *map(tables.spaced, names)]
    body = [
        [
            row.name,
            f"{100 * row.active_share:.0f} %",
            f"{100 * row.total_share:.0f} %",
            *(str(number) for number in (row.layers, row.experts, row.top_k)),
            *(tables.figure(row.scores.get(name)) for name in names),
        ]
        for row in sorted(findings.submodels, key=lambda row: -row.active_share)
    ]
    words = (
        "Lines join the best of at most each size: solid where pictures, video or speech are made, dashed where text is. "
        "No sub-model was trained again."
    )
    return f'<p class="small">{words}</p>{grid(svgs)}{plain_table(head, body)}'


def _experts(findings: Findings) -> str:
    parts = []
    if findings.load is not None:
        even, worst = normalised_entropy(findings.load.sum(0)), max_violation(findings.load)
        parts.append(
            "<p>On the mixture of all tasks, the normalised entropy of the load is "
            f"<b>{even.min():.3f}</b> in the worst layer, where 1 is even; in no batch and layer does an expert take more than "
            f"<b>{1 + worst.max():.2f}</b> times its even share.</p>"
        )
    if findings.usage:
        parts.append(
            '<p class="small">No router is told the modality. How the choices of each task fall on the experts, which are '
            "sorted by favourite task, and how evenly each task uses them:</p>"
        )
        mixture = None if findings.load is None else findings.load.sum(0)
        parts.append(grid(charts.usage(findings.usage) | {"All layers": charts.entropy(findings.usage, mixture)}))
        if len(findings.usage) > 1:
            parts.append(
                '<h3>Shared experts</h3><p class="small">Intersection over union of the quarters of the experts '
                "that two tasks use most. Two quarters drawn by chance share .14.</p>"
            )
            parts.append(grid(charts.overlap(findings.usage)))
    return "".join(parts)


def _time(findings: Findings) -> str:
    return grid({"": charts.stages(findings.stages)}) if findings.stages else ""


def grid(svgs: Mapping[str, str]) -> str:
    captions = {title: f"<figcaption>{escape(title)}</figcaption>" if title else "" for title in svgs}
    figures = "".join(f"<figure>{captions[title]}{svg}</figure>" for title, svg in svgs.items())
    return f'<div class="charts">{figures}</div>'


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds >= 100 else f"{seconds:.0f} seconds"
