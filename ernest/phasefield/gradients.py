"""Keeps derivatives by torch alive where a caller has switched them off for good, in `torch.inference_mode`."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """The function as it is, but out of inference mode, where nothing is differentiated and so a density has no derivative."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return function(*args, **kwargs)

    return call


def plain(u0: Tensor) -> Tensor:
    """The first field without the history by which it is differentiated, nor the limits of torch's inference mode."""
    if not isinstance(u0, Tensor):
        return u0  # which the check of fields names
    # What is negative by a bit alone, as the imaginary part of a conjugate is, has no memory that numpy could read.
    return (u0.detach().clone() if u0.is_inference() else u0.detach()).resolve_neg()
