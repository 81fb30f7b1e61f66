"""Root-mean-square normalisation with a gradient in few passes over memory."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ernest.model import native


class RMSNorm(nn.Module):
    """y = weight * x / sqrt(mean(x^2) + eps) over the last axis (Zhang & Sennrich 2019).

    Input that is narrower than the weight is widened first, and the result has the weight's type. On a CPU, where PyTorch's own
    is made of single operations, this takes half its time.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The result in `dtype`, without one in the weight's."""
        wide, dtype = x.to(self.weight.dtype), dtype or self.weight.dtype
        if native.usable(wide, self.weight) and dtype in (torch.float32, torch.bfloat16):
            return _NormaliseAtOnce.apply(wide.contiguous(), self.weight, self.eps, dtype)
        if not torch.is_grad_enabled():
            return F.rms_norm(wide, wide.shape[-1:], self.weight, self.eps).to(dtype)
        return _Normalise.apply(wide, self.weight, self.eps).to(dtype)

    def rotated(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`rotate(norm(x), cos, sin)` for heads `[B, S, G, d]` as `[B, G, S, d]` in the type of `x`; angles `[B, S, d / 2]`."""
        return _NormaliseAndRotate.apply(x, self.weight, cos[:, :, None], sin[:, :, None], self.eps)


class _Normalise(torch.autograd.Function):
    """With h = x / rms and g the gradient of y: dx = (g w - h mean(g w h)) / rms and dw = sum of g h."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = _inverse_rms(x, eps)
        h = x * inverse
        ctx.save_for_backward(h, inverse, weight)
        return h * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        return *_gradients(grad, *ctx.saved_tensors), None


class _NormaliseAtOnce(torch.autograd.Function):
    """The same in one pass each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        y, inverse = torch.empty_like(x, dtype=dtype), x.new_empty(x.shape[:-1])
        native.call("normalise", inverse.numel(), x.shape[-1], x, weight, eps, *_by_type(y), inverse)
        ctx.save_for_backward(x, inverse, weight)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        x, inverse, weight = ctx.saved_tensors
        x_grad, weight_grad, grad = torch.empty_like(x), torch.zeros_like(weight), grad.contiguous()
        shape = inverse.numel(), x.shape[-1]
        native.call("normalise_back", *shape, x, weight, inverse, *_by_type(grad), x_grad, weight_grad)
        return x_grad, weight_grad, None, None


def _by_type(x: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """As a kernel takes it: in float32, in bfloat16."""
    return (x, None) if x.dtype == torch.float32 else (None, x)


class _NormaliseAndRotate(torch.autograd.Function):
    """Both at once, since each alone is a chain of passes over memory; the gradient turns back, then passes the norm."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
        wide = x.to(weight.dtype)
        inverse = _inverse_rms(wide, eps)
        h = wide * inverse
        ctx.save_for_backward(h, inverse, weight, cos, sin)
        ctx.dtype = x.dtype
        return _turn(h * weight, cos, sin).transpose(1, 2).to(x.dtype, memory_format=torch.contiguous_format)

    @staticmethod
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        h, inverse, weight, cos, sin = ctx.saved_tensors
        grad = grad.transpose(1, 2).to(weight.dtype, memory_format=torch.contiguous_format)
        x_grad, weight_grad = _gradients(_turn(grad, cos, -sin), h, inverse, weight)
        return x_grad.to(ctx.dtype), weight_grad, None, None, None


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    return mean_square.add_(eps).rsqrt_()


def _gradients(grad: Tensor, h: Tensor, inverse: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of the input and of the weight."""
    product = (grad * h).flatten(0, -2)
    mean = (product @ weight).div_(len(weight)).view_as(inverse)
    return torch.addcmul(grad * weight, h, mean, value=-1).mul_(inverse), product.sum(dim=0)


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`sequence.positions.rotate` in fewer passes."""
    turned = x * torch.cat([cos, cos], dim=-1)
    a, b = x.chunk(2, dim=-1)
    turned_a, turned_b = turned.chunk(2, dim=-1)
    turned_a.addcmul_(b, sin, value=-1)
    turned_b.addcmul_(a, sin)
    return turned
