"""Synthetic studies on disk for tests: the anatomy of `batch.phantoms` with any quirk a test needs.

`write_study` writes one study and returns its truth. A quirk is an ``edit``: a function that gets
a slice's dataset and its number and changes it, drops it (``None``), or answers finished bytes.
"""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from batch.phantoms import Lesion, chest, datasets, to_bytes, uid_of, write_folder, write_nifti, write_zip
from shared.ct.volume import Volume

__all__ = ["Lesion", "Truth", "cached_chest", "chest", "datasets", "to_bytes", "uid_of", "write_study"]

Edit = Callable[[Dataset, int], Dataset | bytes | None]

#: direction cosines of rows and columns (LPS) for each PatientPosition, as scanners write them
POSITIONS: dict[str, tuple[int, int, int, int, int, int]] = {
    "HFS": (1, 0, 0, 0, 1, 0),
    "FFS": (-1, 0, 0, 0, 1, 0),
    "HFP": (-1, 0, 0, 0, -1, 0),
    "FFP": (1, 0, 0, 0, -1, 0),
    "HFDR": (0, -1, 0, 1, 0, 0),
    "HFDL": (0, 1, 0, -1, 0, 0),
}


@dataclass(frozen=True, slots=True)
class Truth:
    """What was written: where, the volume in canonical axes, and what was planted."""

    path: Path
    volume: Volume
    lesions: tuple[Lesion, ...]
    study_uid: str
    series_uid: str

    @property
    def affine(self) -> NDArray[np.float64]:
        """(x, y, z) indices to LPS mm."""
        return self.volume.affine


@lru_cache(maxsize=8)
def cached_chest(
    shape: tuple[int, int, int] = (56, 96, 96),
    spacing_mm: tuple[float, float, float] = (5.0, 4.0, 4.0),
    lesions: tuple[Lesion, ...] = (),
    noise_hu: float = 15.0,
    seed: int = 1,
) -> Volume:
    """The volume of `chest`, made once for all tests of a process. Do not write into it."""
    volume = chest(shape=shape, spacing_mm=spacing_mm, lesions=lesions, noise_hu=noise_hu, seed=seed).volume
    volume.hu.setflags(write=False)
    return volume


def turned(volume: Volume, position: str) -> Volume:
    """The same patient stored with the row and column directions of ``position``.

    The result is not in canonical axes: it is what lies in the file.
    """
    iop = np.array(POSITIONS[position])
    hu, affine = volume.hu, volume.affine.copy()
    if iop[0] == 0:
        hu = hu.transpose(0, 2, 1)
        affine[:, [0, 1]] = affine[:, [1, 0]]
    for axis, cosines in ((2, iop[:3]), (1, iop[3:])):
        column = 2 - axis
        if affine[:3, column] @ cosines < 0:
            hu = np.flip(hu, axis)
            affine[:3, 3] += affine[:3, column] * (hu.shape[axis] - 1)
            affine[:3, column] *= -1
    return Volume(hu, affine)


def write_study(
    target: Path,
    *,
    slices: int = 56,
    matrix: int = 96,
    spacing: tuple[float, float, float] = (5.0, 4.0, 4.0),
    lesions: Sequence[Lesion] = (),
    noise: float = 15.0,
    seed: int = 1,
    transfer_syntax: str = ExplicitVRLittleEndian,
    position: str = "HFS",
    kernel: str = "B70f",
    name: str = "phantom",
    patient_id: str = "PHANTOM",
    edit: Edit | None = None,
    shuffle: int | None = None,
    compression: int = zipfile.ZIP_DEFLATED,
) -> Truth:
    """Write a chest phantom and return the truth.

    Parameters
    ----------
    target : Path
        ``*.zip``, ``*.tar.gz``, ``*.nii``, ``*.nii.gz``, or else a folder that is made.
    slices, matrix, spacing
        Grid; spacing is (z, y, x) in mm.
    position : str
        A PatientPosition of `POSITIONS`: how the patient lay.
    edit : callable, optional
        Called with every dataset and its number from the bottom; see the module's text.
    shuffle : int, optional
        Seed of a random order of the files.
    """
    volume = cached_chest((slices, matrix, matrix), spacing, tuple(lesions), noise, seed)
    truth = Truth(target, volume, tuple(lesions), uid_of("study", name), uid_of("series", name, 2))
    if target.name.endswith((".nii", ".nii.gz")):
        write_nifti(target, volume)
        return truth
    files: list[bytes] = []
    stored = turned(volume, position)
    for k, ds in enumerate(datasets(stored, name=name, patient_id=patient_id, kernel=kernel)):
        ds.PatientPosition = position
        ds.ImageOrientationPatient = list(POSITIONS[position])
        edited = edit(ds, k) if edit else ds
        if edited is not None:
            files.append(edited if isinstance(edited, bytes) else to_bytes(edited, transfer_syntax))
    if shuffle is not None:
        random.Random(shuffle).shuffle(files)
    write_files(target, files, compression=compression)
    return truth


def write_files(target: Path, files: Sequence[bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write files into a zip, a tar.gz or a folder, by the name of ``target``."""
    if target.suffix == ".zip":
        return write_zip(target, files, compression=compression)
    if target.name.endswith(".tar.gz"):
        with tarfile.open(target, "w:gz", compresslevel=1) as archive:
            for k, data in enumerate(files, 1):
                info = tarfile.TarInfo(f"CT/IM{k:04d}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return target
    return write_folder(target, files)
