"""Weights are found in training checkpoints, in both formats of torch.save; what lies beside them is never run nor needed."""

import argparse
import enum
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ernest.lcnet.weights.load import find_weights, read_weights
from tests.lcnet.foreign import Wish, write_legacy, write_torch

STATE = OrderedDict({"conv_stem.weight": torch.randn(8, 3, 3, 3), "bn1.weight": torch.ones(8), "classifier.bias": torch.zeros(3)})
OTHER = OrderedDict({name: tensor + 1 for name, tensor in STATE.items()})


class Part(enum.Enum):
    TRUNK = 1


class Settings(dict):
    """As Lightning keeps hyper-parameters: a class of its own, with a state."""

    def __init__(self) -> None:
        super().__init__(rate=0.1)
        self.note = "x"


WRITERS = pytest.mark.parametrize("write", [write_torch, write_legacy])


def same(found: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(state) and all(torch.equal(found[name], state[name]) for name in state)


def optimizer() -> dict:
    weight = torch.nn.Parameter(torch.ones(4))
    made = torch.optim.AdamW([weight])
    weight.sum().backward()
    made.step()
    return made.state_dict()


def around() -> dict:
    """What a training keeps beside its weights."""
    return {
        "epoch": 3,
        "optimizer": optimizer(),
        "args": argparse.Namespace(
            model="lcnet_050", rate=0.1, device=torch.device("cpu"), kind=torch.float16, size=torch.Size([3])
        ),
        "metric": np.float64(0.5),
        "path": Path("somewhere"),
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "hyper_parameters": Settings(),
        "recent": deque([1.0, 2.0]),
        "parts": {Part.TRUNK: {1, 2}},
        "random": (3, np.random.default_rng(0)),
    }


@WRITERS
@pytest.mark.parametrize(
    ("content", "place", "state"),
    [
        (lambda: STATE, "", STATE),
        (lambda: {"state_dict": STATE}, "state_dict", STATE),
        (lambda: {"model": STATE, "ema": None}, "model", STATE),
        (lambda: {"state_dict": STATE, "state_dict_ema": OTHER}, "state_dict_ema", OTHER),
        (lambda: {"model": STATE, "model_ema": OTHER, "teacher": STATE}, "model_ema", OTHER),
        (lambda: {"state_dict": STATE, "current_model_state": OTHER}, "state_dict", STATE),
        (lambda: {"run": {"nets": {"student": STATE}}}, "run.nets.student", STATE),
        (lambda: {"net": {f"module.{name}": tensor for name, tensor in STATE.items()}}, "net", None),
        (lambda: {"state_dict": {name: torch.nn.Parameter(tensor) for name, tensor in STATE.items()}}, "state_dict", STATE),
        (lambda: [STATE], "0", STATE),
        (lambda: (optimizer(), {"net": STATE}), "1.net", STATE),
    ],
)
def test_the_weights_are_found(write: Callable, content: Callable, place: str, state: dict | None, tmp_path: Path) -> None:
    inside = content()
    for wrapped in (inside, inside | around() if isinstance(inside, dict) and inside is not STATE else inside):
        found, tensors = find_weights(write(tmp_path / "x.pth", wrapped))
        assert found == place
        assert same(tensors, state or {f"module.{name}": tensor for name, tensor in STATE.items()})


class Worded:
    """Made with a keyword."""

    def __new__(cls, *, rate: float) -> "Worded":
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple, dict]:
        return (), {"rate": 0.1}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_any_protocol_and_anything_beside_will_do(protocol: int, zipped: bool, tmp_path: Path) -> None:
    numbers = [torch.ones(3, dtype=kind) for kind in (torch.complex64, torch.uint16, torch.float8_e4m3fn)]
    beside = [{1}, frozenset({2}), bytearray(b"abc"), np.arange(5), Worded(rate=0.2), *numbers]
    path = write_torch(tmp_path / "x.pth", {"beside": beside, "state_dict": STATE}, protocol, zipped)
    assert same(read_weights(path), STATE)


@WRITERS
def test_what_lies_beside_is_never_run(write: Callable, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    wish = Wish(os.system, f"touch {marker}")
    path = write(tmp_path / "x.pth", {"args": wish, "state_dict": STATE, "list": [wish]})
    assert same(read_weights(path), STATE)
    path = write(tmp_path / "x.pth", {"state_dict": STATE | {"classifier.weight": wish}})
    with pytest.raises(ValueError, match=r"x\.pth: refused: it asks for posix\.system, which weights have no use for"):
        read_weights(path)
    assert not marker.exists()


@WRITERS
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: {"one": STATE, "other": OTHER}, r"holds several networks, one, other: save one of them alone"),
        (lambda: {"net": {"layer.weight": torch.ones(2)}, **around()}, r"tensors lie in net: layer\.weight; "),
        (
            lambda: {"state_dict": torch.nn.Linear(2, 2).state_dict(), "best_acc1": torch.ones(1)},
            r"tensors lie in state_dict: weight, bias",
        ),
        (
            lambda: torch.nn.Linear(2, 2),
            r"holds an object of the class torch\.nn\.modules\.linear\.Linear, which only its program",
        ),
        (lambda: {"model": torch.nn.Linear(2, 2), "epoch": 3}, r"object of the class torch\.nn\.modules\.linear\.Linear"),
        (lambda: {"epoch": 3}, "holds no tensors by name, only epoch"),
        (lambda: [STATE["conv_stem.weight"]], "expected a dictionary of tensors by name"),
        (lambda: [STATE, OTHER], r"holds several networks, 0, 1: save one of them alone"),
        (lambda: torch.ones(3), "expected a dictionary of tensors by name"),
    ],
)
def test_what_holds_no_weights_says_what_it_holds(write: Callable, content: Callable, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"x\.pth: .*{message}"):
        read_weights(write(tmp_path / "x.pth", content()))


@WRITERS
@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod."])
def test_what_a_wrapper_keeps_beside_its_network_is_not_read(write: Callable, prefix: str, tmp_path: Path) -> None:
    """Of a metric, a loss or another network, in the same dictionary: of a kind that weights are not made of, or empty."""
    state = {f"{prefix}{name}": tensor for name, tensor in STATE.items()}
    beside = {"metric.counts": torch.zeros(0), "loss.scale": torch.ones(2).to(torch.float8_e4m3fn), "teacher.state": deque([1])}
    assert same(read_weights(write(tmp_path / "x.pth", {"state_dict": state | beside})), state)


def test_a_program_of_torch_is_told(tmp_path: Path) -> None:
    with pytest.warns(DeprecationWarning, match=r"torch\.jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: a program of torch\.jit, no weights"):
        read_weights(tmp_path / "x.pt")


def test_the_old_format_in_pieces_is_damaged(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "x.pth", STATE)
    whole = path.read_bytes()
    for kept in (20, 60, len(whole) // 3, len(whole) // 2, len(whole) - 20, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"x\.pth: "):
            read_weights(path)


def test_a_checkpoint_that_holds_itself_is_read(tmp_path: Path) -> None:
    content: dict = {"state_dict": STATE}
    content["again"] = content
    content["more"] = {"again": content, "list": [content]}
    assert same(read_weights(write_torch(tmp_path / "x.pth", content)), STATE)
