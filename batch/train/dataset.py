"""Labelled axial slices → HU on the model's mm grid, with a thorax mask, cropped to a fixed canvas.

8-bit pictures become HU by the index's slope and intercept. Where no pixel size is known it is
estimated from the body's or the lungs' width. NumPy, SciPy and Pillow only: evaluation uses it too.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

#: model grid, mm per pixel in plane
GRID_MM = 2.0
#: canvas of a training slice, pixels (height, width); 272 mm x 352 mm hold any adult's lungs
CANVAS = (136, 176)
#: output cells are STRIDE x STRIDE pixels
STRIDE = 4
#: width of an adult's trunk and of both lungs at mid chest, mm: used where a picture has no pixel size
BODY_WIDTH_MM = 350.0
LUNG_WIDTH_MM = 272.0
#: what a picture of a chest, cropped or not, can be wide, mm
PICTURE_WIDTH_MM = (240.0, 480.0)
AIR_HU = -1000.0

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the index."""

    path: str
    dataset: str
    group: str
    label: int
    finding: str
    hu_slope: float
    hu_intercept: float
    cal_ok: bool
    mm_per_px: float | None
    confidence: float


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice ready for the network.

    Attributes
    ----------
    hu : ndarray of float32, shape `CANVAS`
        HU on the grid of `GRID_MM`, air outside the picture.
    mask : ndarray of bool, same shape
        Where evidence may count: the hull of the lungs with a rim for the pleura.
    lungs : ndarray of bool, same shape
        Aerated lung.
    mm : float
        Pixel size of the source picture, known or estimated, mm.
    """

    row: Row
    hu: Floats
    mask: Mask
    lungs: Mask
    mm: float


class NoLungsError(ValueError):
    """No lung was found in a slice, so there is no place where evidence could count."""


def read_index(path: Path) -> list[Row]:
    """All rows of ``index.csv``; empty calibration means the picture already is 8-bit HU / unusable."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                path=line["path"],
                dataset=line["dataset"],
                group=line["group_id"],
                label=int(line["label"]),
                finding=line["finding"],
                hu_slope=float(line["hu_slope"] or 1.0),
                hu_intercept=float(line["hu_intercept"] or 0.0),
                cal_ok=line["cal_ok"] == "1",
                mm_per_px=float(line["mm_per_px"]) if line.get("mm_per_px") else None,
                confidence=float(line.get("label_confidence") or 1.0),
            )
            for line in csv.DictReader(file)
        ]


def read_hu(row: Row, root: Path) -> Floats:
    """The picture of ``row`` in HU, shape (height, width)."""
    with Image.open(root / row.path) as picture:
        grey = np.asarray(picture.convert("L"), dtype=np.float32)
    return (grey * np.float32(row.hu_slope) + np.float32(row.hu_intercept)).astype(np.float32)


def lungs_and_body(hu: Floats) -> tuple[Mask, Mask]:
    """Aerated lung and body (outside air and table removed) in one axial slice of any pixel size.

    Outside air is told from lung by its mean and by touching a corner, not by touching the border
    alone: in cropped pictures lungs touch the border too.

    Raises
    ------
    NoLungsError
        There is no aerated lung.
    """
    smooth = ndimage.uniform_filter(hu, 3)
    air = smooth < -450.0
    labels, count = ndimage.label(air)
    outside = np.zeros_like(air)
    if count:
        index = np.arange(1, count + 1)
        mean = ndimage.mean(hu, labels, index)
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        touching = np.bincount(border, minlength=count + 1)[1:] > 0
        corners = np.isin(index, [labels[0, 0], labels[0, -1], labels[-1, 0], labels[-1, -1]])
        is_outside = (touching & (mean < -930.0)) | (corners & (mean < -880.0))
        outside = np.isin(labels, index[is_outside])
    body = ndimage.binary_opening(~outside, iterations=2)
    body_labels, bodies = ndimage.label(body)
    if bodies > 1:
        sizes = ndimage.sum_labels(body, body_labels, np.arange(1, bodies + 1))
        body = body_labels == 1 + int(np.argmax(sizes))
    body = ndimage.binary_fill_holes(body)
    inner = air & ~outside & ndimage.binary_erosion(body, iterations=2, border_value=1)
    labels, count = ndimage.label(inner)
    if not count:
        raise NoLungsError("no air inside the body")
    sizes = ndimage.sum_labels(inner, labels, np.arange(1, count + 1))
    keep = (sizes >= max(0.006 * hu.size, 0.06 * sizes.max())) & ~_under_the_body(hu, labels, count)
    if not keep.any():
        raise NoLungsError("no lung of a believable size")
    lungs = np.isin(labels, 1 + np.flatnonzero(keep))
    return ndimage.binary_fill_holes(ndimage.binary_closing(lungs, iterations=2)), body


def _under_the_body(hu: Floats, labels: NDArray[np.integer[Any]], count: int) -> Mask:
    """Which components are the air between back and table: pure air, wide or flat, low in the picture."""
    index = np.arange(1, count + 1)
    median = np.asarray(ndimage.median(hu, labels, index))
    rows = np.asarray(ndimage.center_of_mass(labels > 0, labels, index))[:, 0] / hu.shape[0]
    boxes = ndimage.find_objects(labels)
    heights = np.array([b[0].stop - b[0].start for b in boxes])
    widths = np.array([b[1].stop - b[1].start for b in boxes])
    strip = (widths > 2.5 * heights) | (widths > 0.4 * hu.shape[1])
    return np.asarray((median < -930.0) & (rows > 0.62) & strip)


def pixel_size(lungs: Mask, body: Mask) -> float:
    """Estimated mm per pixel, from the body's width where both flanks are seen, else from the lungs'."""
    lung_columns = np.flatnonzero(lungs.any(axis=0))
    by_lungs = LUNG_WIDTH_MM / (lung_columns[-1] - lung_columns[0] + 1)
    rows = lungs.any(axis=1)
    spans = [np.flatnonzero(line) for line in body[rows]]
    widths = [int(s[-1] - s[0] + 1) for s in spans if s.size and s[0] > 0 and s[-1] < body.shape[1] - 1]
    if len(widths) < 0.6 * rows.sum():
        estimate = by_lungs
    else:
        by_body = BODY_WIDTH_MM / float(np.median(widths))
        estimate = float(np.clip(np.sqrt(by_body * by_lungs), 0.75 * by_body, 1.1 * by_body))
    low, high = PICTURE_WIDTH_MM
    return float(np.clip(estimate, low / body.shape[1], high / body.shape[1]))


def hull(points: Mask) -> Mask:
    """Convex hull of a mask, filled."""
    ys, xs = np.nonzero(points & ~ndimage.binary_erosion(points))
    try:
        edges = ConvexHull(np.stack([xs, ys], axis=1)).equations
    except (QhullError, ValueError):  # all points on a line, or none
        return points.copy()
    grid_y, grid_x = np.ogrid[: points.shape[0], : points.shape[1]]
    inside = np.ones(points.shape, bool)
    for across, down, offset in edges:
        inside &= across * grid_x + down * grid_y + offset <= 1e-9
    return inside


def thorax_mask(lungs: Mask, body: Mask, mm: float) -> Mask:
    """Where evidence may count: hull of the lungs plus 6 mm, inside the body.

    The hull takes in consolidated and effused parts, heart and mediastinum. Where air is left on one
    side only (a white lung), its mirror image about the body's midline is taken in as well.
    """
    columns = np.flatnonzero(body.any(axis=0))
    middle = (columns[0] + columns[-1]) / 2.0
    area_left = lungs[:, : int(middle)].sum() / max(1, lungs.sum())
    points = lungs
    if not 0.1 < area_left < 0.9:
        mirrored = np.zeros_like(lungs)
        ys, xs = np.nonzero(lungs)
        target = np.round(2 * middle - xs).astype(int)
        ok = (target >= 0) & (target < lungs.shape[1])
        mirrored[ys[ok], target[ok]] = True
        points = lungs | (mirrored & body)
    reach = max(1, round(6.0 / mm))
    return ndimage.binary_dilation(hull(points), iterations=reach) & (body | lungs)


def resample(image: Floats, to: float | tuple[int, ...]) -> Floats:
    """Scale an image by a factor or to a (height, width), with an antialiasing triangle filter."""
    if isinstance(to, float):
        to = (max(1, round(image.shape[0] * to)), max(1, round(image.shape[1] * to)))
    scaled = Image.fromarray(image).resize((to[1], to[0]), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.float32)


def place(image: NDArray[np.float32], centre: tuple[float, float], fill: float) -> Floats:
    """Cut `CANVAS` around ``centre`` (y, x) out of an image, padded with ``fill``."""
    out = np.full(CANVAS, fill, np.float32)
    y0, x0 = (round(c - n / 2) for c, n in zip(centre, CANVAS, strict=True))
    ys = slice(max(0, y0), min(image.shape[0], y0 + CANVAS[0]))
    xs = slice(max(0, x0), min(image.shape[1], x0 + CANVAS[1]))
    out[ys.start - y0 : ys.stop - y0, xs.start - x0 : xs.stop - x0] = image[ys, xs]
    return out


def prepare(row: Row, hu: Floats, mm: float | None = None) -> Slice:
    """HU of any pixel size → `Slice` on the model's grid.

    Raises
    ------
    NoLungsError
        There is no aerated lung.
    """
    # masks at no more than 208 pixels: four times faster, and the model's grid is no finer
    coarse = min(1.0, 208.0 / max(hu.shape))
    lungs, body = lungs_and_body(resample(hu, coarse))
    mm = mm or row.mm_per_px or pixel_size(lungs, body) * coarse
    mask = thorax_mask(lungs, body, mm / coarse)
    small = resample(np.clip(hu, -1100.0, 1500.0), mm / GRID_MM)
    small_mask = resample(mask.astype(np.float32), small.shape) > 0.5
    small_lungs = resample(lungs.astype(np.float32), small.shape) > 0.5
    ys, xs = np.nonzero(small_mask)
    if not len(ys):
        raise NoLungsError("the lungs vanish on the model's grid")
    centre = ((ys.min() + ys.max() + 1) / 2, (xs.min() + xs.max() + 1) / 2)
    return Slice(
        row=row,
        hu=place(small, centre, AIR_HU),
        mask=place(small_mask.astype(np.float32), centre, 0.0) > 0.5,
        lungs=place(small_lungs.astype(np.float32), centre, 0.0) > 0.5,
        mm=mm,
    )


def load_all(root: Path, rows: Sequence[Row]) -> tuple[list[Slice], list[tuple[str, str]]]:
    """All slices that can be used, and (path, reason) of the others."""
    slices: list[Slice] = []
    dropped: list[tuple[str, str]] = []
    for row in rows:
        if not row.cal_ok:
            dropped.append((row.path, "no trusted HU calibration"))
            continue
        try:
            slices.append(prepare(row, read_hu(row, root)))
        except NoLungsError as error:
            dropped.append((row.path, str(error)))
    return slices, dropped


def data_hash(root: Path, rows: Sequence[Row]) -> str:
    """SHA-256 over names and bytes of the pictures of ``rows``, for the run's manifest."""
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda r: r.path):
        digest.update(row.path.encode())
        digest.update((root / row.path).read_bytes())
    return digest.hexdigest()
