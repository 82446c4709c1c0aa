"""Whatever happens to the order, the names and the packing of the files, the volume stays the truth;
and two independent readers see the same volume.
"""

from __future__ import annotations

import random
from functools import lru_cache

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.ct.pixels import load_stack
from shared.ct.study import Study, read_study
from shared.ct.volume import Volume
from shared.errors import Refusal
from tests.phantoms import (
    POSITIONS,
    cached_chest,
    datasets,
    to_bytes,
    turned,
    write_files,
    write_study,
)

GRID = ((20, 40, 40), (6.0, 9.0, 9.0))
MANY = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@lru_cache(maxsize=8)
def files_of(position: str, intercepts: bool = False) -> tuple[bytes, ...]:
    """The phantom's files, bottom first; with an intercept of its own in each where asked for."""
    out = []
    for k, ds in enumerate(datasets(turned(cached_chest(*GRID), position))):
        ds.ImageOrientationPatient = list(POSITIONS[position])
        if intercepts:
            values = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) + 13 * (k % 4)
            ds.PixelData = values.astype("<u2").tobytes()
            ds.BitsStored, ds.HighBit = 16, 15
            ds.RescaleIntercept = -1024 - 13 * (k % 4)
        out.append(to_bytes(ds))
    return tuple(out)


def decoded(study: Study) -> Volume:
    stack = study.chosen.stack
    assert stack is not None
    return load_stack(stack).volume


@MANY
@given(
    position=st.sampled_from(sorted(POSITIONS)),
    intercepts=st.booleans(),
    seed=st.integers(0, 10**6),
    doubles=st.sets(st.integers(0, GRID[0][0] - 1), max_size=6),
    suffix=st.sampled_from([".zip", ".tar.gz", ""]),
)
def test_order_copies_position_and_packing_do_not_change_the_volume(
    tmp_path_factory, position, intercepts, seed, doubles, suffix
):
    files = list(files_of(position, intercepts))
    files += [files[k] for k in sorted(doubles)]
    random.Random(seed).shuffle(files)
    path = write_files(tmp_path_factory.mktemp("p") / f"study{suffix}", files)
    volume = decoded(read_study(path))
    truth = cached_chest(*GRID)
    np.testing.assert_array_equal(volume.hu, truth.hu)
    np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-3)


@MANY
@given(missing=st.sets(st.integers(1, GRID[0][0] - 2), max_size=5), seed=st.integers(0, 10**6))
def test_missing_slices_move_no_other_or_the_study_is_refused(tmp_path_factory, missing, seed):
    files = [data for k, data in enumerate(files_of("HFS")) if k not in missing]
    random.Random(seed).shuffle(files)
    path = write_files(tmp_path_factory.mktemp("p") / "study", files)
    truth = cached_chest(*GRID)
    study = read_study(path)
    try:
        volume = decoded(study)
    except Refusal as refusal:
        assert refusal.code == "uneven_slices"
        return
    assert bool(missing) == any(
        w.code in ("slices_missing", "uneven_spacing") for w in study.passport.warnings
    )
    for k in set(range(GRID[0][0])) - missing:
        place = truth.lps_of(np.array([float(k), 0.0, 0.0]))
        z = round(float(volume.index_of(place)[0]))
        np.testing.assert_array_equal(volume.hu[z], truth.hu[k])


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP"])
def test_simpleitk_sees_the_same_volume_in_the_same_place(tmp_path, position):
    truth = write_study(tmp_path / "a", slices=20, matrix=40, spacing=(6.0, 9.0, 9.0), position=position)
    volume = decoded(read_study(truth.path))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(truth.path)))
    image = SimpleITK.DICOMOrient(reader.Execute(), "LPS")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.hu)
    np.testing.assert_allclose(image.GetSpacing()[::-1], volume.spacing_mm, atol=1e-4)
    np.testing.assert_allclose(image.GetOrigin(), volume.affine[:3, 3], atol=1e-3)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SRA"])
def test_nifti_in_any_axes_is_the_same_volume(tmp_path, axes):
    truth = cached_chest(*GRID)
    affine = np.diag([-1.0, -1, 1, 1]) @ truth.affine
    image = nibabel.Nifti1Image(truth.hu.transpose(2, 1, 0), affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(axes)
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "a.nii.gz")
    study = read_study(tmp_path / "a.nii.gz")
    from shared.ct.nifti import load_nifti

    nifti = study.chosen.nifti
    assert nifti is not None
    volume = load_nifti(nifti).volume
    np.testing.assert_array_equal(volume.hu, truth.hu)
    np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-3)
