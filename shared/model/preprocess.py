"""From a volume to the slices that the model sees: HU on the model's mm grid, and the thorax on its cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from shared.ct.chest import Chest
from shared.ct.volume import Volume
from shared.model.config import ModelConfig

#: HU around a cut-out, and the range that is kept (metal says no more than bone)
AIR_HU = -1000.0
CLIP_HU = (-1100.0, 1500.0)
#: mm of body around the thorax that the outermost cells see
CONTEXT_MARGIN_MM = 44.0
#: mm: thinner slices are averaged to about this, for the noise of the pictures the model learnt from
SLAB_MM = 3.0
#: share of a cell that lies inside the thorax for its evidence to count
INSIDE = 0.5

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which slices are judged, and on which grid.

    Attributes
    ----------
    slices : ndarray of int64
        Slices of the volume that are judged, evenly spaced, lowest first.
    step : int
        Their distance, in slices of the volume.
    rows, columns : sparse array of float32, shapes (h, y) and (w, x)
        Resampling operators of the plane: ``rows @ slice @ columns.T``.
    cells : tuple of int
        Cells along z, y, x: (slices, h / stride, w / stride).
    affine : ndarray of float64, shape (4, 4)
        Maps (x, y, z) cell indices to LPS mm (cell centres).
    """

    slices: NDArray[np.int64]
    step: int
    rows: sparse.csr_array
    columns: sparse.csr_array
    cells: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def plane(self) -> tuple[int, int]:
        """Pixels of the model's input along y and x."""
        return int(self.rows.shape[0]), int(self.columns.shape[0])

    @property
    def cell_ml(self) -> float:
        """Volume of a cell, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0


def make_plan(volume: Volume, chest: Chest, config: ModelConfig) -> Plan:
    """Choose slices and the plane's grid for a chest.

    The slices cover the thorax at about ``config.study.step_mm``; the plane is cut to the thorax with
    a margin that the receptive field of its outermost cells needs.
    """
    dz, dy, dx = volume.spacing_mm
    inside = np.argwhere(chest.thorax)
    corners = np.stack([inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5])
    in_lps = (np.c_[corners[:, ::-1], [1, 1]] @ chest.affine.T)[:, :3]
    low, high = np.sort(volume.index_of(in_lps), axis=0)
    # z: centred, so that what is left over at the ends is shared
    first = max(0, int(np.ceil(low[0])))
    last = min(volume.shape[0] - 1, int(np.floor(high[0])))
    step = max(1, round(config.study.step_mm / dz))
    count = max(1, int(np.ceil((last - first + 1) / step)))
    start = first + max(0, (last - first - (count - 1) * step) // 2)
    slices = np.minimum(start + step * np.arange(count, dtype=np.int64), volume.shape[0] - 1)
    rows, y0 = _operator(volume.shape[1], dy, low[1], high[1], config)
    columns, x0 = _operator(volume.shape[2], dx, low[2], high[2], config)
    cell = config.grid_mm * config.stride
    # the centre of cell 0 in voxels of the volume, then the affine of the cells
    half = (config.stride - 1) / 2 * config.grid_mm
    origin = volume.affine @ np.array([x0 + half / dx, y0 + half / dy, float(slices[0]), 1.0])
    affine = volume.affine.copy()
    affine[:3, 0] *= cell / dx
    affine[:3, 1] *= cell / dy
    affine[:3, 2] *= step
    affine[:3, 3] = origin[:3]
    shape = (len(slices), rows.shape[0] // config.stride, columns.shape[0] // config.stride)
    return Plan(slices, step, rows, columns, shape, affine)


def _operator(
    size: int, spacing: float, low: float, high: float, config: ModelConfig
) -> tuple[sparse.csr_array, float]:
    """Resampling along one axis: a matrix (pixels of the model, voxels), and the voxel of pixel 0.

    A triangle as wide as the coarser of both grids: interpolation where the volume is coarser,
    smoothing without aliasing where it is finer. Outside the volume the rows sum to less than one.
    """
    grid, block = config.grid_mm, config.stride * 4
    margin = CONTEXT_MARGIN_MM / spacing
    begin = max(-0.5, low - margin)
    end = min(size - 0.5, high + margin)
    pixels = int(np.ceil((end - begin) * spacing / grid / block)) * block
    # whole blocks, centred on the part that is wanted
    first = (begin + end) / 2 - (pixels - 1) / 2 * grid / spacing
    centres = first + np.arange(pixels) * grid / spacing
    width = max(1.0, grid / spacing)
    weight = np.maximum(0.0, 1.0 - np.abs(np.arange(size)[None, :] - centres[:, None]) / width)
    # near the border the triangle is cut: pixels whose centre lies inside are averages all the same
    total = weight.sum(axis=1, keepdims=True)
    inside = (centres >= -0.5) & (centres <= size - 0.5)
    weight = np.where(inside[:, None], weight / np.maximum(total, 1e-6), 0.0)
    return sparse.csr_array(weight.astype(np.float32)), float(first)


def thorax_on_cells(chest: Chest, plan: Plan) -> NDArray[np.bool_]:
    """Which cells count: those whose centre lies in the thorax, by linear interpolation of its mask."""
    to_grid = np.linalg.inv(chest.affine) @ plan.affine
    matrix = to_grid[:3, :3][::-1, ::-1]
    offset = to_grid[:3, 3][::-1]
    share = ndimage.affine_transform(
        chest.thorax.astype(np.float32),
        matrix,
        offset,
        output_shape=plan.cells,
        order=1,
        mode="grid-constant",
    )
    return np.asarray(share >= INSIDE)


def batches(volume: Volume, plan: Plan, config: ModelConfig, size: int = 8) -> Iterator[tuple[slice, Floats]]:
    """The inputs of the model, ``size`` slices at a time.

    Yields
    ------
    slice, ndarray of float32, shape (n, k, h, w)
        Which of ``plan.slices`` they are, and HU on the model's grid; k is ``config.neighbours``,
        lowest first, at ``config.context_mm`` (the end slices repeat).
    """
    dz = volume.spacing_mm[0]
    thick = max(1, min(plan.step, round(SLAB_MM / dz)))
    offsets = (np.arange(config.neighbours) - config.neighbours // 2) * config.context_mm / dz
    # what lies outside the picture is air
    edge = (1 - np.outer(plan.rows.sum(axis=1), plan.columns.sum(axis=1))) * np.float32(AIR_HU)
    for start in range(0, len(plan.slices), size):
        chosen = plan.slices[start : start + size]
        out = np.empty((len(chosen), config.neighbours, *plan.plane), np.float32)
        for i, z in enumerate(chosen):
            for k, offset in enumerate(np.rint(offsets).astype(np.int64)):
                slab = _slab(volume.hu, int(z + offset), thick)
                out[i, k] = (plan.columns @ (plan.rows @ slab).T).T + edge
        yield slice(start, start + len(chosen)), out


def _slab(hu: NDArray[np.int16], z: int, thick: int) -> Floats:
    """Mean of ``thick`` slices around ``z``, clipped to `CLIP_HU`; indices are held inside the volume."""
    last = hu.shape[0] - 1
    first = z - (thick - 1) // 2
    indices = [min(max(i, 0), last) for i in range(first, first + thick)]
    out = np.zeros(hu.shape[1:], np.float32)
    for i in indices:
        out += hu[i]
    out /= len(indices)
    return np.clip(out, *CLIP_HU, out=out)
