"""From the frames of one series to stacks: sets of parallel slices that make one volume each.

A SeriesInstanceUID is not a volume. Frames are told apart by matrix, pixel size and orientation;
then, where positions repeat or interlock, by acquisition, phase, kernel and the like.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.ct.frame import Frame
from shared.ct.geometry import (
    MAX_STEP_MM,
    MIN_TILT_DEG,
    SAME_PLACE_MM,
    Grid,
    fit_grid,
    largest_run,
    normal_of,
    plane_of,
    same_orientation,
    shear_of,
    step_of,
    tilt_deg,
)
from shared.errors import Notice, Param

#: fewer slices make no study
MIN_SLICES = 10
#: a reformat of another plane is turned to axial only when its step is at most this (mm)
MAX_REFORMAT_STEP_MM = 3.0
#: above this step (mm) small findings may be invisible
THICK_STEP_MM = 7.5
#: corners further than this (mm) from the line of the others belong to something else
CORNER_TOLERANCE_MM = 2.0
#: above this many phases at the same place a series is dynamic
MAX_PHASES = 3


@dataclass(slots=True)
class Stack:
    """Parallel slices in the order of their position, and what is wrong with them.

    ``frames`` are sorted along ``normal``; ``refusal`` is set when no volume can be made.
    """

    frames: list[Frame]
    plane: str = "unknown"
    row: NDArray[np.float64] = field(default_factory=lambda: np.array([1.0, 0, 0]))
    column: NDArray[np.float64] = field(default_factory=lambda: np.array([0.0, 1, 0]))
    places: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    grid: Grid | None = None
    shear: tuple[float, float] = (0.0, 0.0)
    tilt_deg: float = 0.0
    warnings: list[Notice] = field(default_factory=list)
    refusal: Notice | None = None
    #: what tells it from other stacks of its series, such as ``acquisition 2``
    part: str = ""
    #: its number among them
    part_number: int = 0
    #: frames that were left out because they repeat others
    dropped: int = 0

    @property
    def normal(self) -> NDArray[np.float64]:
        """Rows × columns."""
        return np.asarray(np.cross(self.row, self.column))

    @property
    def step_mm(self) -> float | None:
        """Distance of the planes along the normal."""
        return self.grid.step_mm if self.grid else None

    @property
    def extent_mm(self) -> float:
        """From the first to the last slice."""
        return float(np.ptp(self.places)) if len(self.places) else 0.0

    def warn(self, code: str, **params: Param) -> None:
        """Add a warning."""
        self.warnings.append(Notice(code=code, params=params))

    def refuse(self, code: str, **params: Param) -> None:
        """Refuse the stack; the first reason stays."""
        if self.refusal is None:
            self.refusal = Notice(code=code, params=params)


def build_stacks(frames: Sequence[Frame]) -> list[Stack]:
    """All stacks of one series' frames, in no particular order of merit."""
    stacks: list[Stack] = []
    for group in _by_geometry(frames):
        kept, copies = _without_copies(group)
        for number, (part, members) in enumerate(_by_pass(kept)):
            stack = _build(members)
            stack.part, stack.part_number = part, number
            # copies are counted once, with the first of the parts
            stack.dropped += copies
            copies = 0
            if stack.dropped:
                stack.warn("duplicates_dropped", n=stack.dropped)
            stacks.append(stack)
    return stacks


def _by_geometry(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group by matrix, pixel size and orientation, each within its tolerance."""
    groups: list[list[Frame]] = []
    by_matrix: dict[tuple[int, int], list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=_stable_key):
        by_matrix[frame.format.rows, frame.format.columns].append(frame)
    for key in sorted(by_matrix):
        started = len(groups)
        for frame in by_matrix[key]:
            for group in groups[started:]:
                if _alike(group[0], frame):
                    group.append(frame)
                    break
            else:
                groups.append([frame])
    return groups


def _stable_key(frame: Frame) -> tuple[object, ...]:
    """An order by content, so that the order of files does not matter."""
    return (
        frame.orientation or (),
        frame.pixel_spacing or (),
        frame.position or (),
        *frame.sort_key,
    )


def _alike(a: Frame, b: Frame) -> bool:
    if (a.orientation is None) != (b.orientation is None):
        return False
    if a.orientation and b.orientation and not same_orientation(a.orientation, b.orientation):
        return False
    if (a.pixel_spacing is None) != (b.pixel_spacing is None):
        return False
    if a.pixel_spacing and b.pixel_spacing:
        return all(abs(p - q) <= 0.002 * p for p, q in zip(a.pixel_spacing, b.pixel_spacing, strict=True))
    return True


def _without_copies(frames: list[Frame]) -> tuple[list[Frame], int]:
    """Drop files that are there twice: same UID, frame, position and instance.

    A SOP Instance UID alone does not identify an image: whole studies carry a single one.
    """
    seen: set[Hashable] = set()
    kept = []
    for frame in frames:
        uid = frame.header.text("SOPInstanceUID")
        key = (uid, frame.index, frame.position, frame.header.integer("InstanceNumber"))
        if uid and key in seen and frame.position is not None:
            continue
        seen.add(key)
        kept.append(frame)
    return kept, len(frames) - len(kept)


#: what may tell two passes or reconstructions in one series apart, most telling first
_DISCRIMINATORS: tuple[tuple[str, Callable[[Frame], Hashable]], ...] = (
    ("phase", lambda f: f.temporal),
    ("acquisition", lambda f: f.acquisition),
    ("kernel", lambda f: f.kernel),
    ("thickness", lambda f: f.thickness),
    ("image type", lambda f: f.image_type),
    ("tube voltage", lambda f: f.header.number("KVP")),
    ("field of view", lambda f: f.header.number("ReconstructionDiameter")),
    ("contrast", lambda f: f.header.raw("ContrastBolusAgent")),
    ("description", lambda f: f.header.raw("SeriesDescription")),
    ("frame of reference", lambda f: f.header.raw("FrameOfReferenceUID")),
    ("time", lambda f: f.header.raw("AcquisitionTime")),
)


def _by_pass(frames: list[Frame], level: int = 0) -> list[tuple[str, list[Frame]]]:
    """Split frames that are several passes over the same place; a single pass stays whole.

    Slabs that follow each other along the table are one volume whatever their tags say.
    """
    if len(frames) < 4 or any(f.position is None or f.orientation is None for f in frames):
        return [("", frames)]
    places = _places(frames)
    for name, key in _DISCRIMINATORS:
        values = [key(f) for f in frames]
        counts = Counter(values)
        if not 2 <= len(counts) <= max(MAX_PHASES, len(frames) // 2):
            continue
        parts: dict[Hashable, list[int]] = defaultdict(list)
        for k, value in enumerate(values):
            parts[value].append(k)
        if _interlocked([places[members] for members in parts.values()]):
            out: list[tuple[str, list[Frame]]] = []
            for value in sorted(parts, key=_value_key):
                members = [frames[k] for k in parts[value]]
                shown = b"?" if isinstance(value, bytes) else value
                label = f"{name} {shown if not isinstance(shown, bytes) else len(out) + 1}"
                out += [(label, inner) for _, inner in _by_pass(members, level + 1)]
            return out
    return _by_repetition(frames, places)


def _value_key(value: Hashable) -> tuple[str, float, str]:
    number = float(value) if isinstance(value, int | float) else 0.0
    return type(value).__name__, number, str(value)


def _places(frames: Sequence[Frame]) -> NDArray[np.float64]:
    first = frames[0].orientation
    assert first is not None  # noqa: S101
    return np.array([f.position for f in frames], dtype=np.float64) @ normal_of(first)


def _interlocked(parts: Sequence[NDArray[np.float64]]) -> bool:
    """At least two parts are stacks of their own that cover the same place."""
    ranges = [(p.min(), p.max(), len(p)) for p in parts if len(p) >= 3]
    for k, (low, high, n) in enumerate(ranges):
        for other_low, other_high, m in ranges[k + 1 :]:
            shared = min(high, other_high) - max(low, other_low)
            shorter = min(high - low, other_high - other_low)
            if shorter > 0 and shared > 0.5 * shorter and min(n, m) >= 0.1 * max(n, m):
                return True
    return False


def _by_repetition(frames: list[Frame], places: NDArray[np.float64]) -> list[tuple[str, list[Frame]]]:
    """Nothing in the tags differs: split by how often each place comes back."""
    order = sorted(
        range(len(frames)), key=lambda k: (round(float(places[k]) / SAME_PLACE_MM), frames[k].sort_key)
    )
    times: list[int] = []
    for i, k in enumerate(order):
        again = i > 0 and places[k] - places[order[i - 1]] < 2 * SAME_PLACE_MM
        times.append(times[-1] + 1 if again else 0)
    most = max(times) + 1
    # a few repeated slices are copies; a stack repeated as a whole is another pass
    if most == 1 or times.count(1) < max(3, 0.5 * times.count(0)):
        return [("", frames)]
    passes = [[frames[k] for k, t in zip(order, times, strict=True) if t == n] for n in range(most)]
    return [(f"pass {n + 1}", members) for n, members in enumerate(passes)]


def _build(frames: list[Frame]) -> Stack:
    """Order the frames, measure them, and say what is wrong."""
    first = frames[0]
    stack = Stack(sorted(frames, key=lambda f: f.sort_key), plane=plane_of(first.orientation))
    if first.orientation is None or any(f.position is None for f in frames):
        stack.refuse("mixed_geometry", what="positions or orientation are absent")
        return stack
    if first.pixel_spacing is None:
        stack.refuse("mixed_geometry", what="pixel spacing is absent")
        return stack
    _set_directions(stack, frames)
    _sort(stack)
    _drop_repeated(stack)
    _drop_strays(stack)
    _measure(stack)
    return stack


def _set_directions(stack: Stack, frames: Sequence[Frame]) -> None:
    """The mean orientation, at right angles again."""
    mean = np.mean([f.orientation for f in frames if f.orientation], axis=0)
    row = mean[:3] / np.linalg.norm(mean[:3])
    column = mean[3:] - row * (row @ mean[3:])
    stack.row, stack.column = row, column / np.linalg.norm(column)


def _sort(stack: Stack) -> None:
    places = np.array([f.position for f in stack.frames], dtype=np.float64) @ stack.normal
    order = sorted(range(len(places)), key=lambda k: (places[k], stack.frames[k].sort_key))
    stack.frames = [stack.frames[k] for k in order]
    stack.places = places[order]


def _keep(stack: Stack, keep: NDArray[np.bool_]) -> int:
    """Keep some of the slices; how many went."""
    stack.frames = [f for f, k in zip(stack.frames, keep, strict=True) if k]
    stack.places = stack.places[keep]
    return int((~keep).sum())


def _drop_repeated(stack: Stack) -> None:
    step = step_of(stack.places)
    near = SAME_PLACE_MM if step is None else max(SAME_PLACE_MM, 0.04 * step)
    keep = np.ones(len(stack.places), dtype=bool)
    last = None
    for k in sorted(
        range(len(keep)), key=lambda k: (round(float(stack.places[k]) / near), stack.frames[k].sort_key)
    ):
        if last is not None and abs(stack.places[k] - stack.places[last]) < near:
            keep[k] = False
        else:
            last = k
    stack.dropped = _keep(stack, keep)


def _drop_strays(stack: Stack) -> None:
    """Set aside a few slices whose corner is elsewhere, or that lie far from all others."""
    set_aside = 0
    origins = np.array([f.position for f in stack.frames], dtype=np.float64)
    *_, off = shear_of(stack.places, origins, stack.row, stack.column)
    stray = off > CORNER_TOLERANCE_MM
    if stray.any():
        if stray.mean() > 0.1:
            stack.refuse("mixed_geometry", what="the slices do not lie behind each other")
            return
        set_aside += _keep(stack, ~stray)
    run = largest_run(stack.places)
    outside = len(stack.places) - (run.stop - run.start)
    if 0 < outside <= max(1, 0.06 * len(stack.places)):
        keep = np.zeros(len(stack.places), dtype=bool)
        keep[run] = True
        set_aside += _keep(stack, keep)
    if set_aside:
        stack.warn("slices_set_aside", n=set_aside)


def _measure(stack: Stack) -> None:
    """Fit the grid and apply the rules of what can be read."""
    count = len(stack.frames)
    stack.grid = fit_grid(stack.places) if count > 1 else None
    if count < MIN_SLICES:
        stack.refuse("too_few_slices", n=count)
    grid = stack.grid
    if grid is None:
        return
    if round(grid.step_mm, 2) > MAX_STEP_MM:
        stack.refuse("too_thick_slices", mm=round(grid.step_mm, 1), max_mm=MAX_STEP_MM)
    run = largest_run(stack.places)
    if run.stop - run.start < count:
        stack.refuse("uneven_slices", what=_hole_words(stack))
    origins = np.array([f.position for f in stack.frames], dtype=np.float64)
    along_row, along_column, _ = shear_of(stack.places, origins, stack.row, stack.column)
    angle = tilt_deg(along_row, along_column)
    if angle >= MIN_TILT_DEG:
        stack.shear, stack.tilt_deg = (along_row, along_column), angle
        if angle > 40:
            stack.refuse("mixed_geometry", what="the slices do not lie behind each other")
        stack.warn("gantry_tilt", deg=round(angle, 1))
    _judge_plane(stack)
    _warn_of_steps(stack, grid)


def _judge_plane(stack: Stack) -> None:
    step = stack.step_mm or 0.0
    if stack.plane == "axial":
        return
    if stack.plane == "oblique":
        stack.refuse("no_axial_ct_series", what="oblique reformat")
    elif round(step, 2) > MAX_REFORMAT_STEP_MM:
        stack.refuse("no_axial_ct_series", what=f"{stack.plane} reformat, step {step:.1f} mm")
    else:
        stack.warn("resampled_axial")


def _warn_of_steps(stack: Stack, grid: Grid) -> None:
    if grid.step_mm > THICK_STEP_MM:
        stack.warn("thick_slices", mm=round(grid.step_mm, 1))
    share = grid.missing / grid.planes
    if not grid.even or share > 0.12:
        steps = np.diff(stack.places)
        stack.warn("uneven_spacing", what=f"{steps.min():.1f} – {steps.max():.1f} mm")
    elif grid.missing:
        stack.warn("slices_missing", what=_hole_words(stack))


def _hole_words(stack: Stack) -> str:
    """The largest hole in words: between which files, how wide, which share is missing."""
    grid = stack.grid
    if grid is None or not grid.holes:
        return "no even step"
    hole = max(grid.holes, key=lambda h: (h.above_mm - h.below_mm, -h.below))
    below, above = stack.frames[hole.below].entry.name, stack.frames[hole.above].entry.name
    share = 100 * grid.missing / grid.planes
    return (
        f"{hole.missing} between {below} and {above} ({hole.above_mm - hole.below_mm:.1f} mm), "
        f"{share:.0f} % of the planes"
    )
