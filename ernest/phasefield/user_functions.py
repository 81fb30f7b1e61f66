"""Asks functions of the user once, before a run, so that what they do wrong is told in a line and not in the result.

A function that changes its arguments in place would change the fields, the coordinates or the first field of the run. A density
that torch cannot differentiate, since it is made with numpy, `detach` or under `no_grad`, would have no derivative, or a part.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ernest.device import HOST

STEP = 1e-4
"""Share by which fields are changed for a difference that stands for a derivative."""
APART = 0.1
"""Share by which both may differ."""


@torch.inference_mode(False)
def ask(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns for its arguments, tensors and tuples of them, which are copied first.

    Raises ValueError where it cannot take them, or changes them in place.
    """
    copies = [_copy(one) for one in arguments]
    before = [(tensor, tensor._version, tensor.clone()) for tensor in _tensors(copies)]
    try:
        value = function(*copies)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{name}: fails for the fields and times that it gets, which are tensors: {said}") from error
    if any(tensor._version != version or not torch.equal(tensor, was) for tensor, version, was in before):
        raise ValueError(
            f"{name}: changes what it is given in place (u.clamp_(..), u += .., u[0] = ..); return a new tensor, u.clamp(..)"
        )
    return value


@torch.inference_mode(False)
def check_derivative(name: str, function: Callable[[Any], Any], u: tuple[Tensor, ...]) -> None:
    """Raise ValueError unless torch differentiates a function of some fields at their points as differences do.

    It need not do so everywhere: at most points is enough.
    """
    at = [field.detach().clone().double() for field in u]
    known = torch.zeros_like(at[0])
    with torch.enable_grad():
        leaves = tuple(field.clone().requires_grad_() for field in at)
        try:
            value = torch.as_tensor(function(leaves), device=at[0].device)
        except RuntimeError as error:  # numpy takes no tensor that is differentiated
            raise ValueError(f"{name}: expected torch operations on u, which is differentiated; numpy has none") from error
        if value.requires_grad:
            parts = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
            known = sum((STEP * v * part for v, part in zip(at, parts, strict=True) if part is not None), known)

    def difference(step: float) -> Tensor:
        moved = (function(tuple((1 + by) * v for v in at)) for by in (step, -step))
        ends = [torch.as_tensor(value, device=at[0].device).detach().double() for value in moved]
        return ((ends[0] - ends[1]) / (2 * step) * STEP).expand(known.shape)

    seen, twice = difference(STEP), difference(2 * STEP)
    # Where two differences disagree, at a kink, an end of the domain or in round-off, they tell nothing.
    clear = ((seen - twice).abs() <= 0.1 * APART * seen.abs()) & (seen != 0)
    wrong = (seen - known).abs() > APART * torch.maximum(seen.abs(), known.abs())
    if float((clear & wrong).double().mean()) > 0.5:
        raise ValueError(
            f"{name}: torch finds another derivative by u than its values have: "
            "expected torch operations on u all through, without numpy, detach() or no_grad"
        )


def check_rows(name: str, values: Any, others: Any, shape: torch.Size, axis: int, over: str) -> None:
    """Raise ValueError where what a function returns for the first of several states depends on the others beside it.

    Its `values` for equal states and those for `others` after the first broadcast to `shape`, whose `axis` counts the states.
    """
    first, again = (
        torch.as_tensor(value, device=HOST).detach().double().expand(shape).select(axis, 0) for value in (values, others)
    )
    alike = ((first - again).abs() <= 1e-9 * again.abs()) | (first == again) | (first.isnan() & again.isnan())
    if not bool(alike.all()):
        raise ValueError(f"{name}: mixes several states that it gets at once: take means and sums over {over}")


def _copy(argument: Any) -> Any:
    return tuple(map(_copy, argument)) if isinstance(argument, tuple) else _contiguous(argument)


def _contiguous(argument: Any) -> Any:
    return argument.detach().clone(memory_format=torch.contiguous_format) if isinstance(argument, Tensor) else argument


def _tensors(arguments: Any) -> list[Tensor]:
    if isinstance(arguments, tuple | list):
        return [tensor for one in arguments for tensor in _tensors(one)]
    return [arguments] if isinstance(arguments, Tensor) else []
