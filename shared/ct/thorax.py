"""Where evidence may count: the lungs with what disease has filled, without diaphragm and heart.

Aerated lung alone would lose every consolidation, effusion and tumour; its convex hull would take
in the domes of liver and spleen, which in one axial slice look like a mass inside the lung. What
tells them apart is three-dimensional: below a dome there is no lung any more, and behind it there
is. A consolidation at the base and an effusion reach the back wall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from shared.ct.lungs import BONE_HU, LEFT, RIGHT, Grid, Mask

#: mm: a dome is at least this broad in radius, and nowhere more sharply curved than the second;
#: what rises above that is a lesion that lies on the diaphragm
DOME_REACH_MM = 32.0
DOME_CURVATURE_MM = 36.0
#: mm and slices: layer above the diaphragm that breathing and thick slices mix with it
DOME_MARGIN_MM = 4.0
DOME_MARGIN_SLICES = 1.25
#: HU: near the diaphragm, what is brighter than clear lung is mixed with it
HAZE_HU = -780
#: mm: rim of lung around them in the plane, which breathing and thick slices blur
RIM_MM = 8.0
#: mm: depth of fluid or consolidation between the aerated lung and the back wall that is looked at
DEPENDENT_MM = 60.0
#: a lung smaller than this share of the other is taken as opaque, and its place as the mirror image
OPAQUE_SHARE = 0.2
#: HU: soft tissue or fluid, not fat of the chest wall, not bone
SOFT_HU = (-150, 130)
_PLANE = np.ones((1, 3, 3), dtype=bool)


def find_thorax(grid: Grid, lungs: NDArray[np.uint8], middle: float) -> tuple[Mask, Mask]:
    """Masks of the places where evidence may count.

    Parameters
    ----------
    grid : Grid
        The coarse volume.
    lungs : ndarray of uint8
        Labels of `shared.ct.lungs.find_lungs` on the same grid.
    middle : float
        Index x of the body's midline.

    Returns
    -------
    thorax : ndarray of bool
        Aerated lung, what its hull encloses, what lies between it and the back wall; without the
        domes of the diaphragm and the heart.
    dependent : ndarray of bool
        Its part between aerated lung and back wall, where fluid collects.
    """
    thorax, under, behind = (np.zeros(lungs.shape, dtype=bool) for _ in range(3))
    for side in (RIGHT, LEFT):
        lung = lungs == side
        other = lungs == (LEFT if side == RIGHT else RIGHT)
        if not lung.any() and not other.any():
            continue
        hull = _hull_by_slice(lung)
        if lung.sum() < OPAQUE_SHARE * other.sum() and _both_sides_in_field(grid, middle):
            hull |= _mirrored(other, middle) & (grid.hu > SOFT_HU[0]) & (grid.hu < SOFT_HU[1])
        else:
            below = _below_lung(grid, lung)
            under |= _with_rim(grid, below & (grid.hu > HAZE_HU)) & (below | lung)
            behind |= _dependent(grid, lung, middle)
            hull |= behind
        thorax |= hull
    thorax &= ~under
    # bright specks and noise leave slits: close them, without growing under the diaphragm again
    thorax |= ndimage.binary_closing(thorax, structure=_PLANE, iterations=2) & ~under
    return thorax, behind


def _hull_by_slice(lung: Mask) -> Mask:
    """Convex hull of the mask in every slice."""
    out = lung.copy()
    for z in np.flatnonzero(lung.any(axis=(1, 2))):
        rows, cols = np.nonzero(lung[z])
        try:
            hull = ConvexHull(np.column_stack([rows, cols]))
        except QhullError:  # a line or a point: nothing to fill
            continue
        top, left = int(rows.min()), int(cols.min())
        y, x = np.mgrid[top : int(rows.max()) + 1, left : int(cols.max()) + 1]
        a, b, c = hull.equations.T
        inside = (a[:, None, None] * y + b[:, None, None] * x + c[:, None, None] <= 1e-6).all(axis=0)
        out[z, top : top + inside.shape[0], left : left + inside.shape[1]] |= inside
    return out


def _below_lung(grid: Grid, lung: Mask) -> Mask:
    """Diaphragm, what lies under it, and the heart on it: no lung below in the column, lung behind.

    The surface is the lowest aerated voxel of each column, with a large ball rolled under it: a lesion
    that sits on the diaphragm is more sharply curved than the dome and stays above.
    """
    dz, dy, dx = grid.spacing_mm
    seen: Mask = np.asarray(lung.any(axis=0))
    lowest = np.where(seen, lung.argmax(axis=0), -1).astype(np.float32)
    # columns without lung inside the lung's outline (a heart, a mass): as high as their surroundings
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(seen, iterations=max(1, round(15 / dx))))
    filled = _fill_from_neighbours(lowest, seen, np.asarray(inside, dtype=bool))
    ry, rx = max(1, round(DOME_REACH_MM / dy)), max(1, round(DOME_REACH_MM / dx))
    y, x = np.ogrid[-ry : ry + 1, -rx : rx + 1]
    apart = np.hypot(y * dy, x * dx)
    ball = -(apart**2) / (2 * DOME_CURVATURE_MM)
    disk = apart <= DOME_REACH_MM
    # scipy's stubs know flat structures only
    rolled = ndimage.grey_opening(filled * dz, footprint=disk, structure=ball)  # type: ignore[arg-type]
    surface = np.minimum(rolled / dz, filled)
    level = surface + DOME_MARGIN_MM / dz + DOME_MARGIN_SLICES
    z = np.arange(lung.shape[0], dtype=np.float32)[:, None, None]
    under: Mask = np.logical_and(z < level, surface >= 0)
    return np.logical_and(under, _behind(lung))


def _with_rim(grid: Grid, mask: Mask) -> Mask:
    """The mask and a rim of `RIM_MM` in the plane: lung that a slice mixes with the tissue beside it."""
    _, dy, dx = grid.spacing_mm
    ry, rx = max(1, round(RIM_MM / dy)), max(1, round(RIM_MM / dx))
    y, x = np.ogrid[-ry : ry + 1, -rx : rx + 1]
    disk = (y / ry) ** 2 + (x / rx) ** 2 <= 1.0
    return np.asarray(ndimage.binary_dilation(mask, structure=disk[None]))


def _fill_from_neighbours(values: NDArray[np.float32], known: Mask, wanted: Mask) -> NDArray[np.float32]:
    """``values`` where known, the nearest known value where wanted, -1 elsewhere."""
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.where(known | wanted, values[tuple(nearest)], np.float32(-1)).astype(np.float32)


def _behind(lung: Mask) -> Mask:
    """Where the same slice holds lung further back in the same column of the picture."""
    return np.asarray(np.flip(np.logical_or.accumulate(np.flip(lung, 1), axis=1), 1))


def _before_ribs(grid: Grid, last: NDArray[np.int32]) -> Mask:
    """Where no bone has been met since the last lung of the column (``last``), and some lies behind.

    Ribs run obliquely: bone of neighbouring slices counts too, so that their gaps close.
    """
    dz, _, _ = grid.spacing_mm
    bone = ndimage.maximum_filter(grid.hu > BONE_HU, size=(2 * max(1, round(12 / dz)) + 1, 3, 3))
    index = np.arange(bone.shape[1], dtype=np.int32)[None, :, None]
    met = np.maximum.accumulate(np.where(bone, index, np.int32(-(10**6))), axis=1)
    before: Mask = last >= met
    return before & _behind(np.asarray(bone, dtype=np.bool_))


def _mirrored(lung: Mask, middle: float) -> Mask:
    """The mask with left and right exchanged at index ``middle``."""
    source = np.rint(2 * middle - np.arange(lung.shape[2])).astype(np.int64)
    ok = (source >= 0) & (source < lung.shape[2])
    out = np.zeros_like(lung)
    out[:, :, ok] = lung[:, :, source[ok]]
    return out


def _both_sides_in_field(grid: Grid, middle: float) -> bool:
    """Whether the picture reaches far enough on both sides of the midline to hold two lungs."""
    return bool(0.3 < middle / grid.hu.shape[2] < 0.7)


def _dependent(grid: Grid, lung: Mask, middle: float) -> Mask:
    """Soft tissue or fluid between the aerated lung and the back wall: effusion, consolidation."""
    _, dy, dx = grid.spacing_mm
    low, high = SOFT_HU
    soft = (grid.hu > low) & (grid.hu < high)
    reach = max(1, round(DEPENDENT_MM / dy))
    index = np.arange(lung.shape[1], dtype=np.int32)[None, :, None]
    last = np.maximum.accumulate(np.where(lung, index, np.int32(-(10**6))), axis=1)
    away = np.abs(np.arange(lung.shape[2]) - middle) * dx > 25
    place: Mask = soft & (index - last <= reach) & ~_behind(lung) & away[None, None, :]
    return place & _before_ribs(grid, last)
