"""Decodes a stack into one int16 buffer of HU in canonical axes.

Every slice is written where it belongs through a view of the final array: no list of slices, no
stack, no float volume. Compressed frames go through child processes (`shared.ct.decoders`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.ct.archive import GzipEntry
from shared.ct.codecs import DecodeError, split_fragments
from shared.ct.decoders import DecoderPool, Job
from shared.ct.dicom import inflate_data_set
from shared.ct.frame import Frame
from shared.ct.geometry import MAX_HOLE_MM, canonical
from shared.ct.hounsfield import (
    FLOOR_HU,
    PADDING,
    check_scale,
    padding_to_air,
    saturate,
    to_hu,
    unpack_values,
)
from shared.ct.inflate import DamagedError
from shared.ct.stack import Stack
from shared.ct.volume import Volume
from shared.errors import Notice, Refusal

Progress = Callable[[float], None]
#: planes that the check of the scale looks at
SAMPLE_PLANES = 24
#: no codec makes an image smaller than this by more
MAX_COMPRESSION = 2000
#: voxels of a volume at most: 2000 slices of 1024 x 1024
MAX_VOXELS = 1 << 31


@dataclass(slots=True)
class Loaded:
    """A decoded volume and what was found on the way."""

    volume: Volume
    hu_check: str
    warnings: list[Notice]


def load_stack(stack: Stack, *, workers: int = 1, progress: Progress | None = None) -> Loaded:
    """Decode a stack.

    Parameters
    ----------
    workers : int
        Processes for compressed pixels.
    progress : callable, optional
        Gets the share that is done, 0 to 1.

    Raises
    ------
    Refusal
        ``unreadable_pixels``, ``not_hounsfield``, ``memory_limit``.
    """
    plan = _Plan(stack)
    _refuse_empty_promises(stack)
    try:
        final = np.empty(plan.turn.shape(plan.stored_shape), np.int16)
    except MemoryError as error:
        raise Refusal("memory_limit") from error
    view = plan.turn.as_stored(final)
    warnings: list[Notice] = []
    have, extremes = _fill(stack, plan, view, workers, progress, warnings)
    low, high = _trim(have)
    _fill_holes(view, have, stack.step_mm or 1.0)
    sample = view[
        [int(k) for k in np.linspace(low, high - 1, min(SAMPLE_PLANES, high - low)) if have[int(k)]]
    ]
    check = check_scale(sample)
    if check.warning:
        warnings.append(check.warning)
    # most volumes lie inside the scale: nothing to lift and nothing clipped
    low_hu, high_hu = extremes
    if (check.offset or low_hu < FLOOR_HU or high_hu >= 32767) and saturate(final, offset=check.offset):
        warnings.append(Notice(code="values_clipped"))
    volume = Volume(final, plan.affine)
    if (low, high) != (0, len(have)):
        volume = _cut(volume, plan, low, high)
    return Loaded(volume, check.text, warnings)


class _Plan:
    """Shape, turn and affine of the volume that a stack makes."""

    def __init__(self, stack: Stack) -> None:
        assert stack.grid is not None  # noqa: S101 - a stack without a grid is refused
        self.grid = stack.grid
        first = stack.frames[0]
        form, spacing = first.format, first.pixel_spacing
        assert spacing is not None  # noqa: S101
        self.spacing = spacing
        normal, row, column = stack.normal, stack.row, stack.column
        origins = np.array([f.position for f in stack.frames], dtype=np.float64)
        u, v = origins @ row, origins @ column
        along_row, along_column = stack.shear
        at = stack.places - self.grid.start_mm
        u0 = float(np.median(u - along_row * at))
        v0 = float(np.median(v - along_column * at))
        end = (self.grid.planes - 1) * self.grid.step_mm
        # a sheared stack needs a wider canvas; each plane lies in it at its own offset
        self.u_min = min(u0, u0 + along_row * end)
        self.v_min = min(v0, v0 + along_column * end)
        self.sheared = stack.shear != (0.0, 0.0)
        more_rows = math.ceil(abs(along_column * end) / spacing[0] - 1e-6) if self.sheared else 0
        more_columns = math.ceil(abs(along_row * end) / spacing[1] - 1e-6) if self.sheared else 0
        self.offsets = [
            (
                (v0 + along_column * k - self.v_min) / spacing[0],
                (u0 + along_row * k - self.u_min) / spacing[1],
            )
            for k in (np.arange(self.grid.planes) * self.grid.step_mm)
        ]
        self.stored_shape = (self.grid.planes, form.rows + more_rows, form.columns + more_columns)
        if math.prod(self.stored_shape) > MAX_VOXELS:
            raise Refusal("memory_limit")
        stored = np.eye(4)
        stored[:3, 0] = normal * self.grid.step_mm
        stored[:3, 1] = column * spacing[0]
        stored[:3, 2] = row * spacing[1]
        stored[:3, 3] = normal * self.grid.start_mm + row * self.u_min + column * self.v_min
        self.turn, self.affine = canonical(stored, self.stored_shape)


def _refuse_empty_promises(stack: Stack) -> None:
    """Dimensions that the files cannot hold are seen before memory is taken for them."""
    short = 0
    for frame in stack.frames:
        header, size = frame.header, frame.format.frame_bytes
        if header.deflated_at or isinstance(frame.entry, GzipEntry):
            continue
        have = frame.entry.size - (header.pixel_offset or 0)
        need = size / MAX_COMPRESSION if header.encapsulated else size * (frame.index + 1)
        short += have < need
    if short > len(stack.frames) // 3:
        raise Refusal("unreadable_pixels", what="the pixels are cut off")


def _fill(
    stack: Stack,
    plan: _Plan,
    view: NDArray[np.int16],
    workers: int,
    progress: Progress | None,
    warnings: list[Notice],
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Decode every frame into its plane; which planes there are then, and the extreme values."""
    grid = plan.grid
    slots = np.rint(grid.slots).astype(int) if grid.even else np.arange(len(stack.frames))
    target = view if grid.even else np.empty((len(stack.frames), *view.shape[1:]), np.int16)
    have = np.zeros(len(target), dtype=bool)
    usual = _usual_rescale(stack, warnings)
    failures: Counter[str] = Counter()
    done, lowest, highest = 0, 32767, -32768
    for k, values in _decoded(stack, workers):
        done += 1
        if progress is not None and done % 8 == 0:
            progress(done / len(stack.frames))
        if isinstance(values, str):
            failures[values] += 1
            continue
        frame, slot = stack.frames[k], int(slots[k])
        try:
            offset = plan.offsets[min(slot, len(plan.offsets) - 1)]
            low, high = _place(frame, values, usual, target[slot], offset, plan)
            lowest, highest = min(lowest, low), max(highest, high)
        except ValueError as error:
            failures[str(error)[:100]] += 1
            continue
        have[slot] = True
    if failures:
        bad = sum(failures.values())
        # a third of the slices lost is no study any more
        if bad > len(stack.frames) // 3:
            raise Refusal("unreadable_pixels", what=failures.most_common(1)[0][0])
        warnings.append(Notice(code="slices_unreadable", params={"n": bad}))
    if grid.even:
        return have, (lowest, highest)
    _resample(target, grid.slots, have, view, grid.step_mm)
    return np.ones(len(view), dtype=bool), (lowest, highest)


def _usual_rescale(stack: Stack, warnings: list[Notice]) -> tuple[float, float]:
    """The rescale for frames that have none: that of most others, else none at all."""
    known = Counter(
        (f.slope, f.intercept) for f in stack.frames if f.slope and f.intercept is not None
    ).most_common(1)
    if not known:
        return 1.0, 0.0
    (slope, intercept), count = known[0]
    absent = sum(f.intercept is None for f in stack.frames)
    if absent and count:
        what = f"{absent} slices without rescale"
        warnings.append(Notice(code="rescale_repaired", params={"what": what}))
    return float(slope or 1.0), float(intercept or 0.0)


def _place(
    frame: Frame,
    values: NDArray[np.int16] | NDArray[np.int32],
    usual: tuple[float, float],
    out: NDArray[np.int16],
    offset: tuple[float, float],
    plan: _Plan,
) -> tuple[int, int]:
    """Rescale one frame into its plane; its extreme values."""
    slope = frame.slope or (1.0 if frame.intercept is not None else usual[0])
    intercept = frame.intercept if frame.intercept is not None else usual[1]
    header = frame.header
    plane = out if not plan.sheared else np.empty(values.shape, np.int16)
    low, high = to_hu(values, slope, intercept, plane)
    padding = _signed(header.integer("PixelPaddingValue"))
    limit = _signed(header.integer("PixelPaddingRangeLimit"))
    if padding is not None and padding_to_air(values, plane, padding, limit, slope, intercept):
        low = int(PADDING)
    if plan.sheared:
        _shift_into(plane, offset, out)
        low = int(PADDING)
    return low, high


def _signed(value: int | None) -> int | None:
    """A padding value as the pixels are read: its own VR may say unsigned."""
    return value - 65536 if value is not None and value >= 32768 else value


def _shift_into(plane: NDArray[np.int16], offset: tuple[float, float], out: NDArray[np.int16]) -> None:
    """Place ``plane`` at a fractional offset (rows, columns) in ``out``, linearly; the rest is air."""
    out[:] = PADDING
    moved = plane
    whole = []
    for axis, shift in enumerate(offset):
        start = math.floor(shift + 1e-6)
        part = max(0.0, shift - start)
        whole.append(start)
        if part > 1e-3:
            room = [(0, 1) if a == axis else (0, 0) for a in range(2)]
            wide = np.pad(moved, room, mode="edge")
            before = np.concatenate(
                [np.take(wide, [0], axis), np.take(wide, range(wide.shape[axis] - 1), axis)], axis
            )
            moved = _mix(wide, before, part)
    rows = min(moved.shape[0], out.shape[0] - whole[0])
    columns = min(moved.shape[1], out.shape[1] - whole[1])
    out[whole[0] : whole[0] + rows, whole[1] : whole[1] + columns] = moved[:rows, :columns]


def _mix(a: NDArray[np.int16], b: NDArray[np.int16], share: float) -> NDArray[np.int16]:
    """``(1 - share) a + share b``; padding on either side stays padding."""
    mixed = np.rint(a * np.float32(1 - share) + b * np.float32(share)).astype(np.int16)
    mixed[(a == PADDING) | (b == PADDING)] = PADDING
    return mixed


def _decoded(stack: Stack, workers: int) -> Iterator[tuple[int, NDArray[np.int16] | NDArray[np.int32] | str]]:
    """Stored values of every frame, in any order; a string says why a frame has none."""
    compressed = []
    reader = _ByteReader()
    for k, frame in enumerate(stack.frames):
        if frame.header.encapsulated:
            compressed.append(k)
            continue
        try:
            yield k, unpack_values(reader.native(frame), frame.format)
        except (DamagedError, DecodeError, ValueError) as error:
            yield k, str(error)
    if not compressed:
        return

    def jobs() -> Iterator[Job | tuple[int, str]]:
        for k in compressed:
            frame = stack.frames[k]
            try:
                data = reader.encapsulated(frame)
            except (DamagedError, DecodeError) as error:
                yield k, str(error)
                continue
            form = frame.format
            yield Job(k, frame.header.transfer_syntax, data, form.rows, form.columns, form.bits_allocated)

    with DecoderPool(workers) as pool:
        for k, result in pool.run(jobs()):
            if isinstance(result, str):
                yield k, result
                continue
            try:
                yield k, unpack_values(result, stack.frames[k].format)
            except ValueError as error:
                yield k, str(error)


class _ByteReader:
    """Bytes of frames; a multi-frame file that has to be unpacked is unpacked once."""

    def __init__(self) -> None:
        self._entry: object = None
        self._data = b""
        self._frames: list[bytes] = []

    def native(self, frame: Frame) -> bytes:
        """The bytes of an uncompressed frame."""
        header, size = frame.header, frame.format.frame_bytes
        offset = header.pixel_offset or 0
        start = offset + frame.index * size
        if header.deflated_at or frame.n_frames > 1:
            data = self._whole(frame)[start : start + size]
        else:
            data = frame.entry.read(start, start + size)
        if len(data) < size:
            raise DecodeError("the pixels are cut off")
        return data

    def encapsulated(self, frame: Frame) -> bytes:
        """The bytes of a compressed frame."""
        offset = frame.header.pixel_offset or 0
        if frame.n_frames == 1:
            data = frame.entry.read(offset, max(frame.entry.size, offset))
            return split_fragments(data, 1)[0]
        if self._entry is not frame.entry:
            self._frames = []
        data = self._whole(frame)
        if not self._frames:
            self._frames = split_fragments(data[offset:], frame.n_frames)
        return self._frames[frame.index]

    def _whole(self, frame: Frame) -> bytes:
        if self._entry is not frame.entry:
            header, entry = frame.header, frame.entry
            end = (header.pixel_offset or 0) + frame.n_frames * frame.format.frame_bytes
            if header.deflated_at:
                packed = entry.read(header.deflated_at, entry.size)
                self._data = inflate_data_set(packed, end)
            else:
                self._data = entry.read(0, entry.size if header.encapsulated else min(end, entry.size))
            self._entry = frame.entry
        return self._data


def _trim(have: NDArray[np.bool_]) -> tuple[int, int]:
    """The first plane that is there and the one after the last."""
    there = np.nonzero(have)[0]
    if not len(there):
        raise Refusal("unreadable_pixels", what="no slice could be read")
    return int(there[0]), int(there[-1]) + 1


def _fill_holes(view: NDArray[np.int16], have: NDArray[np.bool_], step: float) -> None:
    """Interpolate missing planes from their neighbours; refuse holes that are too wide for that."""
    there = np.nonzero(have)[0]
    for below, above in itertools.pairwise(there):
        gap = int(above - below)
        if gap == 1:
            continue
        if gap * step > max(MAX_HOLE_MM, 2.2 * step):
            what = f"{gap - 1} slices side by side, {gap * step:.0f} mm"
            raise Refusal("unreadable_pixels", what=what)
        for k in range(int(below) + 1, int(above)):
            view[k] = _mix(view[below], view[above], (k - below) / gap)


def _resample(
    source: NDArray[np.int16],
    slots: NDArray[np.float64],
    have: NDArray[np.bool_],
    view: NDArray[np.int16],
    step: float,
) -> None:
    """Linear interpolation from uneven places to an even grid."""
    there = np.nonzero(have)[0]
    places = slots[there]
    if len(there) < 2 or np.diff(places).max() * step > max(MAX_HOLE_MM, 2.2 * step):
        raise Refusal("unreadable_pixels", what="too many slices could not be read")
    for k in range(len(view)):
        above = int(np.clip(np.searchsorted(places, k), 1, len(places) - 1))
        share = float(np.clip((k - places[above - 1]) / (places[above] - places[above - 1]), 0, 1))
        view[k] = _mix(source[there[above - 1]], source[there[above]], share)


def _cut(volume: Volume, plan: _Plan, low: int, high: int) -> Volume:
    """Only planes ``low`` to ``high`` of the stored axis."""
    view = plan.turn.as_stored(volume.hu)
    axis = plan.turn.axes.index(0)
    count = len(view)
    start = count - high if plan.turn.reverse[axis] else low
    stop = start + high - low
    cut = [slice(None)] * 3
    cut[axis] = slice(start, stop)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2 - axis] * start
    return Volume(np.ascontiguousarray(volume.hu[tuple(cut)]), affine)
