"""The report of a tokenizer: what went in beside what came back, to look at and to hear, and every figure in one table."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

from ernest.evaluation.measured import Pair
from ernest.evaluation.tokenizers import TokenizerReport
from ernest.report import media
from ernest.report.document import document, facts_list, plain_table
from ernest.storage import write_text


def write_tokenizer_report(path: Path, report: TokenizerReport) -> None:
    """Writes the report to `path`; an older one stays until the new one is whole."""
    write_text(path, tokenizer_page(report))


def tokenizer_page(report: TokenizerReport) -> str:
    """The report as HTML text."""
    rows = [(measure.name, str(measure), measure.note) for measure in report.measures]
    cards = "".join(_card(pair, report.sample_rate) for pair in report.pairs)
    words = "On the left what went in, on the right what came back." if report.pairs else ""
    size = "words" if report.pairs and isinstance(report.pairs[0].given, str) else "wide"
    return document(
        report.title,
        escape(report.about),
        {
            "Figures": plain_table(("", "", ""), rows),
            "There and back": f'<p class="small">{words}</p><div class="cards {size}">{cards}</div>' if cards else "",
            "What it is": facts_list(report.facts),
        },
    )


def _card(pair: Pair, rate: int) -> str:
    """What went in beside what came back, and a note below."""
    given, rebuilt = pair.given, pair.rebuilt
    if isinstance(given, str) or isinstance(rebuilt, str):
        shown = f'<figcaption><p>{escape(str(given))}</p><p class="answer">{escape(str(rebuilt))}</p></figcaption>'
    elif given.ndim == 1:
        shown = _side_by_side(f'<img class="mel" src="{media.spectrogram(w, rate)}" alt="spectrogram">' for w in (given, rebuilt))
        shown += "".join(f'<audio controls preload="none" src="{media.sound(w, rate)}"></audio>' for w in (given, rebuilt))
    else:
        draw = media.picture if given.ndim == 3 else media.video
        named = {"what went in": given, "what came back": rebuilt}
        shown = _side_by_side(f'<img class="pixels" src="{draw(pixels)}" alt="{name}">' for name, pixels in named.items())
    note = f'<figcaption><p class="small">{escape(pair.note)}</p></figcaption>'
    return f'<figure class="card">{shown}{note}</figure>'


def _side_by_side(parts: Iterable[str]) -> str:
    return f'<div class="film">{"".join(parts)}</div>'
