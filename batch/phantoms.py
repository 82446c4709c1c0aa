"""Synthetic chest CT with a known truth, for ``./ct demo`` and for the tests.

`chest` computes the anatomy (body, lungs with vessels and airways, heart, great vessels, spine,
ribs, liver, table) in millimetres and samples it on any grid; `write_zip` and `write_folder` store
it as DICOM, `write_nifti` as NIfTI. Nothing here comes from a patient.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from scipy import ndimage

from shared.ct.volume import Volume

LesionKind = Literal["nodule", "ground_glass", "consolidation", "emphysema", "effusion"]
Floats = NDArray[np.float32]

#: z (mm, LPS) of the lung apices and of the highest point of the right dome
APEX_Z = 135.0
DOME_Z = -70.0
#: z of the lowest lung, in the costophrenic recess
BASE_Z = -135.0
AIR = -1000.0
#: UID root of everything that is written (the one pydicom gives to those without their own)
UID_ROOT = "1.2.826.0.1.3680043.8.498"


@dataclass(frozen=True, slots=True)
class Lesion:
    """A planted abnormality: kind, centre in LPS mm and radius in mm.

    An effusion fills the dependent part of the pleural space on the side of its centre, up to
    ``radius_mm`` above the back of the lung.
    """

    kind: LesionKind
    centre_lps: tuple[float, float, float]
    radius_mm: float

    @property
    def hu(self) -> float:
        """Density at the centre, HU."""
        return {
            "nodule": 40.0,
            "ground_glass": -600.0,
            "consolidation": 30.0,
            "emphysema": -985.0,
            "effusion": 10.0,
        }[self.kind]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A synthetic study and its truth."""

    volume: Volume
    lesions: tuple[Lesion, ...]


def chest(
    *,
    shape: tuple[int, int, int] = (64, 192, 192),
    spacing_mm: tuple[float, float, float] = (5.0, 2.0, 2.0),
    lesions: Sequence[Lesion] = (),
    noise_hu: float = 18.0,
    sharp: bool = True,
    seed: int = 1,
    bottom_z: float | None = None,
) -> Phantom:
    """A chest in LPS mm, the body's axis at x = y = 0, sampled on a grid.

    Parameters
    ----------
    shape, spacing_mm : (z, y, x)
        Voxels and their size in mm.
    lesions : sequence of Lesion
        What is planted.
    noise_hu : float
        Standard deviation of the noise; 0 for none. ``sharp`` gives the grain of a lung kernel.
    seed : int
        Vessels and noise come from it and nothing else.
    bottom_z : float, optional
        z of the lowest slice; by default the lungs are centred.
    """
    nz, ny, nx = shape
    dz, dy, dx = spacing_mm
    z0 = -(nz - 1) / 2 * dz if bottom_z is None else bottom_z
    x = (np.arange(nx, dtype=np.float32) - (nx - 1) / 2) * dx
    y = (np.arange(ny, dtype=np.float32) - (ny - 1) / 2) * dy
    affine = np.diag([dx, dy, dz, 1.0])
    affine[:3, 3] = float(x[0]), float(y[0]), z0
    hu = np.empty(shape, np.float32)
    lung = np.empty(shape, bool)
    for k in range(nz):
        hu[k], lung[k] = _slice(x[None, :], y[:, None], z0 + k * dz)
    rng = np.random.default_rng(seed)
    volume_of = Volume(np.empty((1, 1, 1), np.int16), affine)
    _vessels(hu, lung, volume_of, rng)
    for lesion in lesions:
        _plant(hu, lung, lesion, volume_of, rng)
    if noise_hu:
        _add_noise(hu, noise_hu, 0.35 if sharp else 0.9, (dy, dx), rng)
    np.clip(np.rint(hu, out=hu), -1024, 3071, out=hu)
    return Phantom(Volume(hu.astype(np.int16), affine), tuple(lesions))


def _ellipse(x: Floats, y: Floats, cx: float, cy: float, rx: float, ry: float) -> Floats:
    """Below 1 inside."""
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2


def _lung_scale(z: float) -> float:
    """Width of the lungs at height ``z`` as a share of their largest."""
    if z > APEX_Z or z < BASE_Z:
        return 0.0
    top = np.sqrt(max(0.0, 1.0 - max(0.0, (z - 20.0) / (APEX_Z - 20.0)) ** 2))
    return float(0.25 + 0.75 * top) if z > 20 else float(1.0 - 0.05 * (20.0 - z) / 155.0)


def _slice(x: Floats, y: Floats, z: float) -> tuple[Floats, NDArray[np.bool_]]:
    """HU of the plane at height ``z``, and where it is lung."""
    # above the shoulders the body narrows to a neck and widens again to a head
    neck = float(np.clip((z - 150.0) / 40.0, 0.0, 1.0))
    head = float(np.clip((z - 215.0) / 25.0, 0.0, 1.0)) * neck
    rx, ry = 172 - 110 * neck + 15 * head, 118 - 55 * neck + 30 * head
    body = _ellipse(x, y, 0, 0, rx, ry)
    hu = np.full(body.shape, AIR, np.float32)
    hu[body < 1] = -100.0
    muscle = _ellipse(x, y, 0, 2, rx - 16, ry - 14)
    hu[muscle < 1] = 48.0
    wall = _ellipse(x, y, 0, 4, 138, 98)
    if neck < 0.5 and z > -250:
        # ribs slope downward to the front: a shell with a pattern along the height
        phase = np.cos((z + 0.35 * y + 0.1 * np.abs(x)) / 24.0 * 2 * np.pi)
        hu[(wall < 1) & (wall > 0.86) & (phase > 0.45)] = 260.0
        if z > -90:
            hu[_ellipse(x, y, 0, -93, 17, 6) < 1] = 220.0
    lung = np.zeros(body.shape, bool)
    scale = _lung_scale(z)
    if scale > 0:
        for side in (-1, 1):
            inside = _ellipse(x, y, side * 68 * (0.72 + 0.28 * scale), 5, 57 * scale, 86 * scale) < 1
            lung |= inside & (wall < 0.86)
    below = np.zeros(body.shape, bool)
    for side, top in ((-1, DOME_Z), (1, DOME_Z - 14.0)):
        dome = top - 52.0 * _ellipse(x, y, side * 62, 0, 66, 88)
        below |= (z < dome) & (np.sign(x) == side)
    lung &= ~below
    if z < -250 or z > 160:
        lung[:] = False
    if z < DOME_Z - 20:
        belly = wall < 0.9
        hu[belly] = np.where(np.broadcast_to(x < 8, belly.shape), 58.0, 38.0)[belly]
    return _organs(hu, lung, below & (wall < 0.86), x, y, z)


def _organs(
    hu: Floats, lung: NDArray[np.bool_], below: NDArray[np.bool_], x: Floats, y: Floats, z: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """What lies inside the ribs: lung, mediastinum, heart, airways, spine, table."""
    right = np.broadcast_to(x < 0, hu.shape)
    hu[below & right] = 58.0
    hu[below & ~right] = 46.0
    gas = ((x - 62) / 26) ** 2 + ((y + 40) / 18) ** 2 + ((z + 140) / 22) ** 2 < 1
    hu[gas & below] = -950.0
    # gravity: the back of the lung is denser
    density = np.broadcast_to(-868.0 + 0.35 * (y + 86.0), hu.shape)
    heart = ((x - 24) / 58) ** 2 + ((y + 28) / 46) ** 2 + ((z + 48) / 58) ** 2 < 1
    spine = _ellipse(x, y, 0, 72, 24, 20) < 1
    aorta = (_ellipse(x, y, 22, 48, 13, 13) < 1) & (z < 62)
    arch = (((x - 12) / 22) ** 2 + ((y - 12) / 42) ** 2 < 1) & (abs(z - 62) < 12)
    middle = (_ellipse(x, y, 0, 10, 24, 66) < 1) & (z < 130)
    solid = heart | spine | aorta | arch | middle
    lung &= ~solid
    hu[lung] = density[lung]
    inside = middle & ~spine
    hu[inside & (hu > -200)] = 20.0
    hu[heart] = 45.0
    hu[aorta | arch] = 48.0
    hu[spine] = 180.0
    hu[_ellipse(x, y, 0, 72, 21, 17) < 1] = 150.0
    hu[_ellipse(x, y, 0, 98, 9, 7) < 1] = 15.0
    if z > 28:
        airway = _ellipse(x, y, 0, 20, 9, 9)
        hu[(airway < 1.5) & (z < 190)] = 30.0
        hu[(airway < 1) & (z < 190)] = AIR
    elif z > -5:
        for side in (-1, 1):
            hu[_ellipse(x, y, side * (10 + (28 - z) * 0.9), 20, 7, 7) < 1] = AIR
    # the table: a curved board under the back, with air between
    board = 128.0 - (x / 190.0) ** 2 * 12.0
    on_table = (np.abs(x) < 190) & (y > board) & (y < board + 16)
    hu[on_table & (hu < -900)] = -880.0
    hu[on_table & ((y < board + 2.5) | (y > board + 13.5)) & (hu < -850)] = -150.0
    return hu, lung


def _stamp(
    volume_of: Volume, shape: tuple[int, ...], centre: NDArray[np.float64], radius: float
) -> tuple[tuple[slice, ...], Floats] | None:
    """A box around ``centre`` and the distance in mm of its voxels from it; None when outside."""
    index = volume_of.index_of(centre)
    reach = radius / np.array(volume_of.spacing_mm)
    low = np.maximum(np.floor(index - reach), 0).astype(int)
    high = np.minimum(np.ceil(index + reach) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    grids = [
        ((np.arange(a, b) - i) * s) ** 2
        for a, b, i, s in zip(low, high, index, volume_of.spacing_mm, strict=True)
    ]
    square = grids[0][:, None, None] + grids[1][None, :, None] + grids[2][None, None, :]
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return box, np.sqrt(square).astype(np.float32)


def _vessels(hu: Floats, lung: NDArray[np.bool_], volume_of: Volume, rng: np.random.Generator) -> None:
    """Branching vessels from the hila outward, thinner on the way; also thin bronchi beside them."""
    for side in (-1.0, 1.0):
        ends = rng.uniform([25, -75, -125], [122, 80, 120], (70, 3)) * [side, 1, 1]
        for end in ends:
            start = np.array([side * 26.0, 16.0, 5.0])
            bend = (start + end) / 2 + rng.normal(0, 9, 3)
            t = np.linspace(0, 1, max(12, int(np.linalg.norm(end - start) / 1.6)))[:, None]
            path = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
            for point, width in zip(path, np.linspace(4.2, 0.9, len(path)), strict=True):
                found = _stamp(volume_of, hu.shape, point, width + 1.5)
                if found is None:
                    continue
                box, distance = found
                share = np.clip(width + 0.5 - distance, 0, 1) * lung[box]
                np.maximum(hu[box], hu[box] + (38.0 - hu[box]) * share, out=hu[box])


def _plant(
    hu: Floats, lung: NDArray[np.bool_], lesion: Lesion, volume_of: Volume, rng: np.random.Generator
) -> None:
    """Draw one lesion into ``hu``."""
    centre = np.array(lesion.centre_lps)
    if lesion.kind == "effusion":
        _fill_effusion(hu, lung, lesion, volume_of)
        return
    if lesion.kind == "emphysema":
        holes = centre + rng.normal(0, lesion.radius_mm / 2, (60, 3))
        for hole in holes:
            found = _stamp(volume_of, hu.shape, hole, 5.0)
            if found is not None:
                box, distance = found
                hu[box] = np.where((distance < 4.5) & lung[box], lesion.hu, hu[box])
        return
    found = _stamp(volume_of, hu.shape, centre, lesion.radius_mm + 2)
    if found is None:
        return
    box, distance = found
    soft = 1.0 if lesion.kind == "nodule" else lesion.radius_mm / 3
    share = np.clip((lesion.radius_mm - distance) / soft + 0.5, 0, 1)
    if lesion.kind != "nodule":
        share = share * lung[box]
    denser = hu[box] + (lesion.hu - hu[box]) * share
    hu[box] = np.where(hu[box] < lesion.hu, denser, hu[box])


def _fill_effusion(hu: Floats, lung: NDArray[np.bool_], lesion: Lesion, volume_of: Volume) -> None:
    """Fluid in the dependent pleural space: its level is flat, as on a patient lying on the back."""
    nz, ny, nx = hu.shape
    side = np.sign(lesion.centre_lps[0])
    grid = np.indices((ny, nx)).reshape(2, -1).T
    place = volume_of.lps_of(np.column_stack([np.zeros(len(grid)), grid]).astype(np.float64))
    x, y = place[:, 0].reshape(ny, nx), place[:, 1].reshape(ny, nx)
    for k in range(nz):
        half = lung[k] & (np.sign(x) == side)
        z = volume_of.lps_of(np.array([k, 0.0, 0.0]))[2]
        if half.any() and z < lesion.centre_lps[2] + 2 * lesion.radius_mm:
            level = y[half].max() - lesion.radius_mm
            hu[k][half & (y > level)] = lesion.hu


def _add_noise(
    hu: Floats, std: float, blur_mm: float, pixel: tuple[float, float], rng: np.random.Generator
) -> None:
    """Correlated noise as a scanner makes it, from a few fields that are rolled and flipped."""
    fields = rng.standard_normal((6, *hu.shape[1:]), dtype=np.float32)
    for field in fields:
        ndimage.gaussian_filter(field, [blur_mm / p for p in pixel], output=field, mode="wrap")
        field *= std / field.std()
    for plane in hu:
        field = np.roll(fields[rng.integers(6)], tuple(rng.integers(0, hu.shape[1:])), (0, 1))
        plane += field[:: rng.choice([-1, 1])]


def uid_of(*parts: object) -> str:
    """A valid UID that depends on nothing but ``parts``."""
    digits = str(int(sha256("/".join(map(str, parts)).encode()).hexdigest()[:24], 16))
    return f"{UID_ROOT}.{digits}"


def datasets(
    volume: Volume,
    *,
    name: str = "phantom",
    patient_id: str = "PHANTOM",
    patient_name: str = "Synthetic^Phantom",
    description: str = "Synthetic chest",
    kernel: str = "B70f",
    series_number: int = 2,
    study: str | None = None,
) -> Iterator[Dataset]:
    """One CT Image Storage dataset a slice, bottom first: uint16, intercept -1024, no file meta.

    ``name`` seeds the series and image UIDs, ``study`` (by default ``name``) the study's.
    """
    dz, dy, dx = volume.spacing_mm
    for k, plane in enumerate(volume.hu):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = uid_of(name, series_number, k)
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20261125"
        ds.StudyTime = ds.SeriesTime = "120000"
        ds.Modality = "CT"
        ds.Manufacturer = "SYNTHETIC"
        ds.StudyDescription = description
        ds.SeriesDescription = f"{description} {dz:g} {kernel}"
        ds.PatientName = patient_name
        ds.PatientID = patient_id
        ds.PatientBirthDate = ""
        ds.PatientSex = "O"
        ds.BodyPartExamined = "CHEST"
        ds.SliceThickness = f"{dz:g}"
        ds.KVP = "120"
        ds.ConvolutionKernel = kernel
        ds.PatientPosition = "HFS"
        ds.StudyInstanceUID = uid_of("study", study or name)
        ds.SeriesInstanceUID = uid_of("series", name, series_number)
        ds.StudyID = "1"
        ds.SeriesNumber = series_number
        ds.AcquisitionNumber = 1
        ds.InstanceNumber = len(volume.hu) - k
        origin = volume.lps_of(np.array([k, 0.0, 0.0]))
        ds.ImagePositionPatient = [f"{v:.6g}" for v in origin]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.FrameOfReferenceUID = uid_of("frame", study or name)
        ds.SliceLocation = f"{origin[2]:.6g}"
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows, ds.Columns = plane.shape
        ds.PixelSpacing = [f"{dy:.8g}", f"{dx:.8g}"]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
        ds.PixelData = (plane.astype(np.int32) + 1024).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        yield ds


def to_bytes(ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file: uncompressed little endian, RLE or JPEG 2000 lossless."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID") or CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(ds.get("SOPInstanceUID") or uid_of("nameless"))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    if transfer_syntax in (RLELossless, JPEG2000Lossless):
        ds.compress(transfer_syntax, generate_instance_uid=False)
    else:
        meta.TransferSyntaxUID = UID(transfer_syntax)
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def write_folder(folder: Path, files: Iterable[bytes]) -> Path:
    """Write files as ``IM0001``, … into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, data in enumerate(files, 1):
        (folder / f"IM{k:04d}").write_bytes(data)
    return folder


def write_zip(path: Path, files: Iterable[bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write files as ``CT/IM0001.dcm``, … into a zip."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for k, data in enumerate(files, 1):
            archive.writestr(zipfile.ZipInfo(f"CT/IM{k:04d}.dcm"), data, compress_type=compression)
    return path


def write_nifti(path: Path, volume: Volume) -> Path:
    """Write ``volume`` as NIfTI (RAS affine, int16 HU)."""
    image = nibabel.Nifti1Image(volume.hu.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1]) @ volume.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    nibabel.save(image, path)
    return path
