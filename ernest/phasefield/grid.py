"""The periodic square grid and its Fourier modes."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PeriodicGrid:
    """`points` x `points` equidistant points of the periodic square of side `length`.

    A field is `[..., points, points]`, its modes are the half-plane `[..., points, points // 2 + 1]` of the
    real Fourier transform.
    """

    points: int
    length: float

    def __post_init__(self) -> None:
        if self.points < 2:
            raise ValueError(f"grid points: expected 2 or more, got {self.points}")
        if not self.length > 0:
            raise ValueError(f"grid length: expected a positive length, got {self.length}")

    @property
    def cell(self) -> float:
        """Area of one cell."""
        return (self.length / self.points) ** 2

    def coordinates(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
        """Coordinates x (along the last axis) and y of every point, each `[points, points]`."""
        line = torch.arange(self.points, dtype=dtype) * (self.length / self.points)
        y, x = torch.meshgrid(line, line, indexing="ij")
        return x, y

    def squared_wavenumbers(self, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
        """|k|^2 of every mode of the half-plane, `[points, points // 2 + 1]`: the symbol of minus the Laplacian."""
        unit = 2 * torch.pi / self.length * self.points
        rows = torch.fft.fftfreq(self.points, dtype=dtype, device=device) * unit
        columns = torch.fft.rfftfreq(self.points, dtype=dtype, device=device) * unit
        return rows[:, None] ** 2 + columns[None, :] ** 2

    def modes(self, u: Tensor) -> Tensor:
        """Half-plane of Fourier modes of a real field."""
        return torch.fft.rfft2(u)

    def field(self, modes: Tensor) -> Tensor:
        """The real field of a half-plane of modes."""
        return torch.fft.irfft2(modes, s=(self.points, self.points))
