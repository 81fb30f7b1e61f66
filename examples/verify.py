"""Says of right and wrong outputs whether they are right, and why not.  `python examples/verify.py`

Records are held-out ones of the world; the outputs are written here, where otherwise a model makes them. A verifier takes a
record and an output: the exact ones are in `ernest.verifiers.rules`, the learned ones in `ernest.verifiers.vision` and `speech`.
"""

from ernest.sequence.record import Record, Segment, given, made
from ernest.verifiers import rules
from ernest.verifiers.verdict import Verdict, Verifier
from ernest.world.split import HELD_OUT
from ernest.world.world import records


def show(title: str, verifier: Verifier, record: Record, output: Segment) -> Verdict:
    verdict = verifier(record, [output])
    print(f"{title}: right" if verdict.passed else f"{title}: wrong, score {verdict.score:.2f}, {verdict.reason}")
    return verdict


def main() -> dict[str, Verdict]:
    """Returns the verdicts by what was judged."""
    (picture,) = records("image→text", seed=0, indices=[HELD_OUT])
    caption = picture.segments[-1].data
    wrong_colour = caption.replace(picture.facts["colour"], "red" if picture.facts["colour"] != "red" else "blue")

    (physics,) = records("text→video", seed=0, indices=[HELD_OUT])
    frames = physics.segments[-1].data

    question = Record((given("text", "what is three plus four?"), made("text", "?")))  # the record's own answer is not looked at

    judged = {
        f"{caption!r}": (rules.caption, picture, made("text", caption)),
        f"{wrong_colour!r}": (rules.caption, picture, made("text", wrong_colour)),
        f"{physics.segments[0].data!r}": (rules.energy_law, physics, made("video", frames)),
        "the same film, backwards": (rules.energy_law, physics, made("video", frames[::-1])),
        "what is three plus four? seven": (rules.text_answer, question, made("text", "seven")),
        "what is three plus four? four": (rules.text_answer, question, made("text", "four")),
    }
    return {title: show(title, *how) for title, how in judged.items()}


if __name__ == "__main__":
    main()
