"""Where slices lie: order along the normal, step, gaps, shear, and the way to canonical axes.

Every tolerance is a named keyword with its unit. Positions and directions are LPS, millimetres.
Nothing here knows files: the input is positions and direction cosines, the output indices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

#: steps between slices up to this are read; beyond, most of the lung would be guessed
MAX_STEP_MM = 15.0
#: a hole between two slices up to this is filled from its neighbours
MAX_HOLE_MM = 12.5
#: slices closer than this lie at the same place
SAME_PLACE_MM = 0.02
#: rows or columns more than this away from the patient's axes are oblique
OBLIQUE_DEG = 30.0
#: a shear below this is rounding, not a tilted gantry
MIN_TILT_DEG = 0.4


def normal_of(orientation: Sequence[float]) -> Vector:
    """The normal of a slice: rows × columns."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return np.asarray(np.cross(row, column), dtype=np.float64)


def plane_of(orientation: Sequence[float] | None, *, oblique_deg: float = OBLIQUE_DEG) -> str:
    """``axial``, ``coronal``, ``sagittal``, ``oblique`` or ``unknown``."""
    if orientation is None:
        return "unknown"
    normal = np.abs(normal_of(orientation))
    axis = int(np.argmax(normal))
    if normal[axis] < math.cos(math.radians(oblique_deg)):
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]


def same_orientation(a: Sequence[float], b: Sequence[float], *, tolerance_deg: float = 1.5) -> bool:
    """Rows and columns point the same way within ``tolerance_deg``."""
    limit = math.cos(math.radians(tolerance_deg))
    return all(
        sum(p * q for p, q in zip(a[part], b[part], strict=True)) >= limit
        for part in (slice(0, 3), slice(3, 6))
    )


@dataclass(frozen=True, slots=True)
class Hole:
    """A place without slices, between two that are there (indices into the sorted stack)."""

    below: int
    above: int
    below_mm: float
    above_mm: float
    missing: int


@dataclass(frozen=True, slots=True)
class Grid:
    """How a sorted stack lies on an even grid along the normal.

    Attributes
    ----------
    step_mm : float
        Distance of the grid's planes, along the normal.
    start_mm : float
        Place of the first plane along the normal.
    planes : int
        Number of planes.
    slots : ndarray of float64
        Place of every slice in units of planes; whole numbers when ``even``.
    even : bool
        Every slice lies on a plane, within the tolerance.
    holes : tuple of Hole
    """

    step_mm: float
    start_mm: float
    planes: int
    slots: NDArray[np.float64]
    even: bool
    holes: tuple[Hole, ...]

    @property
    def missing(self) -> int:
        """Planes without a slice."""
        return sum(hole.missing for hole in self.holes)

    @property
    def largest_hole_mm(self) -> float:
        """The largest distance over which values are guessed."""
        return max((h.above_mm - h.below_mm for h in self.holes), default=0.0)


def step_of(places: Vector, *, same_place_mm: float = SAME_PLACE_MM) -> float | None:
    """The usual distance of sorted places: the median, or a common smaller one.

    When a stack was thinned in a part, its finer part gives the step.
    """
    steps = np.diff(places)
    steps = steps[steps > same_place_mm]
    if not len(steps):
        return None
    middle = float(np.median(steps))
    finer = steps[steps < 0.75 * middle]
    if len(finer) >= 0.25 * len(steps):
        middle = float(np.median(finer))
    return middle


def fit_grid(places: Vector, *, off_grid_share: float = 0.25) -> Grid | None:
    """Lay sorted, distinct places on an even grid.

    Parameters
    ----------
    places : ndarray
        Along the normal, mm, ascending, no two the same.
    off_grid_share : float
        How far, in steps, a slice may lie from its plane.
    """
    step = step_of(places)
    if step is None:
        return None
    # whole steps from one slice to the next, so that rounding does not add up over the stack
    jumps = np.maximum(1, np.rint(np.diff(places) / step))
    counts = np.concatenate([[0.0], np.cumsum(jumps)])
    step, start = (float(v) for v in np.polyfit(counts, places, 1))
    off = np.abs(places - (start + step * counts)) / step
    even = bool(off.max() <= off_grid_share)
    if even:
        planes, slots = int(counts[-1]) + 1, counts
    else:
        start = float(places[0])
        step = step_of(places) or step
        planes = int((places[-1] - start) / step + 1e-6) + 1
        slots = (places - start) / step
    holes = tuple(
        Hole(k, k + 1, float(places[k]), float(places[k + 1]), int(jumps[k]) - 1)
        for k in range(len(jumps))
        if jumps[k] > 1
    )
    return Grid(step, start, planes, slots, even, holes)


def largest_run(places: Vector, *, max_hole_mm: float = MAX_HOLE_MM) -> slice:
    """The longest run of sorted places without a hole that cannot be filled.

    A hole can be filled when it is small, or when a single slice is missing in it.
    """
    step = step_of(places)
    if step is None:
        return slice(0, len(places))
    limit = max(max_hole_mm, 2.2 * step)
    breaks = [0, *(int(k) + 1 for k in np.nonzero(np.diff(places) > limit)[0]), len(places)]
    runs = [slice(a, b) for a, b in itertools.pairwise(breaks)]
    return max(runs, key=lambda run: (run.stop - run.start, -run.start))


def shear_of(
    places: Vector, origins: Vector, row: Vector, column: Vector
) -> tuple[float, float, NDArray[np.float64]]:
    """How the slices' corners move within their plane: mm per mm along the normal.

    Returns
    -------
    along_row, along_column : float
        Slopes.
    off : ndarray of float64, shape (n,)
        How far (mm) each corner lies from that line.
    """
    if len(places) < 2 or np.ptp(places) == 0:
        return 0.0, 0.0, np.zeros(len(places))
    slopes, off = [], np.zeros(len(places))
    middle = float(np.median(places))
    for direction in (row, column):
        along = origins @ direction
        # the median of slopes between far pairs: a few odd slices do not count
        half = len(places) // 2
        far = places[half:] - places[: len(places) - half]
        slope = float(np.median((along[half:] - along[: len(along) - half]) / far))
        centre = float(np.median(along - slope * (places - middle)))
        off = np.hypot(off, along - slope * (places - middle) - centre)
        slopes.append(slope)
    return slopes[0], slopes[1], off


def tilt_deg(along_row: float, along_column: float) -> float:
    """The angle of a shear, degrees."""
    return math.degrees(math.atan(math.hypot(along_row, along_column)))


@dataclass(frozen=True, slots=True)
class Turn:
    """Which stored axis becomes z, y, x, and whether it is reversed."""

    axes: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]

    def shape(self, stored: Sequence[int]) -> tuple[int, int, int]:
        """The canonical shape of an array of shape ``stored``."""
        a, b, c = (stored[axis] for axis in self.axes)
        return a, b, c

    def as_stored(self, canonical: NDArray[np.int16]) -> NDArray[np.int16]:
        """A view of a canonical array with the stored axes: fill it and both are filled."""
        flipped = canonical[tuple(slice(None, None, -1 if r else 1) for r in self.reverse)]
        return flipped.transpose(np.argsort(self.axes))


def canonical(affine: Vector, stored_shape: Sequence[int]) -> tuple[Turn, Vector]:
    """The turn to (z, y, x) = (S, P, L) and the affine that goes with it.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Maps stored indices (first, second, third axis of the array) to LPS.

    Returns
    -------
    Turn, ndarray of shape (4, 4)
        The new affine maps (x, y, z) indices to LPS.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    best = max(
        itertools.permutations(range(3)),
        key=lambda p: sum(abs(directions[world, p[world]]) for world in range(3)),
    )
    # best[world] is the stored axis that runs along x, y, z
    out = np.eye(4)
    out[:3, 3] = affine[:3, 3]
    reverse = []
    for world in range(3):
        stored = best[world]
        column = affine[:3, stored]
        back = bool(directions[world, stored] < 0)
        if back:
            out[:3, 3] += column * (stored_shape[stored] - 1)
            column = -column
        out[:3, world] = column
        reverse.append(back)
    turn = Turn((best[2], best[1], best[0]), (reverse[2], reverse[1], reverse[0]))
    return turn, out
