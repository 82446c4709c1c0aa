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
#: no body part spans less than this
CT_RANGE = 250
#: padding stands at least this far below the darkest air
PLATEAU_GAP = 100
#: width of the histogram's bins
BIN_HU = 4
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


def to_hu(values: Stored, slope: float, intercept: float, out: NDArray[np.int16]) -> tuple[int, int]:
    """``out = slope * values + intercept``, rounded, saturated to int16; the extremes of ``out``."""
    if slope == 1.0 and intercept == int(intercept) and values.dtype == np.int16:
        # adding in 16 bits is exact unless it wraps, and it wraps only at the ends of the scale
        low, high = int(values.min()) + int(intercept), int(values.max()) + int(intercept)
        if low >= -32768 and high <= 32767 and -32768 <= intercept <= 32767:
            np.add(values, np.int16(intercept), out=out)
            return low, high
    wide = values.astype(np.float64) * slope + intercept
    out[:] = np.clip(np.rint(wide), -32768, 32767)
    return int(out.min()), int(out.max())


def padding_to_air(
    values: Stored,
    hu: NDArray[np.int16],
    padding: int,
    limit: int | None,
    slope: float,
    intercept: float,
) -> bool:
    """Set what the scanner marked as outside its field to air; whether there was any.

    A padding value inside the range of tissue is believed only where it fills the corners and
    hardly anything else: headers name values that patients have too.
    """
    low, high = (padding, padding) if limit is None else (min(padding, limit), max(padding, limit))
    level = slope * padding + intercept
    marked = values == low if low == high else (values >= low) & (values <= high)
    if not marked.any():
        return False
    if -950 < level < METAL_HU:
        rows, columns = values.shape
        y, x = np.ogrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
        if (marked & (y * y + x * x < 0.96)).sum() > 0.02 * marked.sum():
            return False
    hu[marked] = PADDING
    return True


@dataclass(frozen=True, slots=True)
class HuCheck:
    """The verdict on the scale: what to add (HU), and words for the passport."""

    offset: int
    text: str
    warning: Notice | None = None


class Histogram:
    """Shares of a volume's voxels by value, from a sample of slices, padding left out."""

    def __init__(self, sample: NDArray[np.int16]) -> None:
        # averages of small blocks: noise of a sharp kernel hides the peaks
        side = 3 if sample.shape[2] >= 256 else 2 if sample.shape[2] >= 128 else 1
        inside, border = [], []
        for plane in sample:
            mean, padded = _block_means(plane, side)
            inside.append(mean[~padded])
            border.append(mean[:3][~padded[:3]])
        values = np.concatenate(inside)
        edges = np.arange(-33000, 33001, BIN_HU)
        self._edges = edges
        self._counts = np.histogram(values, edges)[0] / max(1, len(values))
        self._sums = np.concatenate([[0.0], np.cumsum(self._counts)])
        self.border = np.concatenate(border)
        exact = _thinned(sample)
        #: much of the volume stands at its very lowest value: air was cut off there
        self.floored = bool(len(exact) and (exact == exact.min()).mean() > 0.05)

    def share(self, low: float, high: float) -> float:
        """Share of the voxels from ``low`` to ``high``."""
        a, b = (int(np.clip(np.searchsorted(self._edges, v), 0, len(self._counts))) for v in (low, high))
        return float(self._sums[b] - self._sums[a])

    def mode(self, low: float, high: float) -> float | None:
        """The most frequent value from ``low`` to ``high``; None when there is none."""
        a, b = (int(np.clip(np.searchsorted(self._edges, v), 0, len(self._counts))) for v in (low, high))
        part = self._counts[a:b]
        if not len(part) or not part.any():
            return None
        smooth = ndimage.gaussian_filter1d(part, 2.0)
        return float(self._edges[a + int(np.argmax(smooth))] + BIN_HU / 2)


def _block_means(plane: NDArray[np.int16], side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of ``side`` x ``side`` blocks, and which blocks hold padding."""
    rows, columns = (n // side * side for n in plane.shape)
    total = np.zeros((rows // side, columns // side), np.int32)
    lowest = np.full(total.shape, 32767, np.int16)
    for i in range(side):
        for j in range(side):
            part = plane[i:rows:side, j:columns:side]
            total += part
            np.minimum(lowest, part, out=lowest)
    return (total / np.float32(side * side)).astype(np.float32), lowest == PADDING


def _without_plateau(sample: NDArray[np.int16]) -> NDArray[np.int16]:
    """Padding that no tag names: one value far below all others, on much of the picture."""
    values = _thinned(sample)
    if not len(values):
        return sample
    lowest = int(values.min())
    share = float((values == lowest).mean())
    near = float(((values > lowest) & (values < lowest + PLATEAU_GAP)).mean())
    if lowest < -1200 and share > 0.02 and near < 0.02 * share:
        return np.where(sample == lowest, PADDING, sample)
    return sample


def _thinned(sample: NDArray[np.int16]) -> NDArray[np.int16]:
    """Single values from all over the sample, padding left out."""
    step = max(1, sample.shape[2] // 128)
    values = sample[:, ::step, ::step].ravel()
    return values[values > PADDING]


def _fits(histogram: Histogram, offset: int) -> bool:
    """After ``offset`` air or lung, and soft tissue, stand where they belong, and little else."""

    def share(low: float, high: float) -> float:
        return histogram.share(low - offset, high - offset)

    dark, soft = share(AIR_HU[0], LUNG_HU[1]), share(*SOFT_HU)
    below, above, between = share(-40000, -1120), share(1300, 40000), share(LUNG_HU[1], SOFT_HU[0])
    return min(dark, soft) >= 0.02 and below <= 0.03 and above <= 0.06 and between <= 2 * soft


def _border_is_air(histogram: Histogram, offset: int) -> bool:
    """What lies in front of the patient is air: an inverted picture fails here."""
    border = histogram.border + offset
    return not len(border) or bool(((border >= AIR_HU[0]) & (border <= AIR_HU[1])).mean() > 0.5)


def check_scale(sample: NDArray[np.int16]) -> HuCheck:
    """Judge a sample of slices (n, rows, columns) that should be in HU.

    Raises
    ------
    Refusal
        ``not_hounsfield``.
    """
    sample = _without_plateau(sample)
    _refuse_pictures(sample)
    histogram = Histogram(sample)
    if _fits(histogram, 0):
        return HuCheck(0, _words(histogram, 0))
    fitting = [o for o in OFFSETS if o and _fits(histogram, o) and _border_is_air(histogram, o)]
    if fitting:
        offset = min(fitting, key=lambda o: _miss(histogram, o))
        warning = Notice(code="rescale_repaired", params={"what": f"{offset:+d} HU"})
        return HuCheck(offset, _words(histogram, offset), warning)
    dark, soft = histogram.share(AIR_HU[0], LUNG_HU[1]), histogram.share(*SOFT_HU)
    # a body part without air, or nothing but air, can be in HU; the chest finder judges it
    elsewhere = histogram.share(-40000, SOFT_HU[0]) - dark
    if (soft > 0.3 and dark < 0.02 and elsewhere < 0.1) or dark > 0.9:
        return HuCheck(0, _words(histogram, 0))
    mode = histogram.mode(-33000, 33000)
    where = "nowhere" if mode is None else f"{mode:.0f}"
    raise Refusal("not_hounsfield", what=f"most voxels at {where}; air and soft tissue are not in place")


def _miss(histogram: Histogram, offset: int) -> float:
    """How far air lies from -1000; where it was cut off, the usual floor of -1024 is as good."""
    mode = histogram.mode(AIR_HU[0] - offset, AIR_HU[1] - offset)
    if mode is None:
        return 500.0 - (abs(offset) == 1024)
    miss = abs(mode + offset + 1000)
    return miss - 30 if histogram.floored and abs(offset) == 1024 else miss


def _words(histogram: Histogram, offset: int) -> str:
    parts = []
    for name, (low, high) in (("air", AIR_HU), ("lung", LUNG_HU), ("soft tissue", SOFT_HU)):
        mode = histogram.mode(low - offset, high - offset)
        if mode is not None and histogram.share(low - offset, high - offset) > 0.01:
            parts.append(f"{name} {mode + offset:.0f}")
    return ", ".join(parts)


def _refuse_pictures(sample: NDArray[np.int16]) -> None:
    """Label maps, windowed pictures and SUV, by their range and number of values."""
    values = _thinned(sample)
    if not len(values):
        raise Refusal("not_hounsfield", what="no values")
    distinct = len(np.unique(values))
    if distinct <= MASK_VALUES:
        raise Refusal("not_hounsfield", what=f"only {distinct} different values, as in a mask")
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    if high - low < CT_RANGE:
        raise Refusal("not_hounsfield", what=f"values {low:.0f} to {high:.0f} only")
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
