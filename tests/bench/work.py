"""The work that is measured: one synthetic study in every form, written once into a folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import SimpleITK
from pydicom.uid import JPEG2000Lossless, RLELossless

from batch.phantoms import Lesion, chest, datasets, to_bytes, write_folder, write_zip

MATRIX = 512


def make(folder: Path, slices: int) -> None:
    """Write ``loose``, ``deflate.zip``, ``stored.zip``, ``rle``, ``jpeg2000``, ``jpeg-lossless``, once."""
    done = folder / f"made-{slices}"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    volume = chest(
        shape=(slices, MATRIX, MATRIX),
        spacing_mm=(300.0 / slices, 0.7, 0.7),
        lesions=[Lesion("nodule", (70.0, 10.0, 20.0), 12.0)],
    ).volume
    plain = [to_bytes(one) for one in datasets(volume)]
    write_folder(folder / "loose", plain)
    write_zip(folder / "deflate.zip", plain)
    write_zip(folder / "stored.zip", plain, compression=zipfile.ZIP_STORED)
    for name, syntax in (("rle", RLELossless), ("jpeg2000", JPEG2000Lossless)):
        write_folder(folder / name, (to_bytes(one, syntax) for one in datasets(volume)))
    _jpeg_lossless(folder / "loose", folder / "jpeg-lossless")
    done.write_text("")


def _jpeg_lossless(source: Path, target: Path) -> None:
    """Compress loose files with GDCM: what the service decodes with only reads JPEG lossless."""
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        reader = SimpleITK.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("GDCMImageIO")
        reader.LoadPrivateTagsOff()
        image = reader.Execute()
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(target / f"{path.name}.dcm"))
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.KeepOriginalImageUIDOn()
        writer.Execute(image)
