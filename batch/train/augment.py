"""Style augmentation: what scanners, windows, exports and crops do to a slice, but no disease does.

A style is drawn once and applied to every member of a pair, noise included, so that only the
lesion differs. Input and output are HU on the model's grid.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Style:
    """One draw of everything that is not the patient."""

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    flip: bool
    gain: float
    shift: float
    sharpen: float
    sharpen_sigma: float
    noise: Floats
    window: tuple[float, float] | None
    jpeg: int | None
    blank_mm: float | None
    blank_hu: float


def draw_style(shape: tuple[int, int], rng: np.random.Generator) -> Style:
    """A random style for slices of ``shape`` (height, width)."""
    angle = np.deg2rad(rng.normal(0, 5))
    scale_y, scale_x = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.02, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn / np.array([scale_y, scale_x])
    centre = (np.array(shape) - 1) / 2
    offset = centre - matrix @ centre + rng.uniform(-4, 4, 2)
    noise = rng.standard_normal(shape)
    if rng.random() < 0.6:
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.3, 0.9))
        noise /= noise.std()
    strength = abs(rng.normal(0, 22)) if rng.random() < 0.7 else 0.0
    window = None
    if rng.random() < 0.8:
        window = (rng.uniform(-1150, -960), rng.uniform(40, 500))
    return Style(
        matrix=matrix,
        offset=offset,
        flip=bool(rng.random() < 0.5),
        gain=float(np.exp(rng.normal(0, 0.03))),
        shift=float(rng.normal(0, 14)),
        sharpen=float(rng.uniform(-0.7, 0.9)) if rng.random() < 0.7 else 0.0,
        sharpen_sigma=float(rng.uniform(0.5, 1.1)),
        noise=(noise * strength).astype(np.float32),
        window=window,
        jpeg=int(rng.integers(45, 95)) if rng.random() < 0.3 else None,
        blank_mm=float(rng.uniform(0, 24)) if rng.random() < 0.5 else None,
        blank_hu=float(rng.choice([-1000.0, -100.0, 30.0])),
    )


def move(image: Floats, style: Style, fill: float) -> Floats:
    """The geometric part: scale, turn, shift, flip."""
    moved = ndimage.affine_transform(image, style.matrix, style.offset, order=1, cval=fill)
    return np.ascontiguousarray(moved[:, ::-1] if style.flip else moved, dtype=np.float32)


def restyle(hu: Floats, thorax: Mask, style: Style, mm: float) -> Floats:
    """The part that changes values; ``hu`` and ``thorax`` have been moved already."""
    out = hu
    if style.sharpen:
        out = out + style.sharpen * (out - ndimage.gaussian_filter(out, style.sharpen_sigma))
    out = (out + 800.0) * style.gain - 800.0 + style.shift + style.noise
    if style.blank_mm is not None:
        reach = ndimage.distance_transform_edt(~thorax) * mm > style.blank_mm
        out = np.where(reach, np.float32(style.blank_hu), out)
    if style.window is not None:
        low, high = style.window
        grey = np.clip((out - low) / (high - low), 0, 1) * 255.0
        grey = np.round(grey).astype(np.uint8)
        if style.jpeg is not None:
            buffer = io.BytesIO()
            Image.fromarray(grey).save(buffer, "JPEG", quality=style.jpeg)
            grey = np.asarray(Image.open(buffer))
        out = grey.astype(np.float32) / 255.0 * (high - low) + low
    return np.asarray(out, dtype=np.float32)
