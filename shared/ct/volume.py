"""The volume that everything after reading works on: int16 HU, (z, y, x), with an affine to LPS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Volume:
    """A CT volume in Hounsfield units on an even grid.

    Attributes
    ----------
    hu : ndarray of int16, shape (z, y, x)
        z grows toward the head (S), y toward the back (P), x toward the patient's left (L),
        whatever the acquisition was.
    affine : ndarray of float64, shape (4, 4)
        Maps homogeneous (x, y, z) voxel indices to LPS millimetres (voxel centres).
    """

    hu: NDArray[np.int16]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.dtype != np.int16:
            raise ValueError(f"hu must be 3-D int16, not {self.hu.ndim}-D {self.hu.dtype}")
        if self.affine.shape != (4, 4):
            raise ValueError(f"affine must be 4 x 4, not {self.affine.shape}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        z, y, x = self.hu.shape
        return z, y, x

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm along z, y, x."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml (cm³): |det| of the affine's linear part / 1000."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def lps_of(self, zyx: NDArray[np.float64]) -> NDArray[np.float64]:
        """World positions (LPS, mm), shape (..., 3), of voxel indices (z, y, x), shape (..., 3)."""
        xyz = np.asarray(zyx, dtype=np.float64)[..., ::-1]
        return xyz @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index_of(self, lps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional voxel indices (z, y, x), shape (..., 3), of world positions (LPS, mm)."""
        offset = np.asarray(lps, dtype=np.float64) - self.affine[:3, 3]
        xyz = offset @ np.linalg.inv(self.affine[:3, :3]).T
        return xyz[..., ::-1]
