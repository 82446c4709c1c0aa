"""Findings: connected heat with a box, a volume, a side and a share, in words of density and place."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.ct.chest import LUNG_HEIGHT_MM, Chest
from shared.ct.volume import Volume
from shared.model.analysis import Appearance, Finding
from shared.model.preprocess import Plan

#: the hottest cells that together carry this share of the decision make the findings
CARRIED = 0.9
#: a connected place with less than this share of the decision is not listed
MIN_SHARE = 0.03
MAX_FINDINGS = 10
#: HU: above it tissue or fluid; between the two hazy lung; below the last one emptied lung
DENSE_HU, HAZY_HU, EMPTY_HU = -250.0, -750.0, -940.0
CALCIUM_HU = 250.0
FLUID_HU = (-15.0, 25.0)
#: mm from the midline within which dense heat belongs to the mediastinum
MEDIASTINUM_MM = 30.0

Side = Literal["left", "right", "middle"]
Third = Literal["upper", "middle", "lower"]
Place = Literal["lung", "pleura", "mediastinum"]


def find(
    density: NDArray[np.float32],
    hu: NDArray[np.int16],
    plan: Plan,
    chest: Chest,
    volume: Volume,
) -> list[Finding]:
    """Connected places of heat, the largest share first.

    Parameters
    ----------
    density : ndarray of float32, shape ``plan.cells``
        Evidence density.
    hu : ndarray of int16, shape (slices, h, w)
        The judged slices on the model's grid.
    plan, chest, volume
        Where all of this lies.

    Returns
    -------
    list of Finding
        At most `MAX_FINDINGS`; shares are exact shares of the score.
    """
    total = float(density.sum(dtype=np.float64))
    if total <= 0:
        return []
    ranked = np.sort(density[density > 0])[::-1]
    carried = np.cumsum(ranked, dtype=np.float64)
    level = ranked[int(np.searchsorted(carried, CARRIED * total))]
    labels, n = ndimage.label(density >= level, structure=np.ones((3, 3, 3), dtype=bool))
    share = ndimage.sum_labels(density.astype(np.float64), labels, np.arange(1, n + 1)) / total
    found = [
        _describe(labels[box] == index, box, float(share[index - 1]), density, hu, plan, chest, volume)
        for index, box in enumerate(ndimage.find_objects(labels), start=1)
        if share[index - 1] >= MIN_SHARE
    ]
    # ties end at the position, so that the order is total
    return sorted(found, key=lambda f: (-f.share, f.box_voxel))[:MAX_FINDINGS]


def _describe(
    cells: NDArray[np.bool_],
    box: tuple[slice, ...],
    share: float,
    density: NDArray[np.float32],
    hu: NDArray[np.int16],
    plan: Plan,
    chest: Chest,
    volume: Volume,
) -> Finding:
    heat = np.where(cells, density[box], 0.0)
    corner = np.array([edge.start for edge in box])
    zyx = np.argwhere(cells) + corner
    weight = heat[cells].astype(np.float64)
    centre = (plan.affine @ np.append((weight @ zyx / weight.sum())[::-1], 1.0))[:3]
    pixels = _pixels(cells, box, hu, hu.shape[1] // plan.cells[1])
    dependent = _share_inside(chest.dependent, chest, plan, zyx, weight)
    appearance, place = _look(pixels, dependent, abs(float(centre[0]) - chest.middle_mm))
    box_voxel, box_mm = _boxes(box, plan, volume)
    return Finding(
        box_voxel=box_voxel,
        box_mm=box_mm,
        volume_ml=round(float(cells.sum()) * plan.cell_ml, 3),
        side=_side(float(centre[0]) - chest.middle_mm, place),
        third=_third(float(centre[2]), chest),
        share=share,
        appearance=appearance,
        place=place,
        peak_slice=int(plan.slices[int(heat.max(axis=(1, 2)).argmax()) + int(corner[0])]),
    )


def _pixels(
    cells: NDArray[np.bool_], box: tuple[slice, ...], hu: NDArray[np.int16], stride: int
) -> NDArray[np.int16]:
    """HU of all pixels of the model's grid that lie in the cells."""
    fine = cells.repeat(stride, axis=1).repeat(stride, axis=2)
    rows, columns = (slice(edge.start * stride, edge.stop * stride) for edge in box[1:])
    return np.asarray(hu[box[0], rows, columns][fine])


def _look(
    pixels: NDArray[np.int16], dependent: float, off_middle_mm: float
) -> tuple[Appearance | None, Place]:
    """Density and place in words; ``dependent`` is the share of heat between lung and back wall."""
    dense = pixels > DENSE_HU
    share = float(dense.mean())
    place: Place = "lung"
    if share >= 0.35:
        core = pixels[dense]
        if dependent > 0.5 and FLUID_HU[0] < float(np.median(core)) < FLUID_HU[1]:
            return "fluid", "pleura"
        if share >= 0.6 and off_middle_mm < MEDIASTINUM_MM:
            place = "mediastinum"
        return ("calcified" if float((core > CALCIUM_HU).mean()) > 0.25 else "solid"), place
    if float(((pixels > HAZY_HU) & ~dense).mean()) >= 0.35:
        return "ground_glass", place
    if float((pixels < EMPTY_HU).mean()) >= 0.4:
        return "low_attenuation", place
    return ("solid" if share >= 0.15 else None), place


def _share_inside(
    mask: NDArray[np.bool_], chest: Chest, plan: Plan, zyx: NDArray[np.int64], weight: NDArray[np.float64]
) -> float:
    """Weighted share of cells whose centre lies in a mask of the chest's grid."""
    to_grid = np.linalg.inv(chest.affine) @ plan.affine
    xyz = np.c_[zyx[:, ::-1], np.ones(len(zyx))] @ to_grid.T
    z, y, x = np.rint(xyz[:, 2::-1]).astype(np.int64).T
    inside = np.array([(i >= 0) & (i < n) for i, n in zip((z, y, x), mask.shape, strict=True)]).all(axis=0)
    hit = np.zeros(len(zyx), dtype=bool)
    hit[inside] = mask[z[inside], y[inside], x[inside]]
    return float(weight[hit].sum() / weight.sum())


def _boxes(box: tuple[slice, ...], plan: Plan, volume: Volume) -> tuple[list[int], list[float]]:
    """The cells' outer box in voxels (inclusive) and the centres of its corner voxels in LPS mm."""
    corners = np.array([[edge.start - 0.5 for edge in box], [edge.stop - 0.5 for edge in box]])
    lps = (np.c_[corners[:, ::-1], [1.0, 1.0]] @ plan.affine.T)[:, :3]
    low, high = np.sort(volume.index_of(lps), axis=0)
    first = np.clip(np.ceil(low - 1e-6), 0, np.array(volume.shape) - 1).astype(int)
    last = np.clip(np.floor(high - 1e-6), first, np.array(volume.shape) - 1).astype(int)
    ends = volume.lps_of(np.array([first, last], dtype=np.float64))
    voxels = [int(v) for axis in (2, 1, 0) for v in (first[axis], last[axis])]
    return voxels, [round(float(v), 2) for axis in (0, 1, 2) for v in np.sort(ends[:, axis])]


def _side(from_middle_mm: float, place: Place) -> Side:
    if place == "mediastinum":
        return "middle"
    return "left" if from_middle_mm > 0 else "right"


def _third(z_mm: float, chest: Chest) -> Third:
    """Third of the lungs by height; where an end is cut off, an adult's height stands in for it."""
    low, high = chest.lungs_mm
    if not chest.coverage.base_reached:
        low = min(low, high - LUNG_HEIGHT_MM)
    elif not chest.coverage.apex_reached:
        high = max(high, low + LUNG_HEIGHT_MM)
    part = (z_mm - low) / max(high - low, 1.0)
    return "lower" if part < 1 / 3 else "middle" if part < 2 / 3 else "upper"
