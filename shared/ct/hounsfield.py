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
#: where air, lung and soft tissue (fat to muscle, contrast left out) have their peaks
AIR_HU, LUNG_HU, SOFT_HU = (-1090, -930), (-930, -560), (-170, 140)
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
    """Peaks of a volume's histogram: places in HU and their share of the voxels."""

    places: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def strongest(self) -> float | None:
        """Place of the highest peak."""
        return self.places[int(np.argmax(self.shares))] if self.places else None


def find_peaks(sample: NDArray[np.int16]) -> Peaks:
    """Peaks of a sample of slices (n, rows, columns), padding left out."""
    # averages of 3 x 3 voxels: noise of a sharp kernel hides the peaks
    smooth = []
    for plane in sample:
        mean = ndimage.uniform_filter(plane.astype(np.float32), 3)[1::2, 1::2]
        outside = ndimage.uniform_filter((plane == PADDING).astype(np.float32), 3)[1::2, 1::2] > 0.01
        smooth.append(mean[~outside])
    values = np.concatenate(smooth)
    if not len(values):
        return Peaks((), ())
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    bins = np.arange(low - 60, high + 61, 8.0)
    counts = ndimage.gaussian_filter1d(np.histogram(values, bins)[0].astype(np.float64), 2.0)
    counts /= counts.sum()
    top = [
        k
        for k in range(1, len(counts) - 1)
        if counts[k] > counts[k - 1] and counts[k] >= counts[k + 1] and counts[k] > 0.001
    ]
    centres = (bins[:-1] + bins[1:]) / 2
    return Peaks(tuple(centres[top].tolist()), tuple(counts[top].tolist()))


@dataclass(frozen=True, slots=True)
class HuCheck:
    """The verdict on the scale: what to add (HU), and words for the passport."""

    offset: int
    text: str
    warning: Notice | None = None


@dataclass(frozen=True, slots=True)
class _Fit:
    """How well the peaks stand where air or lung and soft tissue belong, after an offset."""

    weight: float
    dark: float
    soft: float
    miss: float


def _fit(peaks: Peaks, offset: int) -> _Fit:
    best = _Fit(0.0, 0.0, 0.0, 1e9)
    found = [(p + offset, s) for p, s in zip(peaks.places, peaks.shares, strict=True)]
    for dark, a in found:
        air = AIR_HU[0] <= dark <= AIR_HU[1]
        if not air and not LUNG_HU[0] <= dark <= LUNG_HU[1]:
            continue
        for soft, b in found:
            if SOFT_HU[0] <= soft <= SOFT_HU[1]:
                # air is the same on every scanner, lung is not
                weight = min(a, b) * (1.0 if air else 0.5)
                if weight > best.weight:
                    best = _Fit(weight, dark, soft, abs(dark + 1000) if air else 100.0)
    return best


def check_scale(sample: NDArray[np.int16]) -> HuCheck:
    """Judge a sample of slices (n, rows, columns) that should be in HU.

    Raises
    ------
    Refusal
        ``not_hounsfield``.
    """
    _refuse_pictures(sample)
    peaks = find_peaks(sample)
    plain = _fit(peaks, 0)
    fits = {offset: _fit(peaks, offset) for offset in OFFSETS}
    best = max(OFFSETS, key=lambda o: (round(fits[o].weight, 6), -fits[o].miss))
    if plain.weight > 0 and plain.weight >= 0.1 * fits[best].weight:
        return HuCheck(0, f"air or lung {plain.dark:.0f}, soft tissue {plain.soft:.0f}")
    fit = fits[best]
    if fit.weight > 0:
        warning = Notice(code="rescale_repaired", params={"what": f"{best:+d} HU"})
        return HuCheck(best, f"air or lung {fit.dark:.0f}, soft tissue {fit.soft:.0f}", warning)
    single = peaks.strongest
    # a body part without air, or nothing but air, can be in HU; the chest finder judges it
    if single is not None and (-200 <= single <= 150 or -1100 <= single <= -560):
        return HuCheck(0, f"one peak at {single:.0f}")
    where = ", ".join(f"{p:.0f}" for p in peaks.places[:6]) or "none"
    raise Refusal("not_hounsfield", what=f"peaks at {where}")


def _refuse_pictures(sample: NDArray[np.int16]) -> None:
    """Label maps, windowed pictures and SUV, by their range and number of values."""
    values = sample[sample > PADDING]
    if not len(values):
        raise Refusal("not_hounsfield", what="no values")
    distinct = len(np.unique(values[::7]))
    if distinct <= MASK_VALUES:
        raise Refusal("not_hounsfield", what=f"only {distinct} different values, as in a mask")
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    if low >= -10 and high - low < PICTURE_RANGE:
        raise Refusal("not_hounsfield", what=f"values {low:.0f} to {high:.0f}, as in a picture or a mask")


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
