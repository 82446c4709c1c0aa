"""Is it a chest, how much of one, and where: lungs, thorax and coverage from the pixels alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.ct.lungs import LEFT, RIGHT, Grid, Mask, body_wall, coarse_grid, find_lungs, midline_x
from shared.ct.passport import Coverage
from shared.ct.thorax import find_thorax
from shared.ct.volume import Volume
from shared.errors import Refusal

#: ml and mm: less aerated lung than this, or a lower stack of it, is no chest (an abdomen shows the tips)
MIN_CHEST_ML = 150.0
MIN_CHEST_MM = 45.0
#: share of the largest lung section: an end slice with less lung lies beyond the lung's end
END_SHARE = 0.15
#: mm: height of an adult's lungs, for a rough share where an end is cut off
LUNG_HEIGHT_MM = 240.0
#: mm of lung along the picture's border, mean over the slices: above it the picture cuts a lung
CONTACT_MM = 10.0
#: mm kept above and below the lungs when the chest is cut out of a larger examination
CHEST_MARGIN_MM = 40.0
#: ml of blood brighter than `BLOOD_HU` between the lungs that speaks for contrast
CONTRAST_ML = 40.0
BLOOD_HU = (140, 600)


@dataclass(frozen=True, slots=True)
class Chest:
    """What was found of the chest.

    Attributes
    ----------
    lungs : ndarray of uint8, shape (z, y, x)
        Aerated lung on the coarse grid, cut to the body in plane: 1 right, 2 left, 0 none.
    thorax : ndarray of bool, same shape
        Where evidence may count; see `shared.ct.thorax`.
    dependent : ndarray of bool, same shape
        Its part between aerated lung and back wall, where fluid collects.
    affine : ndarray of float64, shape (4, 4)
        Maps (x, y, z) indices of the coarse grid to LPS mm.
    middle_mm : float
        x of the body's midline, LPS mm.
    lungs_mm : tuple of float
        z of the lowest and of the highest lung, LPS mm.
    coverage : Coverage
        How much of a chest is inside the volume.
    cut_at_side : bool
        Whether the picture's border cuts through a lung.
    chest_z : tuple of int
        First slice and one past the last slice of the volume that belong to the chest.
    contrast : bool
        Whether the blood between the lungs is bright.
    """

    lungs: NDArray[np.uint8]
    thorax: Mask
    dependent: Mask
    affine: NDArray[np.float64]
    middle_mm: float
    lungs_mm: tuple[float, float]
    coverage: Coverage
    cut_at_side: bool
    chest_z: tuple[int, int]
    contrast: bool

    @property
    def partial(self) -> str:
        """What is missing for a whole chest, as a short English token list; empty when nothing is."""
        c = self.coverage
        missing = (
            [] if c.lungs_found == "both" else [f"only the {c.lungs_found} lung is aerated or in the field"]
        )
        missing += [] if c.apex_reached else ["apices cut off"]
        missing += [] if c.base_reached else ["bases cut off"]
        missing += ["cut at the side"] if self.cut_at_side else []
        return ", ".join(missing)


def look_at_chest(volume: Volume) -> Chest:
    """Find the lungs and say how much of a chest is there.

    Parameters
    ----------
    volume : Volume
        Int16 HU, any spacing.

    Returns
    -------
    Chest
        Masks on a grid of about 3 mm.

    Raises
    ------
    Refusal
        ``not_chest`` where no lungs are found: head, abdomen, limb, phantom, other modality.
    """
    if min(volume.shape) < 3:
        raise Refusal("not_chest")
    grid = coarse_grid(volume)
    body = body_wall(grid)
    if not body.any():
        raise Refusal("not_chest")
    picture = grid.hu.shape[1:]
    _, y, x = ndimage.find_objects(body.astype(np.uint8))[0]
    grid, body = grid.crop_plane(y, x), np.ascontiguousarray(body[:, y, x])
    lungs = find_lungs(grid, body)
    area = (lungs > 0).sum(axis=(1, 2))
    ml = float(area.sum()) * grid.voxel_ml
    slices = np.flatnonzero(area)
    dz = grid.spacing_mm[0]
    extent = (int(slices[-1]) - int(slices[0]) + 1) * dz if len(slices) else 0.0
    if ml < MIN_CHEST_ML or extent < MIN_CHEST_MM:
        raise Refusal("not_chest")
    middle = midline_x(grid, lungs > 0, body)
    thorax, dependent = find_thorax(grid, lungs, middle)
    cut = _cut_at_side(grid, lungs > 0, (y, x), picture)
    coverage = _coverage(grid, lungs, ml, extent, cut)
    ends = [float((grid.affine @ [middle, 0.0, float(z), 1.0])[2]) for z in (slices[0], slices[-1])]
    return Chest(
        lungs=lungs,
        thorax=thorax,
        dependent=dependent,
        affine=grid.affine,
        middle_mm=float((grid.affine @ [middle, 0.0, 0.0, 1.0])[0]),
        lungs_mm=(ends[0], ends[1]),
        coverage=coverage,
        cut_at_side=cut,
        chest_z=_chest_z(volume, grid, int(slices[0]), int(slices[-1])),
        contrast=_contrast(grid, lungs > 0, middle),
    )


def _coverage(grid: Grid, lungs: NDArray[np.uint8], ml: float, extent: float, cut: bool) -> Coverage:
    right, left = (float((lungs == side).sum()) * grid.voxel_ml for side in (RIGHT, LEFT))
    found: Literal["both", "left", "right"] = "both"
    if left < 0.1 * right:
        found = "right"
    elif right < 0.1 * left:
        found = "left"
    area = (lungs > 0).sum(axis=(1, 2)).astype(np.float64)
    top, bottom = area[-1] / area.max(), area[0] / area.max()
    apex, base = bool(top <= END_SHARE), bool(bottom <= END_SHARE)
    share = 1.0
    if not (apex and base):
        share = min(extent / LUNG_HEIGHT_MM, 1.0 - (0.0 if apex else top) / 3 - (0.0 if base else bottom) / 3)
    if found != "both":
        share /= 2
    elif cut:
        share *= 0.8
    return Coverage(
        lungs_found=found,
        lung_ml=round(ml, 1),
        extent_mm=round(extent, 1),
        apex_reached=apex,
        base_reached=base,
        share=round(float(np.clip(share, 0.0, 1.0)), 2),
    )


def _cut_at_side(grid: Grid, lungs: Mask, box: tuple[slice, slice], picture: tuple[int, ...]) -> bool:
    """Whether lung lies along the border of the picture; ``box`` is the part of it that the grid holds."""
    _, dy, dx = grid.spacing_mm
    contact = 0.0
    for axis, (edge, size, along) in enumerate(zip(box, picture, (dx, dy), strict=True), start=1):
        for index, touches in ((0, edge.start == 0), (-1, edge.stop == size)):
            if touches:
                contact += float(np.take(lungs, index, axis=axis).sum()) * along
    return contact / float(lungs.any(axis=(1, 2)).sum()) > CONTACT_MM


def _chest_z(volume: Volume, grid: Grid, low: int, high: int) -> tuple[int, int]:
    """Slices of the volume from a margin below the lungs (``low``..``high`` on the grid) to one above."""
    step = volume.spacing_mm[0]
    factor = grid.spacing_mm[0] / step
    first = low * factor - CHEST_MARGIN_MM / step
    last = (high + 1) * factor + CHEST_MARGIN_MM / step
    return max(0, int(np.floor(first))), min(volume.shape[0], int(np.ceil(last)))


def _contrast(grid: Grid, lungs: Mask, middle: float) -> bool:
    """Bright blood between the lungs, in front of the spine and behind the breastbone."""
    z = np.flatnonzero(lungs.any(axis=(1, 2)))
    rows = np.cumsum(lungs.sum(axis=(0, 2), dtype=np.float64))
    front, back = (int(np.searchsorted(rows, q * rows[-1])) for q in (0.15, 0.6))
    _, dy, dx = grid.spacing_mm
    reach = round(70 / dx)
    left, right = max(0, round(middle) - reach), round(middle) + reach + 1
    part = grid.hu[int(z[0]) : int(z[-1]) + 1, front : back + 1, left:right]
    bright = (part > BLOOD_HU[0]) & (part < BLOOD_HU[1])
    box = (1, max(2, round(10 / dy)), max(2, round(10 / dx)))
    vessels = ndimage.binary_opening(bright, structure=np.ones(box, dtype=bool))
    return float(vessels.sum()) * grid.voxel_ml > CONTRAST_ML
