"""Quadrature nodes for flows whose operators are matrices; `Mesh` takes the place of a `Grid` there."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mesh:
    """Nodes with quadrature weights `[n]`, and their coordinates `[n]` if a forcing needs them.

    The inner product is (u, v) = sum of weights u v. A field is its values at the nodes, and these are its modes as well.
    Raises ValueError for weights that are not positive, and for coordinates of another number of nodes.
    """

    node_weights: Tensor
    node_coordinates: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        weights = self.node_weights
        if weights.ndim != 1 or weights.dtype != torch.float64 or not bool((weights > 0).all()):
            raise ValueError(f"mesh weights: expected positive float64 weights [n], got {weights.dtype} {list(weights.shape)}")
        for line in self.node_coordinates:
            if line.shape != weights.shape:
                raise ValueError(f"mesh coordinates: expected {list(weights.shape)} like the weights, got {list(line.shape)}")

    @property
    def points(self) -> tuple[int, ...]:
        return tuple(self.node_weights.shape)

    @property
    def mode_shape(self) -> tuple[int, ...]:
        return self.points

    @property
    def dimensions(self) -> int:
        """Number of axes of a field: 1, since the nodes are one list, whatever the dimension of the domain."""
        return 1

    @property
    def lengths(self) -> tuple[float, ...]:
        """Nodes may lie in any domain, not in a box only."""
        return ()

    @property
    def boundaries(self) -> tuple[str, ...]:
        """The boundary is in the operators."""
        return ()

    @property
    def volume(self) -> float:
        return float(self.node_weights.sum())

    def coordinates(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> tuple[Tensor, ...]:
        return tuple(line.to(device, dtype) for line in self.node_coordinates)

    def squared_wavenumbers(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Raises ValueError: on a mesh the operators are matrices and no symbols."""
        raise ValueError("grid: a mesh has no modes in which symbols are diagonal; expected a Grid, or a flow of operators")

    def weights(self, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None) -> Tensor:
        """Parseval weights, which are those of the nodes."""
        return self.node_weights.to(device, dtype)

    def modes(self, u: Tensor) -> Tensor:
        return u

    def field(self, modes: Tensor) -> Tensor:
        return modes

    def integral(self, u: Tensor) -> Tensor:
        """Integral of fields `[..., n]`, `[...]`."""
        return u @ self.node_weights

    def norm(self, modes: Tensor) -> Tensor:
        """Root of the mean square of fields `[..., n]`, `[...]`."""
        return (self.integral(modes.square()) / self.volume).sqrt()

    def check_field(self, u: Tensor, name: str) -> None:
        """Raise ValueError, with the field's `name`, unless `u` is float64, finite and `[..., n]`."""
        if u.shape[-1:] != self.points or u.dtype != torch.float64 or not bool(torch.isfinite(u).all()):
            raise ValueError(f"{name}: expected finite float64 fields [..., {self.points[0]}], got {u.dtype} {list(u.shape)}")
