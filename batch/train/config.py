"""Every number of a training run, in one place; it is written into the run's manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

#: sources that are one family: always on the same side of a split
FAMILIES = {"sarscov2": ("sarscov2", "cvt_ho"), "cvt_ho": ("sarscov2", "cvt_ho")}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run. A batch holds ``sick + healthy + 2 * pairs`` slices."""

    seed: int = 0
    steps: int = 2000
    leave_out: str = ""
    sick: int = 5
    healthy: int = 3
    pairs: int = 8
    width: int = 48
    peak_rate: float = 4e-3
    weight_decay: float = 2e-2
    warm_up: float = 0.08
    average: float = 0.99
    sharpness_first: float = 1.0
    sharpness_last: float = 3.0
    smoothing: float = 0.04
    healthy_cells: float = 0.6
    lesion_cells: float = 1.0
    pair: float = 0.3
    pair_margin: float = 2.0
    checkpoint_every: int = 100
    report_every: int = 20

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of all sources that this run must not see."""
        return FAMILIES.get(self.leave_out, (self.leave_out,)) if self.leave_out else ()

    def going_on(self) -> TrainConfig:
        """The same for a run that starts from trained weights: a lower rate, sharp from the first step."""
        return replace(self, peak_rate=0.75 * self.peak_rate, sharpness_first=self.sharpness_last)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return asdict(self)
