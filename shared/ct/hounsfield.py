"""Stored values to Hounsfield units, and whether the result really is in them.

The arithmetic is per slice and wide enough; the check looks at the peaks of air, lung and soft
tissue, because headers lie: an absent, doubled or offset rescale is found and repaired, and what
cannot be HU (windowed pictures, masks, SUV) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.ct.frame import PixelFormat
from shared.errors import Notice, Refusal

Stored = NDArray[np.int16] | NDArray[np.int32]

#: the darkest value of the scale: padding and noise below it become air
FLOOR_HU = -1024
#: above it only metal
METAL_HU = 3071
#: a volume with no more different values than this is a label map
MASK_VALUES = 8
#: values from 0 up that span less than this are grey levels, labels or SUV
PICTURE_RANGE = 500
#: marks padding until the scale is known; the floor makes it air
PADDING = np.int16(-32768)
#: offsets that lost or doubled rescales leave behind
OFFSETS = (0, -1024, 1024, -1000, 1000, -2048, 2048, -8192, 8192, -32768, 32768)


def unpack_values(raw: bytes | NDArray[np.generic], form: PixelFormat) -> Stored:
    """The stored values of one frame, with unused bits masked and the sign extended.

    Unsigned 16-bit values above 32767 are negative ones whose sign the header denies (padding of
    -2000 read as 63536): no CT scale reaches them.

    Parameters
    ----------
    raw : bytes or ndarray
        Bytes of an uncompressed frame, or a decoder's samples.

    Returns
    -------
    ndarray of int16 or int32, shape (rows, columns)
    """
    if isinstance(raw, np.ndarray):
        values = raw
    else:
        order = ">" if form.big_endian and form.bits_allocated > 8 else "<"
        values = np.frombuffer(raw, f"{order}u{form.bits_allocated // 8}")
    values = values.reshape(form.rows, form.columns)
    if values.dtype.kind == "i" and not form.signed:
        # a codestream that knows better than the header
        return values.astype(np.int32)
    if values.dtype.itemsize > 2:
        return _mask(values.astype(np.uint32), form, 32).view(np.int32)
    if form.bits_allocated == 8 and values.dtype.itemsize == 1:
        return _mask(values.astype(np.uint16), form, 16).view(np.int16)
    native = values.astype(np.uint16, copy=False) if values.dtype.kind == "u" else values.view(np.uint16)
    return _mask(native, form, 16).view(np.int16)


def _mask(values: NDArray[np.unsignedinteger], form: PixelFormat, width: int) -> NDArray[np.unsignedinteger]:
    shift = form.high_bit + 1 - form.bits_stored
    if form.bits_stored == width and not shift:
        return values
    kind = values.dtype.type
    if shift:
        values = values >> kind(shift)
    values = values & kind((1 << form.bits_stored) - 1)
    if form.signed:
        sign = kind(1 << (form.bits_stored - 1))
        values = (values ^ sign) - sign
    return values


def to_hu(values: Stored, slope: float, intercept: float, out: NDArray[np.int16]) -> None:
    """``out = slope * values + intercept``, rounded, saturated to int16."""
    if slope == 1.0 and intercept == int(intercept) and values.dtype == np.int16:
        offset = int(intercept)
        if not offset:
            out[:] = values
            return
        # adding in 16 bits is exact unless it wraps, and it wraps only at the ends of the scale
        if -32768 <= offset <= 32767:
            low, high = int(values.min()) + offset, int(values.max()) + offset
            if low >= -32768 and high <= 32767:
                np.add(values, np.int16(offset), out=out)
                return
    wide = values.astype(np.float64) * slope + intercept
    out[:] = np.clip(np.rint(wide), -32768, 32767)


def padding_to_air(
    values: Stored,
    hu: NDArray[np.int16],
    padding: int,
    limit: int | None,
    slope: float,
    intercept: float,
) -> None:
    """Set what the scanner marked as outside its field to air.

    A padding value inside the range of tissue is believed only where it fills the corners and
    hardly anything else: headers name values that patients have too.
    """
    low, high = (padding, padding) if limit is None else (min(padding, limit), max(padding, limit))
    level = slope * padding + intercept
    marked = values == low if low == high else (values >= low) & (values <= high)
    if not marked.any():
        return
    if -950 < level < METAL_HU:
        rows, columns = values.shape
        y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        if (marked & (y * y + x * x < 0.96)).sum() > 0.02 * marked.sum():
            return
    hu[marked] = PADDING


@dataclass(frozen=True, slots=True)
class Peaks:
    """Where the histogram of a volume has its air or lung and its soft tissue, HU."""

    dark: float | None
    soft: float | None
    distinct: int


def find_peaks(sample: NDArray[np.int16]) -> Peaks:
    """The dark (air, else lung) and the bright (fat to muscle) peak of a sample of slices."""
    # averages of 3 x 3 voxels: noise of a sharp kernel hides the peaks
    smooth = np.stack([ndimage.uniform_filter(plane.astype(np.float32), 3) for plane in sample])
    smooth = smooth[:, 1::2, 1::2]
    distinct = len(np.unique(sample[:, ::3, ::3]))
    low, high = float(np.percentile(smooth, 0.5)), float(np.percentile(smooth, 99.5))
    if high - low < 50:
        return Peaks(low, None, distinct)
    inside = smooth[(smooth >= low - 40) & (smooth <= high + 40)]
    bins = np.arange(low - 60, high + 61, 8.0)
    counts = np.histogram(inside, bins)[0].astype(np.float64)
    counts = ndimage.gaussian_filter1d(counts, 2.0)
    centres = (bins[:-1] + bins[1:]) / 2
    top = [
        k
        for k in range(1, len(counts) - 1)
        if counts[k] > counts[k - 1] and counts[k] >= counts[k + 1] and counts[k] > 0.002 * counts.sum()
    ]
    if not top:
        return Peaks(None, float(centres[int(np.argmax(counts))]), distinct)
    return _pair(centres[top], counts[top], distinct)


def _pair(places: NDArray[np.float64], heights: NDArray[np.float64], distinct: int) -> Peaks:
    """Choose the dark and the soft peak: a pair about 900 HU apart with the most voxels."""
    best: tuple[float, float, float] | None = None
    for i, dark in enumerate(places):
        for j, soft in enumerate(places):
            if 600 <= soft - dark <= 1200:
                # air stands about 1000 below tissue; a pair of lung and tissue is the second choice
                weight = min(heights[i], heights[j]) * (1.0 if soft - dark > 880 else 0.5)
                if best is None or weight > best[0]:
                    best = (float(weight), float(dark), float(soft))
    strongest = float(places[int(np.argmax(heights))])
    if best is None:
        return Peaks(None, strongest, distinct)
    return Peaks(best[1], best[2], distinct)


@dataclass(frozen=True, slots=True)
class HuCheck:
    """The verdict on the scale: what to add (HU), and words for the passport."""

    offset: int
    text: str
    warning: Notice | None = None


def _fits(dark: float | None, soft: float | None, offset: int) -> bool:
    if soft is None:
        return dark is not None and -1100 <= dark + offset <= 150
    if dark is None:
        return -200 <= soft + offset <= 150
    return -170 <= soft + offset <= 140 and -1090 <= dark + offset <= -560


def check_scale(sample: NDArray[np.int16]) -> HuCheck:
    """Judge a sample of slices (n, rows, columns) that should be in HU.

    Raises
    ------
    Refusal
        ``not_hounsfield``.
    """
    peaks = find_peaks(sample)
    dark, soft = peaks.dark, peaks.soft
    low, high = (float(v) for v in np.percentile(sample[sample > PADDING], (0.1, 99.9)))
    if peaks.distinct <= MASK_VALUES:
        raise Refusal("not_hounsfield", what=f"only {peaks.distinct} different values, as in a mask")
    if low >= -10 and high - low < PICTURE_RANGE:
        raise Refusal("not_hounsfield", what=f"values {low:.0f} to {high:.0f}, as in a picture or a mask")
    if _fits(dark, soft, 0):
        return HuCheck(0, _words(dark, soft))
    if dark is None or soft is None:
        raise Refusal("not_hounsfield", what=_words(dark, soft))
    fitting = [o for o in OFFSETS if _fits(dark, soft, o)]
    if not fitting:
        raise Refusal("not_hounsfield", what=_words(dark, soft))
    # air is at -1000 on every scanner; lung is not
    place = -1000 if soft - dark > 880 else -870
    offset = min(fitting, key=lambda o: (abs(dark + o - place), abs(o)))
    warning = Notice(code="rescale_repaired", params={"what": f"{offset:+d} HU"})
    return HuCheck(offset, _words(dark + offset, soft + offset), warning)


def _words(dark: float | None, soft: float | None) -> str:
    parts = []
    if dark is not None:
        parts.append(f"air or lung {dark:.0f}")
    if soft is not None:
        parts.append(f"soft tissue {soft:.0f}")
    return ", ".join(parts)


def saturate(hu: NDArray[np.int16], *, offset: int = 0, block: int = 16) -> bool:
    """Shift by ``offset`` and lift everything below the floor to air, in place.

    Returns
    -------
    bool
        Values stand at the very end of the scale: metal was clipped.
    """
    clipped = False
    for start in range(0, len(hu), block):
        part = hu[start : start + block]
        if offset:
            wide = part.astype(np.int32)
            wide += offset
            part[:] = np.clip(wide, -32768, 32767)
        np.maximum(part, np.int16(FLOOR_HU), out=part)
        clipped |= bool(part.max() >= 32767)
    return clipped
