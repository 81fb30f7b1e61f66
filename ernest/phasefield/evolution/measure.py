"""Measures the fields of a run at the ends of its steps: energy, mass, and how well the energy law holds."""

import torch
from torch import Tensor

from ernest.phasefield.element import Element
from ernest.phasefield.evolution.elements import EnergeticStepper
from ernest.phasefield.solver.diagnostics import StepRecord


class Measure:
    """Measures the fields of a run at the ends of its steps."""

    def __init__(self, stepper: EnergeticStepper, u0: Tensor) -> None:
        self._stepper, self._grid, self._d = stepper, stepper.grid, stepper.grid.dimensions
        self.dissipative = stepper.operators.dissipative(self._nodes(u0))

    def _nodes(self, u: Tensor) -> Tensor:
        return (u.unsqueeze(-1 - self._d) if self._stepper.single else u).unsqueeze(-1 - self._d)

    def record(
        self,
        u: Tensor,
        time: float,
        element: Element | None = None,
        iterations: int = 0,
        before: StepRecord | None = None,
        error: float = 0.0,
        rejected: int = 0,
    ) -> StepRecord:
        """The record of fields u, at the end of an element."""
        energy, defect = self._energy(u, time), None
        start = 0.0 if element is None else float(element.time)
        # A potential may change at once, as in a quench: no law holds for the element that ends there.
        if element is not None and before is not None and self.dissipative and torch.equal(energy, self._energy(u, start)):
            past = torch.as_tensor(before.energy, dtype=u.dtype, device=u.device)
            defect = (energy - past + self._stepper.dissipated).tolist()
        largest = u.abs().amax(tuple(range(-self._d, 0)))
        return StepRecord(
            time=time,
            tau=float(element.tau) if element is not None else 0.0,
            energy=energy.tolist(),
            mass=self._stepper.operators.faces.integral(u).tolist(),
            largest=largest.tolist(),
            defect=defect,
            iterations=iterations,
            error=error,
            rejected=rejected,
        )

    def _energy(self, u: Tensor, time: float) -> Tensor:
        """E of fields u `[..., *points]`, `[...]`."""
        at = torch.tensor([time], dtype=u.dtype, device=u.device)
        return self._stepper.operators.energy(self._nodes(u), at).squeeze(-1)
