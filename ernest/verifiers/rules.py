"""Exact verifiers: words, colours, places and laws that the world's own readers can check without a network."""

from collections.abc import Sequence

from ernest.sequence.record import Record, Segment
from ernest.verifiers.verdict import Verdict, compare, content, fact, given_text
from ernest.world import images, questions, solutions, text, video

PICTURE = ("digit", "colour", "place")
EXACT, COARSE = 0.01, 0.03
"""By how much of the canvas an area that is conserved may change. Of true films, all keep the first; behind the demo's tokenizer,
which smooths edges, about a tenth keep the first and nine in ten the second (the families with drops and mixtures)."""


def caption(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is a caption by the grammar of captions, and names digit, colour and place of the picture."""
    words = content(output, "text")
    parsed = images.parse(words) if words is not None else None
    return compare({name: fact(record, name) for name in PICTURE}, dict(zip(PICTURE, parsed or (), strict=False)))


def word(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is the word that was spoken, and nothing else."""
    return compare({"word": fact(record, "word")}, {"word": content(output, "text")})


def video_caption(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is the caption of the video's family, or for a moving digit says which one moves where."""
    family = fact(record, "family")
    is_physics = family in video.FAMILIES
    expected = family if is_physics else video.moving_caption(fact(record, "digit"), fact(record, "direction"))
    return compare({"family": expected}, {"family": content(output, "text")})


def picture_answer(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is the answer to the question about a picture."""
    return compare({"answer": fact(record, "answer")}, {"answer": content(output, "text")})


def text_answer(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is the answer to the given question, which is worked out anew from its words, or comes to it by a working,
    whatever that says.

    Raises ValueError for a record whose question is none of this world.
    """
    question = given_text(record)
    expected = questions.answer(question)
    if expected is None:
        raise ValueError(f"{question!r} is no question that can be answered exactly")
    words = content(output, "text")
    return compare({"answer": expected}, {"answer": words if words is None else questions.conclusion(words)})


def statement(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is a sum, a difference, a product or a comparison, and true. No parts where it is no such sentence."""
    words = content(output, "text")
    true = None if words is None else text.holds(words)
    if true is None:
        return Verdict(0.0, False, f"not a statement that can be checked: {words!r}")
    return Verdict(float(true), true, "" if true else f"not true: {words!r}", {"true": float(true)})


def worked_solution(record: Record, output: Sequence[Segment]) -> Verdict:
    """The output is a working of the given question and its answer, and can be read whole: its steps are right and lead to the
    answer, and that is right. `steps` is the share of right ones; a right answer with a wrong working is told apart by its parts.

    Raises ValueError for a record whose question is none of this world.
    """
    words, question = content(output, "text"), given_text(record)
    solution = solutions.read(words) if words is not None else None
    if solution is None:
        parts = {"steps": 0.0, "concludes": 0.0, "answer": 0.0}
        return Verdict(0.0, False, f"not a working that can be read whole: {words!r}", parts)
    found = solutions.check(question, solution)
    parts = {"steps": sum(found.steps) / len(found.steps), "concludes": float(found.concludes), "answer": float(found.answer)}
    wrong = [f"wrong step: {step!r}" for step, is_right in zip(solution.steps, found.steps, strict=True) if not is_right]
    wrong += [] if found.concludes else [f"the last step does not say the answer: {solution.steps[-1]!r}, {solution.answer!r}"]
    wrong += [] if found.answer else [f"answer: expected {record.facts['answer']!r}, found {solution.answer!r}"]
    return Verdict(sum(parts.values()) / 3, not wrong, "; ".join(wrong), parts)


def worked_answer(record: Record, output: Sequence[Segment]) -> Verdict:
    """The answer behind the working is right, whatever the working says; one that cannot be read whole has none."""
    words = content(output, "text")
    solution = solutions.read(words) if words is not None else None
    return compare({"answer": fact(record, "answer")}, {"answer": solution and solution.answer})


def colour_and_place(record: Record, output: Sequence[Segment]) -> Verdict:
    """The ink of the picture has the colour, and its centre of mass lies at the place, that were asked for."""
    pixels = content(output, "image")
    actual = {} if pixels is None else {"colour": images.read_colour(pixels), "place": images.read_place(pixels)}
    return compare({"colour": fact(record, "colour"), "place": fact(record, "place")}, actual)


def energy_law(record: Record, output: Sequence[Segment]) -> Verdict:
    """The energy of the video never rises, and falls by the share that the law asks for."""
    frames = content(output, "video")
    obeyed = frames is not None and bool(video.obeys_energy_law(frames))
    if obeyed:
        return Verdict(1.0, True, "", {"energy law": 1.0})
    energies = "no video" if frames is None else ", ".join(f"{energy:.1f}" for energy in video.energies(frames))
    return Verdict(0.0, False, f"the energy law is not obeyed: {energies}", {"energy law": 0.0})


def area_law(record: Record, output: Sequence[Segment]) -> Verdict:
    """The area of the bright phase keeps the law of the family that was asked for: the mass of all but a disk is conserved."""
    return _area_law(record, output, "area law", EXACT)


def coarse_area_law(record: Record, output: Sequence[Segment]) -> Verdict:
    """The same as far as it can be drawn: most true films keep it behind the demo's tokenizer."""
    return _area_law(record, output, "coarse area law", COARSE)


def _area_law(record: Record, output: Sequence[Segment], name: str, tolerance: float) -> Verdict:
    frames = content(output, "video")
    named = fact(record, "family")
    if named not in video.FAMILIES:
        raise ValueError(f"family = {named!r}: the {name} is known of {', '.join(video.FAMILIES)}")
    family = video.FAMILIES.index(named)
    obeyed = frames is not None and bool(video.obeys_area_law(family, frames, tolerance))
    if obeyed:
        return Verdict(1.0, True, "", {name: 1.0})
    areas = "no video" if frames is None else ", ".join(f"{area:.3f}" for area in video.areas(frames))
    return Verdict(0.0, False, f"the {name} is not obeyed: {areas}", {name: 0.0})
