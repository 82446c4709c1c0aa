"""Lungs in three dimensions on a coarse grid: by connectivity inside the body, left and right apart.

A lung here is aerated tissue; what disease has filled with fluid or tissue is the business of
`shared.ct.thorax`. All arrays are (z, y, x) with the axes of `shared.ct.volume.Volume`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.ct.volume import Volume

#: aimed voxel of the coarse grid, mm: finer than any bronchus wall needs, coarse enough for 1 CPU-s
GRID_MM = 3.0
#: HU: below it a coarse voxel is gas or aerated lung, above it tissue
AERATED_HU = -400
#: HU: at or below it a region that touches the picture's border is air around the patient
OUTSIDE_HU = -930
#: HU: parenchyma lies between these; gas in a bowel or a mattress mostly does not
PARENCHYMA_HU = (-935, -450)
#: HU: solid enough to be the body's wall
WALL_HU = -250
#: HU: bone of a vertebra
BONE_HU = 150
#: ml: smaller regions of aerated tissue are not taken for a lung of their own
MIN_LUNG_ML = 20.0
#: ml and mean HU: a region darker than any living lung counts only when it is larger than this
EMPHYSEMA_ML = 900.0
#: HU and cm²: a smaller region of one slice whose core is emptier than this is gas in a bowel
GAS_HU = -955
GAS_CM2 = 60.0
#: cm²: a dark region near the midline of one slice that is smaller is an airway
AIRWAY_CM2 = 7.0

RIGHT, LEFT = 1, 2

Mask = NDArray[np.bool_]
_PLANE = np.zeros((3, 3, 3), dtype=bool)
_PLANE[1] = True


@dataclass(frozen=True, slots=True)
class Grid:
    """A volume averaged to about `GRID_MM`; ``affine`` maps its (x, y, z) indices to LPS mm."""

    hu: NDArray[np.int16]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size in mm along z, y, x."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def crop_plane(self, y: slice, x: slice) -> Grid:
        """The same grid, cut in the plane."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, 0] * x.start + affine[:3, 1] * y.start
        return Grid(np.ascontiguousarray(self.hu[:, y, x]), affine)


def coarse_grid(volume: Volume, mm: float = GRID_MM) -> Grid:
    """Average whole blocks of pixels in plane and take every n-th slice, to about ``mm``.

    Parameters
    ----------
    volume : Volume
        Any spacing; axes that are already coarser stay as they are.
    mm : float
        Aimed voxel size, mm.

    Returns
    -------
    Grid
        Blocks that do not fill the border are dropped (less than one coarse voxel).
    """
    dz, dy, dx = volume.spacing_mm
    nz, ny, nx = volume.shape
    fz, fy, fx = (
        max(1, min(size, round(mm / step))) for step, size in zip((dz, dy, dx), (nz, ny, nx), strict=True)
    )
    slices = volume.hu[(fz - 1) // 2 :: fz][: max(1, nz // fz)]
    rows = np.zeros((len(slices), ny // fy, nx), dtype=np.int32)
    for offset in range(fy):
        rows += slices[:, offset : offset + (ny // fy) * fy : fy]
    blocks = np.zeros((len(slices), ny // fy, nx // fx), dtype=np.int32)
    for offset in range(fx):
        blocks += rows[:, :, offset : offset + (nx // fx) * fx : fx]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([(fx - 1) / 2, (fy - 1) / 2, (fz - 1) // 2], dtype=np.float64)
    affine[:3, :3] = affine[:3, :3] * np.array([fx, fy, fz], dtype=np.float64)
    return Grid(np.rint(blocks / (fx * fy)).astype(np.int16), affine)


def find_lungs(grid: Grid, body: Mask) -> NDArray[np.uint8]:
    """Label the lungs: 1 the right one, 2 the left one, 0 everything else.

    Air around the patient, table, bowel gas, trachea and main bronchi are left out; vessels and
    what is dense inside a lung too. All zero where nothing looks like lung. ``body`` is `body_wall`.
    """
    gas = grid.hu < AERATED_HU
    inner = gas & ~outside_air(grid, gas)
    inner &= ~_gas_or_airway(grid, inner)
    lungs = _lung_like(grid, inner, body)
    if not lungs.any():
        return np.zeros(grid.hu.shape, dtype=np.uint8)
    return _sides(lungs, midline_x(grid, lungs, body))


def body_wall(grid: Grid) -> Mask:
    """The solid part of the body: the largest piece of tissue once thin shells (a table's) are gone."""
    labels, n = ndimage.label(ndimage.binary_opening(grid.hu > WALL_HU, structure=_PLANE))
    if n == 0:
        return np.zeros(grid.hu.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def outside_air(grid: Grid, gas: Mask) -> Mask:
    """Air around the patient: per slice, gas that touches the border and is as empty as room air.

    Touching alone does not decide: in a cropped picture a lung touches the border too.
    """
    labels, n = ndimage.label(gas, structure=_PLANE)
    border = np.zeros(n + 1, dtype=bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        border[np.unique(edge)] = True
    border[0] = False
    ids = np.flatnonzero(border)
    if not len(ids):
        return np.zeros(gas.shape, dtype=bool)
    outside = np.zeros(n + 1, dtype=bool)
    outside[ids] = ndimage.median(grid.hu, labels, ids) <= OUTSIDE_HU
    return outside[labels]


def _gas_or_airway(grid: Grid, inner: Mask) -> Mask:
    """Regions of one slice that are no lung: gas in a bowel, trachea and main bronchi.

    Decided slice by slice, because a thin diaphragm between thick slices joins colon and lung.
    """
    labels, n = ndimage.label(inner, structure=_PLANE)
    if n == 0:
        return np.zeros(inner.shape, dtype=bool)
    ids = np.arange(1, n + 1)
    _, dy, dx = grid.spacing_mm
    area = np.bincount(labels.ravel(), minlength=n + 1)[1:] * dy * dx / 100.0
    mean = ndimage.mean(grid.hu, labels, ids)
    # the rim of a bubble averages to the density of lung: judge by the core
    core = np.where(ndimage.binary_erosion(inner, structure=_PLANE), labels, 0)
    inside = np.bincount(core.ravel(), minlength=n + 1)[1:]
    empty = np.bincount(core[grid.hu < GAS_HU], minlength=n + 1)[1:]
    gas = (area < GAS_CM2) & (empty > 0.5 * inside) & (inside > 0)
    column = np.broadcast_to(np.arange(inner.shape[2], dtype=np.float32), inner.shape)
    x = ndimage.mean(column, labels, ids)
    weight = np.where(gas, 0.0, area)
    midline = float((weight * x).sum() / weight.sum()) if weight.sum() > 0 else inner.shape[2] / 2
    airway = (area < AIRWAY_CM2) & (mean < -800) & (np.abs(x - midline) * dx < 40)
    out = np.zeros(n + 1, dtype=bool)
    out[1:] = gas | airway
    return out[labels]


def _lung_like(grid: Grid, inner: Mask, body: Mask) -> Mask:
    """Keep the connected pieces that lie inside the body, are large enough and as dense as lung."""
    labels, n = ndimage.label(inner)
    if n == 0:
        return inner

    def count(mask: Mask) -> NDArray[np.int64]:
        return np.bincount(labels[mask], minlength=n + 1)[1:]

    voxels = count(inner)
    ml = voxels * grid.voxel_ml
    low, high = PARENCHYMA_HU
    core = ndimage.binary_erosion(inner, structure=_PLANE)
    share = count(core & (grid.hu > low) & (grid.hu < high)) / np.maximum(count(core), 1)
    enclosed = count(_enclosed(body) & inner) / np.maximum(voxels, 1)
    dense_enough = ((ml >= MIN_LUNG_ML) & (share >= 0.5)) | ((ml >= EMPHYSEMA_ML) & (share >= 0.1))
    good = dense_enough & (enclosed >= 0.5)
    if not good.any():
        return np.zeros(inner.shape, dtype=bool)
    # sinuses, pharynx and stool have the density of lung too: small pieces count beside large ones only
    z = np.broadcast_to(np.arange(inner.shape[0])[:, None, None], inner.shape)
    ids = np.arange(1, n + 1)
    large = good & (ml >= 0.25 * ml[good].max())
    low = ndimage.minimum(z, labels, ids[large]).min()
    high = ndimage.maximum(z, labels, ids[large]).max()
    keep = np.zeros(n + 1, dtype=bool)
    beside = count(inner & (z >= low) & (z <= high)) / np.maximum(voxels, 1)
    keep[1:] = good & (beside >= 0.5)
    return keep[labels]


def _enclosed(body: Mask) -> Mask:
    """Where the body is met in at least three of the four directions of the slice.

    Three, because a cropped picture cuts one side off.
    """
    met = np.zeros(body.shape, dtype=np.uint8)
    for axis in (1, 2):
        met += np.logical_or.accumulate(body, axis=axis)
        met += np.flip(np.logical_or.accumulate(np.flip(body, axis), axis=axis), axis)
    return np.asarray(met >= 3)


def _sides(lungs: Mask, middle: float) -> NDArray[np.uint8]:
    """Tell the right lung from the left one.

    Pieces that lie on one side of the body's midline belong to it. A piece that reaches over it on
    both sides (lungs that touch in front of the heart) is taken apart by erosion, each voxel going
    to the nearest part; where nothing comes apart the midline cuts.
    """
    out = np.zeros(lungs.shape, dtype=np.uint8)
    labels, _ = ndimage.label(lungs)
    x = np.arange(lungs.shape[2])
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        piece = labels[box] == index
        side = np.where(x[box[2]] < middle, RIGHT, LEFT).astype(np.uint8)
        profile = piece.sum(axis=(0, 1))
        right = float(profile[side == RIGHT].sum()) / float(profile.sum())
        if 0.1 < right < 0.9:
            out[box][piece] = _apart(piece, side)[piece]
        else:
            out[box][piece] = RIGHT if right >= 0.5 else LEFT
    return out


def _apart(piece: Mask, side: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Split one piece that holds both lungs; ``side`` gives the side of each column x."""
    by_midline = np.broadcast_to(side, piece.shape)
    eroded = piece
    for _ in range(4):
        eroded = ndimage.binary_erosion(eroded, structure=_PLANE)
        labels, n = ndimage.label(eroded)
        if n < 2:
            continue
        sizes = np.bincount(labels.ravel())[1:]
        right = np.bincount(labels[(labels > 0) & (by_midline == RIGHT)], minlength=n + 1)[1:] / sizes
        big = sizes > 0.1 * sizes.sum()
        if (
            (big & (right > 0.8)).any()
            and (big & (right < 0.2)).any()
            and not (big & (right > 0.2) & (right < 0.8)).any()
        ):
            seed = np.zeros(n + 1, dtype=np.uint8)
            seed[1:] = np.where(right >= 0.5, RIGHT, LEFT)
            nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
            return np.asarray(seed[labels][tuple(nearest)], dtype=np.uint8)
    return by_midline


def midline_x(grid: Grid, lungs: Mask, body: Mask) -> float:
    """Index x of the body's midline: the spine where it is seen, else the middle of its tissue.

    The spine is the thick bone behind the middle of the lungs (an opening removes ribs).
    """
    slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    z = slice(int(slices[0]), int(slices[-1]) + 1)
    rows = lungs[z].sum(axis=(0, 2), dtype=np.float64)
    behind = int(np.searchsorted(np.cumsum(rows), 0.6 * rows.sum()))
    _, dy, dx = grid.spacing_mm
    box = (1, max(2, round(10 / dy)), max(2, round(10 / dx)))
    bone = (grid.hu[z, behind:] > BONE_HU) & body[z, behind:]
    # a cropped picture may cut the spine: its border is no end of the bone
    pad = box[2]
    padded = np.pad(bone, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    thick = ndimage.binary_opening(padded, structure=np.ones(box, dtype=bool))[:, pad:-pad, pad:-pad]
    # in how many slices a column meets thick bone: the spine in nearly all, a shoulder in few
    columns = thick.any(axis=1).sum(axis=0, dtype=np.float64)
    if columns.max() >= 0.3 * len(thick):
        spine = columns >= 0.7 * columns.max()
        return float(np.median(np.flatnonzero(spine)))
    tissue = body[z].sum(axis=(0, 1), dtype=np.float64)
    return float((tissue * np.arange(len(tissue))).sum() / max(tissue.sum(), 1.0))
