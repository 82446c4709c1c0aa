"""One measured step in a process of its own: ``python -m tests.bench.steps NAME FOLDER`` prints JSON.

Imports and the warm-up of a model are not measured: a service has them behind it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from shared.ct.pixels import load_stack
from shared.ct.study import read_studies
from shared.ct.volume import Volume
from shared.model.pipeline import analyse
from shared.model.session import Model
from tests.bench.service import memory_mb


def headers_pydicom(folder: Path) -> None:
    """Read every header, stop before the pixels."""
    for path in sorted((folder / "loose").iterdir()):
        pydicom.dcmread(path, stop_before_pixels=True)


def headers_ours(folder: Path) -> None:
    """Read every header and choose the series."""
    (study,) = read_studies(folder / "loose")
    assert study.chosen


def volume_pydicom(folder: Path) -> None:
    """The way of most notebooks: pixel_array, rescale to float, stack."""
    slices = [pydicom.dcmread(path) for path in sorted((folder / "loose").iterdir())]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in slices])


def _series_itk(folder: Path) -> None:
    import SimpleITK

    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(names)
    SimpleITK.GetArrayFromImage(reader.Execute())


def volume_simpleitk(folder: Path) -> None:
    """SimpleITK from loose files."""
    _series_itk(folder / "loose")


def zip_simpleitk(folder: Path) -> None:
    """Unzip to disk, then SimpleITK."""
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        with zipfile.ZipFile(folder / "deflate.zip") as archive:
            archive.extractall(unpacked)
        _series_itk(Path(unpacked) / "CT")


def _volume(source: Path, workers: int = 1) -> None:
    (study,) = read_studies(source)
    stack = study.chosen.stack
    assert stack is not None
    load_stack(stack, workers=workers, progress=None)


def volume_ours(folder: Path) -> None:
    """Loose files to an int16 HU volume."""
    _volume(folder / "loose")


def zip_ours(folder: Path) -> None:
    """A deflated zip to an int16 HU volume."""
    _volume(folder / "deflate.zip")


def stored_ours(folder: Path) -> None:
    """A stored zip to an int16 HU volume."""
    _volume(folder / "stored.zip")


def _compressed(name: str, workers: int) -> Callable[[Path], None]:
    return lambda folder: _volume(folder / name, workers)


#: folders of `tests.bench.work` with compressed slices
COMPRESSED = ("rle", "jpeg2000", "jpeg-lossless")
_MODEL: list[Model] = []


def _verdict(source: Path) -> None:
    (study,) = read_studies(source)
    series = study.chosen
    volume: Volume = series.load(workers=os.cpu_count() or 1)
    analysis = analyse(volume, _MODEL[0], passport=study.passport)
    assert analysis.verdict


def verdict(folder: Path) -> None:
    """From the zip to the verdict, evidence and findings."""
    _verdict(folder / "deflate.zip")


STEPS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        headers_pydicom,
        headers_ours,
        volume_pydicom,
        volume_simpleitk,
        volume_ours,
        zip_simpleitk,
        zip_ours,
        stored_ours,
        verdict,
    )
}
for _name in COMPRESSED:
    for _workers in (1, 2):
        STEPS[f"{_name}_{_workers}"] = _compressed(_name, _workers)
    STEPS[f"{_name}_simpleitk"] = lambda folder, name=_name: _series_itk(folder / name)  # type: ignore[misc]


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Run the step once and print wall and CPU seconds and peak memory in MB."""
    step, folder = STEPS[sys.argv[1]], Path(sys.argv[2])
    if "simpleitk" in sys.argv[1]:
        # only its own steps carry its memory
        importlib.import_module("SimpleITK")
    if step is verdict:
        _MODEL.append(Model.shipped())
    wall, cpu = time.perf_counter(), _cpu()
    step(folder)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    json.dump({"wall": wall, "cpu": cpu, "peak_mb": memory_mb(os.getpid(), "VmHWM")}, sys.stdout)


if __name__ == "__main__":
    main()
