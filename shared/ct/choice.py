"""Which series a radiologist would read: small comparators, composed into a total order.

A candidate that can be read comes first; then axial, original, complete, not sparse, a lung
kernel, thin, longer; ties go to the lower series number and at last to the UID, so that the
choice never depends on the order or the names of files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.ct.dicom import has_any

#: kernels whose names say lung or edge, by the makers' habits
_LUNG_WORDS = ("lung", "легк", "лёгк", "bone", "edge", "detail", "sharp", "chst", "pulmo")
_SIEMENS = re.compile(r"^[BIHDTQ][A-Za-z]?(\d\d)")
_CANON = re.compile(r"^FC(\d\d)")
_PHILIPS = re.compile(r"^(L|Y[A-E]|D|E|EC)$")
#: words of other body parts; they only break ties, because tags lie
_OTHER_PARTS = (
    "head",
    "brain",
    "skull",
    "sinus",
    "neck",
    "abdo",
    "pelvi",
    "liver",
    "kidney",
    "spine",
    "knee",
    "shoulder",
    "hip",
    "foot",
    "голов",
    "мозг",
    "живот",
    "брюш",
    "таз",
)
_CHEST_WORDS = ("chest", "thora", "lung", "грудн", "легк", "лёгк", "огк")


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the choice looks at. ``number`` and ``uid`` make the order total."""

    readable: bool
    plane: str
    original: bool
    extent_mm: float
    step_mm: float
    kernel: str
    description: str
    body_part: str
    n_slices: int
    number: int
    uid: str
    part: int = 0


Comparator = Callable[[Candidate, float], float]


def is_lung_kernel(kernel: str, description: str = "") -> bool:
    """A sharp reconstruction kernel, made for the lung or for edges."""
    name = kernel.split("\\")[0].strip()
    if has_any(_LUNG_WORDS, name) or has_any(("lung", "легк", "лёгк"), description):
        return True
    for pattern, low in ((_SIEMENS, 50), (_CANON, 50)):
        found = pattern.match(name)
        if found:
            number = int(found.group(1))
            return number >= low or (pattern is _CANON and number in (30, 31))
    return bool(_PHILIPS.match(name))


def _not_readable(c: Candidate, _: float) -> float:
    return not c.readable


def _not_axial(c: Candidate, _: float) -> float:
    return c.plane != "axial"


def _not_original(c: Candidate, _: float) -> float:
    return not c.original


def _short(c: Candidate, longest: float) -> float:
    """Much less of the body than the longest series: a targeted or partial reconstruction."""
    return c.extent_mm < 0.6 * longest


def _elsewhere(c: Candidate, _: float) -> float:
    """Named after another part of the body, and not after the chest as well."""
    words = (c.description, c.body_part)
    return has_any(_OTHER_PARTS, *words) and not has_any(_CHEST_WORDS, *words)


def _sparse(c: Candidate, _: float) -> float:
    """Too coarse to see small things: 0 up to 5 mm, then the step's class."""
    return 0.0 if c.step_mm <= 5.05 else 1.0 if c.step_mm <= 10.05 else 2.0


def _soft_kernel(c: Candidate, _: float) -> float:
    return not is_lung_kernel(c.kernel, c.description)


def _step(c: Candidate, _: float) -> float:
    return round(c.step_mm, 1)


def _less_coverage(c: Candidate, _: float) -> float:
    return -round(c.extent_mm)


def _fewer_slices(c: Candidate, _: float) -> float:
    return -c.n_slices


def _number(c: Candidate, _: float) -> float:
    return c.number


#: in order of weight; each is 0 (or less) where the candidate is as good as can be
COMPARATORS: tuple[tuple[str, Comparator], ...] = (
    ("not_readable", _not_readable),
    ("not_axial", _not_axial),
    ("other_body_part", _elsewhere),
    ("derived", _not_original),
    ("short", _short),
    ("sparse", _sparse),
    ("soft_kernel", _soft_kernel),
    ("thicker", _step),
    ("less_coverage", _less_coverage),
    ("fewer_slices", _fewer_slices),
    ("series_number", _number),
)


def order_of(candidates: Sequence[Candidate]) -> list[int]:
    """Indices of ``candidates``, the best first."""
    longest = max((c.extent_mm for c in candidates if c.readable and c.plane == "axial"), default=0.0)

    def key(k: int) -> tuple[object, ...]:
        c = candidates[k]
        return (*(f(c, longest) for _, f in COMPARATORS), c.uid, c.part)

    return sorted(range(len(candidates)), key=key)


def why_not(candidate: Candidate, chosen: Candidate, longest: float) -> str:
    """The first comparator by which ``candidate`` lost to ``chosen``."""
    for name, compare in COMPARATORS:
        if compare(candidate, longest) > compare(chosen, longest):
            return name
    return "series_uid"
