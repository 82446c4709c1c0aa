"""What an analysis is: the verdict's numbers, its findings, and its exact evidence. No numpy at import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from shared.errors import Notice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Verdict = Literal["normal", "pathology", "no_result"]
Appearance = Literal["solid", "ground_glass", "low_attenuation", "calcified", "fluid"]


class ModelInfo(BaseModel):
    """Which model answered, and on what hardware."""

    name: str
    version: str
    sha256: str
    provider: str = ""


class DecisiveSlice(BaseModel):
    """The slice with the largest share in the decision; index counts from the feet (z of the volume)."""

    index: int
    z_mm: float
    share: float


class Finding(BaseModel):
    """A connected place that carries a part of the decision."""

    #: x_min, x_max, y_min, y_max, z_min, z_max in voxels of the volume, inclusive
    box_voxel: list[int]
    #: the same corners in LPS mm
    box_mm: list[float]
    volume_ml: float
    side: Literal["left", "right", "middle"]
    third: Literal["upper", "middle", "lower"]
    #: exact share of the study score, 0..1
    share: float
    appearance: Appearance | None
    place: Literal["lung", "pleura", "mediastinum"]
    peak_slice: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """Evidence density on its own coarse grid.

    Attributes
    ----------
    density : ndarray of float32, shape (z, y, x)
        Evidence per ml, never negative; 0 outside the thorax. Same axes as the volume.
    affine : ndarray of float64, shape (4, 4)
        Maps homogeneous (x, y, z) cell indices to LPS mm (cell centres).
    slice_share : ndarray of float64, shape (volume z,)
        Share of each slice of the volume in the decision; sums to 1 where the score is above 0.
    """

    density: NDArray[np.float32]
    affine: NDArray[np.float64]
    slice_share: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Analysis:
    """The model's answer to one volume.

    ``score`` is the sum of evidence × cell volume (ml); ``probability`` is a monotone function of
    it. With ``verdict == "no_result"`` there is a ``refusal`` and no probability leaves the service.
    """

    verdict: Verdict
    probability: float
    threshold: float
    score: float
    evidence: Evidence
    decisive: DecisiveSlice | None
    findings: list[Finding]
    model: ModelInfo
    warnings: list[Notice] = field(default_factory=list)
    refusal: Notice | None = None
    seconds: float = 0.0
