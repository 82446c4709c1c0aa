"""NIfTI-1 and -2 volumes: which matrix to believe, which scale, and whether it is a CT at all."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass, field

import nibabel
import numpy as np
from numpy.typing import NDArray

from shared.ct.archive import Entry
from shared.ct.geometry import MAX_STEP_MM, OBLIQUE_DEG, Turn, canonical
from shared.ct.hounsfield import PADDING, check_scale, saturate
from shared.ct.inflate import DamagedError
from shared.ct.pixels import MAX_VOXELS, SAMPLE_PLANES, Loaded, Progress
from shared.ct.stack import MAX_REFORMAT_STEP_MM, MIN_SLICES, THICK_STEP_MM
from shared.ct.volume import Volume
from shared.errors import Notice, Refusal

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: millimetres per unit, by the low three bits of xyzt_units
_UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}
#: a voxel outside this range (mm) is none of a CT
_VOXEL_MM = (0.05, 30.0)
#: largest difference (mm) of two matrices that still agree
_SAME_MM = 1.0


@dataclass(slots=True)
class NiftiImage:
    """A NIfTI file by its header. ``refusal`` is set when no CT volume can be made of it."""

    entry: Entry
    uid: str
    shape: tuple[int, ...] = ()
    dtype: np.dtype[np.generic] = field(default_factory=lambda: np.dtype("<i2"))
    offset: int = 352
    slope: float = 1.0
    intercept: float = 0.0
    #: maps (k, j, i) indices of the stored array to LPS mm
    affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    turn: Turn | None = None
    canonical_affine: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    warnings: list[Notice] = field(default_factory=list)
    refusal: Notice | None = None

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Canonical shape (z, y, x)."""
        assert self.turn is not None  # noqa: S101
        return self.turn.shape(self.shape[::-1])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Canonical voxel size (z, y, x)."""
        x, y, z = (float(v) for v in np.linalg.norm(self.canonical_affine[:3, :3], axis=0))
        return z, y, x

    def refuse(self, code: str, **params: str | int | float) -> None:
        """Refuse the image; the first reason stays."""
        if self.refusal is None:
            self.refusal = Notice(code=code, params=params)


def read_nifti(entry: Entry, head: bytes) -> NiftiImage:
    """Read a header and judge it."""
    image = NiftiImage(entry, "2.25." + str(int(hashlib.sha256(head[:540]).hexdigest()[:28], 16)))
    try:
        header = _header(head)
        shape = tuple(int(v) for v in header.get_data_shape())  # type: ignore[no-untyped-call]
        dtype = header.get_data_dtype()  # type: ignore[no-untyped-call]
        qform, q_code = header.get_qform(coded=True)  # type: ignore[no-untyped-call]
        sform, s_code = header.get_sform(coded=True)  # type: ignore[no-untyped-call]
        image.offset = int(header["vox_offset"]) or (352 if head[344:347] == b"n+1" else 544)
    except Exception as error:  # noqa: BLE001 - nibabel raises many kinds on damaged headers
        image.refuse("unreadable", what=f"NIfTI header: {error}"[:120])
        return image
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        image.refuse("unsupported_format", what="NIfTI in two files (.hdr and .img)")
        return image
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        image.refuse("unsupported_4d")
        return image
    if len(shape) < 3 or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        image.refuse("too_few_slices" if len(shape) < 3 else "unreadable", n=1, what="dimensions")
        return image
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        image.refuse("not_hounsfield", what=f"voxels of type {dtype}")
        return image
    image.shape, image.dtype = shape, dtype
    image.slope, image.intercept = _scale(header)
    pixdim = np.abs(np.array(header["pixdim"][1:4], dtype=np.float64))
    units = int(header["xyzt_units"]) & 7
    _place(image, (sform, s_code), (qform, q_code), pixdim, units)
    return image


def _header(head: bytes) -> nibabel.Nifti1Header:
    size = struct.unpack_from("<i", head)[0]
    kind, length = (nibabel.Nifti2Header, 540) if size in (540, 0x1C020000) else (nibabel.Nifti1Header, 348)
    return kind(binaryblock=head[:length], check=False)  # type: ignore[no-untyped-call]


def _scale(header: nibabel.Nifti1Header) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means that there is no scaling."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _place(
    image: NiftiImage,
    sform: tuple[NDArray[np.float64] | None, int],
    qform: tuple[NDArray[np.float64] | None, int],
    pixdim: NDArray[np.float64],
    units: int,
) -> None:
    """Choose the matrix (sform when it has a code, else qform), in mm, and turn it to LPS."""
    found = [m for m, code in (sform, qform) if code > 0 and m is not None and _sound(m)]
    if found:
        matrix = np.array(found[0], dtype=np.float64)
    else:
        matrix = np.diag([*np.where(pixdim > 0, pixdim, 1.0), 1.0])
        # radiological storage is the most usual without codes; the sides stay a guess
        matrix[0, 0] *= -1
        image.warnings.append(
            Notice(code="geometry_assumed", params={"what": "the NIfTI header has no orientation"})
        )
    scale = _unit(matrix, units, image)
    matrix[:3] *= scale
    if len(found) == 2:
        other = np.array(found[1], dtype=np.float64)
        other[:3] *= scale
        corner = np.array([[*image.shape, 1.0], [0, 0, 0, 1.0]])
        if np.abs((corner @ matrix.T - corner @ other.T)[:, :3]).max() > _SAME_MM:
            what = "the two matrices of the NIfTI header disagree"
            image.warnings.append(Notice(code="geometry_assumed", params={"what": what}))
    lps = _RAS_TO_LPS @ matrix
    # the array is stored with the first index fastest: (k, j, i) in C order
    image.affine = lps[:, [2, 1, 0, 3]]
    image.turn, image.canonical_affine = canonical(image.affine, image.shape[::-1])
    _judge(image)


def _sound(matrix: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(matrix).all() and abs(np.linalg.det(matrix[:3, :3])) > 1e-12)


def _unit(matrix: NDArray[np.float64], units: int, image: NiftiImage) -> float:
    """Millimetres per unit. A unit that makes the voxels absurd is not believed."""
    voxel = np.linalg.norm(matrix[:3, :3], axis=0)
    declared = _UNITS.get(units, 1.0)
    for scale in (declared, *_UNITS.values()):
        if (voxel * scale >= _VOXEL_MM[0]).all() and (voxel * scale <= _VOXEL_MM[1]).all():
            if scale != declared:
                what = "the unit of length in the NIfTI header is wrong"
                image.warnings.append(Notice(code="geometry_assumed", params={"what": what}))
            return scale
    return declared


def _judge(image: NiftiImage) -> None:
    linear = image.canonical_affine[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    if (spacing < _VOXEL_MM[0]).any() or (spacing > _VOXEL_MM[1]).any():
        image.refuse("mixed_geometry", what="impossible voxel size in the NIfTI header")
        return
    directions = linear / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 0.02:
        image.refuse("mixed_geometry", what="the axes of the NIfTI volume are not at right angles")
    if np.diag(directions).min() < math.cos(math.radians(OBLIQUE_DEG)):
        image.refuse("no_axial_ct_series", what="oblique volume")
    z, y, x = image.spacing_mm
    if image.grid_shape[0] < MIN_SLICES:
        image.refuse("too_few_slices", n=image.grid_shape[0])
    if z > MAX_STEP_MM:
        image.refuse("too_thick_slices", mm=round(z, 1), max_mm=MAX_STEP_MM)
    coarse = max(x, y)
    if coarse > MAX_REFORMAT_STEP_MM and coarse > 1.5 * z:
        image.refuse("no_axial_ct_series", what=f"reformat, step {coarse:.1f} mm")
    if z > THICK_STEP_MM:
        image.warnings.append(Notice(code="thick_slices", params={"mm": round(z, 1)}))


def load_nifti(image: NiftiImage, *, progress: Progress | None = None) -> Loaded:
    """Decode a NIfTI volume to HU in canonical axes.

    Raises
    ------
    Refusal
        ``unreadable_pixels``, ``not_hounsfield``.
    """
    if image.refusal or image.turn is None:
        raise Refusal(image.refusal.code, **image.refusal.params) if image.refusal else Refusal("unreadable")
    stored = image.shape[::-1]
    size = math.prod(stored) * image.dtype.itemsize
    try:
        data = image.entry.read(image.offset, image.offset + size)
    except DamagedError as error:
        raise Refusal("unreadable_pixels", what=str(error)) from error
    if len(data) < size:
        raise Refusal("unreadable_pixels", what="the file is cut off")
    array = np.frombuffer(data, image.dtype).reshape(stored)
    final = np.empty(image.turn.shape(stored), np.int16)
    view = image.turn.as_stored(final)
    for k, plane in enumerate(array):
        _scaled(plane, image, view[k])
        if progress is not None and k % 8 == 0:
            progress(k / len(array))
    warnings: list[Notice] = []
    planes = np.linspace(0, len(final) - 1, min(SAMPLE_PLANES, len(final))).astype(int)
    check = check_scale(final[planes])
    if check.warning:
        warnings.append(check.warning)
    if saturate(final, offset=check.offset):
        warnings.append(Notice(code="values_clipped"))
    return Loaded(Volume(final, image.canonical_affine), check.text, warnings)


def _scaled(plane: NDArray[np.generic], image: NiftiImage, out: NDArray[np.int16]) -> None:
    """Scale one plane; NaN and infinity are air."""
    if plane.dtype.kind in "iu" and (image.slope, image.intercept) == (1.0, 0.0):
        out[:] = plane if plane.dtype.itemsize == 1 else np.clip(plane, -32768, 32767)
        return
    wide = plane.astype(np.float64) * image.slope + image.intercept
    np.nan_to_num(wide, copy=False, nan=float(PADDING), posinf=32767, neginf=-32768)
    np.clip(np.rint(wide, out=wide), -32768, 32767, out=wide)
    out[:] = wide


def is_ct_scale(image: NiftiImage) -> bool:
    """The voxels look like Hounsfield units: tells a scan from its mask. Decodes the volume."""
    try:
        load_nifti(image)
    except Refusal:
        return False
    return True
