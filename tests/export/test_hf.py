"""An exported checkpoint of test size, in transformers: what it loads, answers and saves is what Ernest has."""

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ernest.checkpoint import Learnt, load_expert_importance, load_learnt, load_model, save_model, write_submodel
from ernest.config.submodel_size import SubModelSize
from ernest.data.examples import EncodedSegment, encode_segments
from ernest.export.folder import read_hf, write_hf
from ernest.generation.engine import Engine
from ernest.generation.request import Request
from ernest.generation.sampling import DEFAULTS
from ernest.generation.text_states import TextStates
from ernest.sequence.record import Kind, given
from ernest.tokenizers.text import TextTokenizer
from tests.small import SENTENCES, network, tokenizers

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'ernest-ai[hf]'")
hf = pytest.importorskip("ernest.export.hf")
WholeText = pytest.importorskip("ernest.export.text").WholeText

LEARNT = Learnt(("image→text", "text→image"), ("a", "red", "seven"), 250)
RECIPE = {"seed": 3, "sequence": {"length": 250}, "training": {"steps": 12}}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    importance = torch.rand(6, 8, generator=torch.Generator().manual_seed(1))
    save_model(folder, network(), tokenizers(), RECIPE, importance, LEARNT)
    return folder


@pytest.fixture(scope="module")
def folder(checkpoint) -> Path:
    out = checkpoint.parent / "exported"
    write_hf(checkpoint, out)
    return out


@pytest.fixture(scope="module")
def model(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def processor(folder):
    return transformers.AutoProcessor.from_pretrained(folder)


RNG = np.random.default_rng(0)
PICTURES = list(RNG.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8))
FILM = RNG.integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
SOUND = RNG.uniform(-0.5, 0.5, 1500).astype(np.float32)
CASES: dict[str, dict[str, list[Any]]] = {
    "words": {"text": [SENTENCES[0], "a", "seven 東京 <eos> at"]},
    "pictures": {"images": PICTURES},
    "pictures of different rows": {"images": [PICTURES[0], None, PICTURES[:2]], "text": ["what", "a disk", None]},
    "films": {"videos": [FILM, FILM[:2], FILM[:1]]},
    "sounds": {"audio": [SOUND, SOUND[:700], SOUND[:1]]},
    "all": {"images": [PICTURES[0]], "videos": [FILM], "audio": [[SOUND, SOUND[:900]]], "text": ["three plus four"]},
}


def requests(case: dict[str, list[Any]]) -> list[Request]:
    """The rows of a case as the engine is asked for them."""
    kinds: dict[str, Kind] = {"images": "image", "videos": "video", "audio": "audio", "text": "text"}
    found = []
    for row in range(len(next(iter(case.values())))):
        segments = []
        for name, kind in kinds.items():
            one = case[name][row] if name in case else None
            segments += [given(kind, data) for data in (one if isinstance(one, list) else [] if one is None else [one])]
        found.append(Request(encode_segments(segments, tokenizers()), ("text",)))
    return found


def answers(case: dict[str, list[Any]]) -> list[list[int]]:
    return [answer.segments[0].value for (answer,) in Engine(network(), tokenizers()).generate(requests(case))]


def made(model, asked: Any, **options: Any) -> list[list[int]]:
    """Ids behind each prompt, up to the end."""
    eos = tokenizers().text.eos
    rows = model.generate(**asked, **options)[:, asked["input_ids"].shape[1] :].tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


def logits(model, asked: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**asked).logits


@pytest.mark.parametrize("case", CASES)
def test_generate_answers_as_the_engine_does(model, processor, case):
    expected = answers(CASES[case])
    assert max(map(len, expected)) >= 8
    assert made(model, processor(**CASES[case])) == expected


def test_the_prompt_is_laid_out_as_for_the_engine(processor):
    """Ids, groups and positions of every row."""
    engine = Engine(network(), tokenizers())
    for case in CASES.values():
        asked = processor(**case)
        for row, request in enumerate(requests(case)):
            (prompt,) = engine._lay_out(request)
            length = len(prompt)
            begin = asked["input_ids"].shape[1] - length
            assert asked["attention_mask"][row].tolist() == [0] * begin + [1] * length
            text = prompt.layout.source == 0
            np.testing.assert_array_equal(asked["input_ids"][row, begin:].numpy(), np.where(text, prompt.layout.content, 0))
            if "group_ids" in asked:
                np.testing.assert_array_equal(asked["group_ids"][row, begin:], prompt.layout.group)
                np.testing.assert_array_equal(asked["position_ids"][:, row, begin:].T, prompt.layout.position)


@pytest.mark.parametrize("case", CASES)
def test_a_cache_of_any_sort_changes_nothing(model, processor, case):
    asked = processor(**CASES[case])
    expected = made(model, asked)
    assert made(model, asked, use_cache=False) == expected
    assert made(model, asked, cache_implementation="static") == expected


@pytest.mark.parametrize("case", ["words", "pictures of different rows", "all"])
def test_several_answers_to_each_row(model, processor, case):
    asked = processor(**CASES[case])
    torch.manual_seed(0)
    twice = made(model, asked, num_return_sequences=2, do_sample=True, temperature=1e-6)
    assert twice == [row for row in made(model, asked) for _ in range(2)]
    best = model.generate(**asked, num_beams=2, max_new_tokens=6)
    assert best.shape[0] == len(asked["input_ids"])


@pytest.mark.parametrize("case", ["words", "all"])
def test_implementations_of_experts_are_equal(model, folder, processor, case):
    asked = processor(**CASES[case])
    results = {}
    for name in ("eager", "batched_mm", "grouped_mm"):
        other = transformers.AutoModelForCausalLM.from_pretrained(folder, experts_implementation=name)
        assert other.get_experts_implementation() == {"": name}
        results[name] = logits(other, asked)
        model.set_experts_implementation(name)
        torch.testing.assert_close(logits(model, asked), results[name], rtol=0, atol=1e-6)
        torch.testing.assert_close(results[name], results["eager"], rtol=0, atol=1e-5)


def test_an_implementation_that_is_chosen_is_the_one_that_runs(folder, processor, monkeypatch):
    calls: list[str] = []
    experts = transformers.integrations.moe.ALL_EXPERTS_FUNCTIONS

    def noting(name: str, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def noted(*args: Any) -> torch.Tensor:
            calls.append(name)
            return forward(*args)

        return noted

    for name in ("batched_mm", "grouped_mm"):
        monkeypatch.setitem(experts._global_mapping, name, noting(name, experts[name]))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for name, expected in (("batched_mm", {"batched_mm"}), ("grouped_mm", {"grouped_mm"}), ("eager", set())):
        model.set_experts_implementation(name)
        calls.clear()
        logits(model, processor(text="a"))
        assert set(calls) == expected


def test_experts_lie_in_two_tensors(model):
    block = model.network.backbone.blocks[0]
    assert block.moe.experts.gate_up_proj.shape == (8, 64, 32)
    assert block.moe.experts.down_proj.shape == (8, 16, 64)
    assert not [name for name in model.state_dict() if "w_gate_up" in name or "w_down" in name]


def test_logits_are_those_of_training(model):
    """Of a text, teacher-forced."""
    from ernest.data.collate import collate
    from tests.small import documents, placed

    example = next(one for one in documents() if one.task == "text")
    batch = collate([[placed(example)]], len(placed(example).layout), tokenizers())
    with torch.no_grad():
        expected = network()(batch).text
    found = logits(model, {"input_ids": batch.token_id})[0][batch.token_index]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_saved_and_loaded_it_is_the_same_to_the_byte(folder, model, processor, tmp_path):
    again = transformers.AutoModelForCausalLM.from_pretrained(folder)
    again.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1
    names = sorted(file.name for file in tmp_path.iterdir())
    assert {*names, "README.md", "recipe.json", "learnt.json"} == {file.name for file in folder.iterdir()}
    assert [name for name in names if (tmp_path / name).read_bytes() != (folder / name).read_bytes()] == []


def test_shards(checkpoint, folder, tmp_path):
    for shard in ("5XB", "0GB", "500"):
        with pytest.raises(ValueError, match=f"--shard {shard}: expected the size of the largest file, such as 500MB or 5GB"):
            write_hf(checkpoint, tmp_path / "odd", shard=shard)
    assert not (tmp_path / "odd").exists()
    write_hf(checkpoint, tmp_path / "small", shard="100KB")
    files = sorted((tmp_path / "small").glob("model-*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 250_000
    whole, parts = (transformers.AutoModelForCausalLM.from_pretrained(one).state_dict() for one in (folder, tmp_path / "small"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_back_as_a_checkpoint_to_the_byte(checkpoint, folder, tmp_path):
    read_hf(folder, tmp_path / "back")
    files = [file.relative_to(checkpoint) for file in checkpoint.rglob("*") if file.is_file()]
    assert {file.relative_to(tmp_path / "back") for file in (tmp_path / "back").rglob("*") if file.is_file()} == set(files)
    same = {file: (checkpoint / file).read_bytes() == (tmp_path / "back" / file).read_bytes() for file in files}
    assert [file for file, equal in same.items() if not equal] == []


def test_back_from_what_transformers_alone_saved(folder, tmp_path):
    transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    read_hf(tmp_path / "saved", tmp_path / "back")
    assert load_learnt(tmp_path / "back") == Learnt((), (), LEARNT.positions)
    back = load_model(tmp_path / "back")[0].state_dict()
    assert [name for name, value in network().state_dict().items() if not torch.equal(value, back[name])] == []


def test_a_submodel_is_an_ordinary_folder(checkpoint, tmp_path):
    size = SubModelSize(layers=5, experts=4, top_k=1)
    write_hf(checkpoint, tmp_path / "small", size)
    write_submodel(checkpoint, tmp_path / "slice", size)
    read_hf(tmp_path / "small", tmp_path / "back")
    for name in ("model.safetensors", "importance.safetensors", "model.json"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "slice" / name).read_bytes()
    small = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "small")
    engine = Engine(load_model(tmp_path / "slice")[0], tokenizers())
    expected = [answer.segments[0].value for (answer,) in engine.generate(requests(CASES["words"]))]
    assert made(small, processor(**CASES["words"])) == expected


@pytest.mark.parametrize("to", ["image", "video", "audio", "text"])
def test_make_is_what_the_engine_makes(model, to):
    prompts = SENTENCES[:2]
    engine = Engine(network(), tokenizers())
    segments = [(EncodedSegment("text", prompt, False),) for prompt in prompts]
    expected = [answer.segments[0].value for answer in engine.answers(segments, to, DEFAULTS[to], seed=7)]
    shown = {"image": engine.draw, "video": engine.draw, "audio": engine.play}
    found = model.make(prompts, to, seed=7)
    if to == "text":
        assert found == [tokenizers().text.decode(ids) for ids in expected]
        return
    for mine, theirs in zip(found, shown[to](expected), strict=True):
        np.testing.assert_array_equal(mine, theirs[0] if to == "image" else theirs)


def test_half_precision_leaves_routers_and_tokenizers_alone(folder, processor):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    narrow = {name for name, value in model.state_dict().items() if value.dtype == torch.bfloat16}
    assert "network.backbone.blocks.0.moe.experts.gate_up_proj" in narrow
    assert [name for name in narrow if "router" in name or "tokenizer" in name or "importance" in name] == []
    assert len(made(model, processor(**CASES["all"]))[0]) > 0
    assert len(model.make(["a"], "image")) == 1


def test_it_can_be_trained_on_texts(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).train()
    ids = torch.tensor([tokenizers().text.encode(SENTENCES[0])])
    output = model(input_ids=ids, labels=ids)
    expected = torch.nn.functional.cross_entropy(output.logits[0, :-1], ids[0, 1:])
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    assert model.network.backbone.blocks[0].moe.experts.gate_up_proj.grad.abs().sum() > 0
    assert not model.vision_tokenizer.training
    assert [name for name, p in model.named_parameters() if "tokenizer" in name and p.requires_grad] == []


def test_words_that_look_like_control_tokens_are_words(processor):
    tokenizer = processor.tokenizer
    for text in ("<eos>", "a <boi> b", "東京 𝄞", " ", "a\n"):
        assert tokenizer(text)["input_ids"] == tokenizers().text.encode(text)
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.decode([2, *tokenizers().text.encode("a"), 3], skip_special_tokens=True) == "a"
    assert tokenizer.decode([2, *tokenizers().text.encode("a"), 3]) == "<eos>a<boi>"
    assert len(tokenizer) == tokenizers().text.vocab_size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": [PICTURES[0]], "text": ["a", "b"]}, "as many pictures, videos, sounds and texts"),
        ({"images": [PICTURES[0], PICTURES[0].astype(float)]}, "row 1: a picture: expected uint8"),
        ({"videos": [FILM[0]]}, "row 0: a video: expected"),
        ({"audio": [np.zeros(0, np.float32)]}, "row 0: a sound: expected"),
        ({"audio": [np.full(9, np.nan, np.float32)]}, "row 0: a sound: holds samples that are no numbers"),
        ({"text": [3]}, "row 0: "),
        ({"images": torch.zeros(3, 32, 32)}, "row 0: a picture: expected a file, Pillow's image or uint8 .*, got Tensor"),
        ({"images": np.zeros((0, 32, 3), np.uint8)}, r"row 0: a picture: expected uint8 .*, got uint8 \[0, 32, 3\]"),
        ({"audio": SOUND, "sampling_rate": 0}, "sampling_rate = 0: expected samples a second"),
        ({}, "expected pictures, videos, sounds or texts, got none"),
    ],
)
def test_what_cannot_be_given_is_one_line(processor, given, message):
    with pytest.raises(ValueError, match=message) as error:
        processor(**given)
    assert "\n" not in str(error.value)


def test_a_folder_that_lacks_a_tensor_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "torn")
    weights = load_file(tmp_path / "torn" / "model.safetensors")
    del weights["network.final_norm.weight"]
    save_file(weights, tmp_path / "torn" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"damaged: it lacks network\.final_norm\.weight and 0 more"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "torn")


UNREGISTERED = """
import sys
from transformers import AutoConfig
try:
    AutoConfig.from_pretrained(sys.argv[1])
except ValueError as error:
    print(error)
import ernest.export.hf
print(type(AutoConfig.from_pretrained(sys.argv[1])).__name__)
"""


def test_without_the_import_the_library_does_not_know_it(folder):
    """What the documentation says of that."""
    done = subprocess.run([sys.executable, "-c", UNREGISTERED, str(folder)], capture_output=True, text=True, check=True)
    assert "model type `ernest`" in done.stdout
    assert done.stdout.splitlines()[-1] == "ErnestConfig"


def test_importance_and_facts_travel_along(checkpoint, folder, model):
    assert torch.equal(model.expert_importance, load_expert_importance(checkpoint))
    assert json.loads((folder / "recipe.json").read_text()) == RECIPE
    assert model.config.max_position_embeddings == LEARNT.positions
    assert model.generation_config.max_new_tokens == 48


def test_a_loop_of_ones_own_hands_the_cache_back_by_either_name(model):
    """The library's older name for it as well; without a cache, a token would be answered as if it stood alone."""
    ids = torch.tensor([tokenizers().text.encode(SENTENCES[0])])
    expected = logits(model, {"input_ids": torch.cat([ids, ids[:, :1]], dim=1)})[:, -1]
    for name in ("cache", "past_key_values"):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            before = model(input_ids=ids, use_cache=True).cache
            found = model(input_ids=ids[:, :1], **{name: before}).logits[:, -1]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_hidden_states_are_those_between_the_layers(model, processor):
    asked = processor(**CASES["pictures"])
    with torch.no_grad():
        states = model(**asked, output_hidden_states=True).hidden_states
        assert len(states) == model.config.num_hidden_layers + 1
        torch.testing.assert_close(model.network.text_head(states[-1]), logits(model, asked), rtol=0, atol=1e-5)
        torch.testing.assert_close(model(inputs_embeds=states[0], **text_alone(asked)).logits, logits(model, asked))
    assert len({float(state.sum()) for state in states}) == len(states)
    assert model(**asked).hidden_states is None


def text_alone(asked: Any) -> dict[str, torch.Tensor]:
    return {name: asked[name] for name in ("attention_mask", "group_ids", "position_ids")}


def test_a_picture_that_is_read_small_stays_as_it_is(processor, tmp_path):
    """Pillow decodes a JPEG at a fraction of its size, and keeps that in mind for whoever looks at the picture next."""
    pixels = RNG.integers(0, 256, (400, 600, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.jpg")
    with Image.open(tmp_path / "large.jpg") as image:
        found = processor(images=image)["pixel_values"]
        assert image.size == (600, 400)
        assert np.asarray(image).shape == (400, 600, 3)
        changed = processor(images=image.rotate(180))["pixel_values"]
    assert torch.equal(found, processor(images=tmp_path / "large.jpg")["pixel_values"])
    assert not torch.equal(found, changed)


def test_an_assistant_drafts_within_a_character(folder, model, processor, monkeypatch):
    """What it goes on with is asked of two processors, its own and the model's: they must agree, or nothing is left."""
    rows = []
    call = WholeText.__call__

    def noting(self: Any, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        left = call(self, input_ids, scores)
        rows.append(bool(torch.isfinite(left).any(-1).all()))
        return left

    monkeypatch.setattr(WholeText, "__call__", noting)
    assistant = transformers.AutoModelForCausalLM.from_pretrained(folder)
    head, rng = assistant.network.text_head.weight, torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.add_(0.02 * torch.randn(head.shape, generator=rng))
    asked = processor(text="three plus")
    assert made(model, asked, assistant_model=assistant, max_new_tokens=16) == made(model, asked, max_new_tokens=16)
    assert all(rows)
    half = tokenizers().text.encode("𝄞")[:1]
    ids = torch.tensor([[*tokenizers().text.encode("a"), TextTokenizer.sep, *half]])
    scores = torch.zeros(1, tokenizers().text.vocab_size)
    states = TextStates(tokenizers().text.pieces)
    followed = WholeText(states, TextTokenizer.eos, 20)
    followed(ids[:, :-1], scores)
    assert torch.equal(followed(ids, scores), WholeText(states, TextTokenizer.eos, 20)(ids, scores))
    assert not torch.isfinite(followed(ids, scores)[0, TextTokenizer.eos])
