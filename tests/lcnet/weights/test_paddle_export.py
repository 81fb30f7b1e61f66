"""Networks that Paddle exported are read by their graph; numbers without one, or with another's, are refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.lcnet import PADDLECLAS, load, load_checkpoint
from ernest.lcnet.architecture import STRIDES_TEXT_LINE
from tests.lcnet.paddle_export import write_first, write_second
from tests.lcnet.reference import Arrays, first_arrays, first_logits, second_arrays, second_logits

IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def quarter() -> Arrays:
    return first_arrays(0.25, classes=5)


def distance(path: Path, expected: torch.Tensor) -> float:
    with torch.no_grad():
        return (load(path)(IMAGES) - expected).abs().max().item() / max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("first", [0, 7, 95])
def test_tensors_lie_in_the_order_of_their_names_as_words(quarter: Arrays, first: int, tmp_path: Path) -> None:
    """`conv2d_10` before `conv2d_2`, and `conv2d_100` before `conv2d_95` where the process made other networks before."""
    path = write_first(tmp_path / "inference.pdiparams", quarter, first=first)
    assert distance(path, first_logits(quarter, IMAGES)) <= 1e-4
    assert distance(path.with_suffix(".json"), first_logits(quarter, IMAGES)) <= 1e-4


def test_the_graph_tells_strides_rate_and_size(quarter: Arrays, tmp_path: Path) -> None:
    path = write_first(tmp_path / "inference.pdiparams", quarter, STRIDES_TEXT_LINE, (80, 160), rate=0.5)
    assert distance(path, first_logits(quarter, IMAGES, 0.5, STRIDES_TEXT_LINE)) <= 1e-4
    found = load_checkpoint(path)
    assert (found.network.architecture.strides, found.preprocessing.resize) == (STRIDES_TEXT_LINE, (80, 160))
    assert found.preprocessing.crop is None
    assert "strides 2,1,2x1,2x1,2x1,2x1 (as exported); dropout 0.5 (as exported)" in found.about["read_as"]
    assert load_checkpoint(write_first(path, quarter)).preprocessing == PADDLECLAS


def test_the_second_version_is_exported_with_branches_or_merged(tmp_path: Path) -> None:
    arrays = second_arrays(0.75, 4, classes=5)
    merged = {name: array for name, array in arrays.items() if "dw_conv_list" not in name}
    for block in {name.partition("dw_conv_list")[0] for name in arrays if "dw_conv_list" in name}:
        kernel, bias = np.zeros_like(arrays[f"{block}dw_conv.weight"]), np.zeros_like(arrays[f"{block}dw_conv.bias"])
        for branch in range(3):
            name = f"{block}dw_conv_list.{branch}"
            if f"{name}.conv.weight" in arrays:
                gain = arrays[f"{name}.bn.weight"] / np.sqrt(arrays[f"{name}.bn._variance"] + 1e-5)
                inner = arrays[f"{name}.conv.weight"] * gain[:, None, None, None]
                kernel += np.pad(inner, [(0, 0), (0, 0), (branch, branch), (branch, branch)])
                bias += arrays[f"{name}.bn.bias"] - arrays[f"{name}.bn._mean"] * gain
        merged |= {f"{block}dw_conv.weight": kernel, f"{block}dw_conv.bias": bias}
    expected = second_logits(arrays, IMAGES, 4)
    for kept in (arrays, merged):
        path = write_second(tmp_path / "inference.pdiparams", kept, 4)
        assert distance(path, expected) <= 1e-4


def test_halves_of_both_kinds_are_read(quarter: Arrays, tmp_path: Path) -> None:
    halves = {name: torch.from_numpy(array).to(torch.bfloat16) for name, array in quarter.items()}
    bits = {name: tensor.view(torch.int16).numpy().view(np.uint16) for name, tensor in halves.items()}
    path = write_first(tmp_path / "x.pdiparams", bits)
    assert distance(path, first_logits({name: tensor.float().numpy() for name, tensor in halves.items()}, IMAGES)) <= 1e-4
    rounded = {name: array.astype(np.float16) for name, array in quarter.items()}
    path = write_first(tmp_path / "x.pdiparams", rounded)
    assert distance(path, first_logits({name: array.astype(np.float32) for name, array in rounded.items()}, IMAGES)) <= 1e-4


def test_numbers_without_their_graph_or_with_anothers_are_refused(quarter: Arrays, tmp_path: Path) -> None:
    path = write_first(tmp_path / "inference.pdiparams", quarter)
    graph, numbers = path.with_suffix(".json").read_text(), path.read_bytes()
    other = write_first(tmp_path / "other.pdiparams", first_arrays(0.35, classes=5))
    path.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match=r"inference\.pdiparams: .* where the graph has .* do not belong together"):
        load(path)
    for kept in (0, 11, 30, len(numbers) // 2, len(numbers) - 1):
        path.write_bytes(numbers[:kept])
        with pytest.raises(ValueError, match=r"inference\.pdiparams: (damaged|holds 0 tensors)"):
            load(path)
    path.write_bytes(numbers + numbers[:500])
    with pytest.raises(ValueError, match=r"inference\.pdiparams: (holds|damaged)"):
        load(path)
    path.write_bytes(numbers)
    path.with_suffix(".json").write_text(graph.replace("hardswish", "swish"))
    with pytest.raises(ValueError, match=r"inference\.json: .*the operator swish is none of a PP-LCNet"):
        load(path)
    path.with_suffix(".json").write_text(graph[:-9])
    with pytest.raises(ValueError, match=r"inference\.json: expected the graph of a PP-LCNet that Paddle 3 exported"):
        load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"inference\.pdiparams: holds tensors without names: inference\.json, which Paddle 3"):
        load(path)


def test_graphs_that_are_no_such_network_are_told(quarter: Arrays, tmp_path: Path) -> None:
    path = write_first(tmp_path / "inference.pdiparams", quarter)
    about = json.loads(path.with_suffix(".json").read_text())
    operators = about["program"]["regions"][0]["blocks"][0]["ops"]
    places = [index for index, one in enumerate(operators) if one["#"] == "1.depthwise_conv2d"]
    for change, message in (
        (lambda: operators[places[2]]["A"][0]["AT"]["D"].__setitem__(0, {"D": 2}), "a stride, which only the first block"),
        (lambda: operators[places[0]].__setitem__("#", "1.fused_conv2d_add_act"), "the operator fused_conv2d_add_act is none"),
        (lambda: operators.__delitem__(slice(places[0], None)), "which has more layers"),
    ):
        change()
        path.with_suffix(".json").write_text(json.dumps(about))
        with pytest.raises(ValueError, match=message):
            load(path)
