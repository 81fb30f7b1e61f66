"""Writes the model card of an exported folder: what the model is, what it scored, what it was trained on, where it ends."""

from collections.abc import Mapping, Sequence
from typing import Any

from ernest.checkpoint import Learnt
from ernest.config.media import USUAL, MediaSpec
from ernest.config.tables import ModelConfig
from ernest.config.tokenizer_spec import TokenizerSpec
from ernest.model.cost import active_parameters, total_parameters

HEAD = """---
library_name: transformers
pipeline_tag: any-to-any
tags:
- ernest
- multimodal
- mixture-of-experts
---
"""
USE = """## How to use it

```python
import ernest.export.hf  # registers the classes: pip install 'ernest-ai[hf]'
from transformers import AutoModelForCausalLM, AutoProcessor

model = AutoModelForCausalLM.from_pretrained("{name}")
processor = AutoProcessor.from_pretrained("{name}")
asked = processor(images="picture.png")
answer = model.generate(**asked)
print(processor.batch_decode(answer[:, asked["input_ids"].shape[1] :], skip_special_tokens=True))
(pixels,) = model.make(["a red seven at the top left"], to="image")  # uint8 [height, width, 3]
```
"""


def model_card(
    name: str,
    config: ModelConfig,
    spec: TokenizerSpec,
    learnt: Learnt,
    recipe: Mapping[str, Any],
    findings: Mapping[str, Any] | None,
    media: MediaSpec = USUAL,
) -> str:
    """The card in Markdown. `findings` are those of the run that trained it, as `ernest.evaluation` keeps them, or None where
    nothing was scored."""
    total, active = total_parameters(config, spec), active_parameters(config)
    facts = (
        f"One autoregressive decoder over text, pictures, videos and speech: {total / 1e6:.2f} million parameters, "
        f"{active / 1e6:.2f} million of the backbone active per position ({config.layers} layers, "
        f"{config.top_k} of {config.experts} experts)."
    )
    parts = [HEAD, f"# {name}\n", facts + "\n", USE.format(name=name), _scores(findings), _data(learnt, recipe, findings)]
    return "\n".join([*parts, _limits(media)])


def _scores(findings: Mapping[str, Any] | None) -> str:
    if not findings or not findings.get("scores"):
        return "## Scores\n\nNone: these weights have not been scored.\n"
    whole = [score for score in findings["scores"] if score["system"] == "full"]
    rows = [
        (s["direction"], _number(s["value"]), _number(s["bar"]), s["chance"], s["verifier"], f"{s['count']:,}") for s in whole
    ]
    text = "## Scores\n\nOn records held out from training; the bar is what was promised before.\n\n"
    text += _table(("direction", "score", "bar", "chance", "verifier", "records"), rows)
    smaller = findings.get("submodels") or []
    if smaller:
        cut = [(row["name"], f"{row['active_share']:.0%}", f"{row['total_share']:.0%}", _means(row["scores"])) for row in smaller]
        text += "\nSub-models of the same weights:\n\n"
        text += _table(("sub-model", "active parameters", "all parameters", "scores"), cut)
    return text


def _means(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{direction} {_number(value)}" for direction, value in scores.items())


def _data(learnt: Learnt, recipe: Mapping[str, Any], findings: Mapping[str, Any] | None) -> str:
    lines = [f"- directions: {', '.join(learnt.directions) or 'not recorded'}"]
    if learnt.words:
        lines.append(f"- {len(learnt.words):,} different words, such as {', '.join(learnt.words[:8])}")
    lines.append(f"- documents of at most {learnt.positions:,} positions")
    world, steps = recipe.get("world", {}), recipe.get("training", {}).get("steps")
    if steps:
        lines.append(f"- {steps:,} steps, seed {recipe.get('seed', 0)}")
    facts = (findings or {}).get("facts", {})
    if findings and world:
        amounts = ", ".join(f"{count:,} {kind}" for kind, count in world.items() if kind != "held_out")
        lines.append(f"- records made by Ernest's own world of digits, moving shapes and synthetic speech: {amounts}")
    lines += [f"- {name}: {facts[name]}" for name in ("trained on", "machine", "versions") if name in facts]
    return "## Training data\n\n" + "\n".join(lines) + "\n"


def _limits(m: MediaSpec) -> str:
    lines = [
        f"- Pictures and frames are {m.height} x {m.width} pixels, a video that it makes has at most {m.frames}.",
        f"- Sounds have {m.sample_rate:,} samples a second and at most {m.longest_sound:g} s, made ones {m.longest_answer:g} s.",
        f"- A text that it makes has at most {m.longest_text} tokens.",
        "- It answers every prompt, also with words, lengths and directions that it never learnt; such an answer means nothing.",
        "- It knows the world of its training data and nothing beyond; it follows no instructions and holds no conversation.",
    ]
    return "## Limits\n\n" + "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
