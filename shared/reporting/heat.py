"""Evidence density on one slice of the volume, and its colours on a scale that never changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.model.analysis import Evidence

#: evidence density (units per ml) at which the colour is full; the same for every picture
FULL_SCALE_PER_ML = 3.0
#: below this part of the full scale nothing is drawn
_CLEAR_BELOW = 0.02
#: opacity grows to its limit within this part of the scale, then colour alone tells
_OPAQUE_AT = 0.20
_MAX_OPACITY = 0.65
#: violet, red, orange, pale yellow: lightness grows all the way, so it reads without colour vision
_ANCHORS = np.array(
    [[88, 22, 130], [165, 32, 110], [221, 66, 60], [249, 142, 24], [252, 238, 135]], dtype=np.float64
)
#: how far (in cells) the two grids may be out of parallel over the whole slice
_PARALLEL_CELLS = 0.5


def density_on_slice(
    evidence: Evidence,
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    index: int,
    size: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Evidence density of one slice, per ml, sampled on the slice's pixels.

    It is interpolated linearly between cell centres; slices thicker than the cells show the mean of
    what they hold. Summed over a slice it is that slice's share in the decision.

    Parameters
    ----------
    evidence : Evidence
        On its own grid, axes parallel to the volume's.
    affine : ndarray, shape (4, 4)
        (x, y, z) voxel indices of the volume to LPS mm.
    shape : tuple of int
        Voxels of the volume along z, y, x.
    index : int
        Which slice, from the feet.
    size : tuple of int, optional
        Rows and columns of the answer; the slice's own by default. The answer always covers the
        whole slice.

    Raises
    ------
    IndexError
        There is no such slice.
    ValueError
        The grids are not parallel.
    """
    nz, ny, nx = shape
    if not 0 <= index < nz:
        raise IndexError(f"slice {index} of {nz}")
    rows, columns = size or (ny, nx)
    to_cell = np.linalg.inv(evidence.affine) @ affine
    drift = np.abs(to_cell[:3, :3] - np.diag(np.diag(to_cell)[:3])) @ np.array([nx, ny, nz])
    if drift.max() > _PARALLEL_CELLS:
        raise ValueError("the evidence grid is not parallel to the volume")
    depth, height, width = evidence.density.shape

    # drift below half a cell is taken at the middle of the slice, so that it never adds up
    middle = np.array([(nx - 1) / 2, (ny - 1) / 2, float(index), 1.0])
    centre = to_cell @ middle
    # a triangle as wide as the coarser of both grids, as the slices' shares are spread (decision 0021)
    reach = max(1.0, abs(to_cell[2, 2]))
    z_weight = np.clip(1.0 - np.abs(np.arange(depth) - centre[2]) / reach, 0.0, None) / reach
    plane = np.tensordot(z_weight, evidence.density.astype(np.float64), axes=1)

    def weights(out: int, voxels: int, step: float, middle_cell: float, count: int) -> NDArray[np.float64]:
        voxel = (np.arange(out) + 0.5) * voxels / out - 0.5
        cell = middle_cell + step * (voxel - (voxels - 1) / 2)
        return np.clip(1.0 - np.abs(cell[:, None] - np.arange(count)), 0.0, None)

    along_y = weights(rows, ny, to_cell[1, 1], centre[1], height)
    along_x = weights(columns, nx, to_cell[0, 0], centre[0], width)
    return (along_y @ plane @ along_x.T).astype(np.float32)


def colours(density: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """RGB (…, 3) in 0..255 and opacity (…) in 0..1 of a density per ml, on the fixed scale."""
    level = np.clip(density.astype(np.float64) / FULL_SCALE_PER_ML, 0.0, 1.0)
    at = np.linspace(0.0, 1.0, len(_ANCHORS))
    rgb = np.stack([np.interp(level, at, _ANCHORS[:, c]) for c in range(3)], axis=-1)
    opacity = np.where(level < _CLEAR_BELOW, 0.0, _MAX_OPACITY * np.minimum(1.0, level / _OPAQUE_AT))
    return rgb, opacity


def blend(grey: NDArray[np.uint8], density: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey values (rows, columns) with heat over them as RGB (rows, columns, 3)."""
    rgb, opacity = colours(density)
    mixed = grey[..., None] * (1.0 - opacity[..., None]) + rgb * opacity[..., None]
    return np.rint(mixed).astype(np.uint8)
