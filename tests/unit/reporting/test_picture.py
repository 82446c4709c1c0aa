"""The key picture: sides, registration, fixed scale, silence about failures."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops

from shared.ct.volume import Volume
from shared.errors import Notice
from shared.model.analysis import Evidence
from shared.model.pipeline import analyse
from shared.reporting import key_picture, picture_from_blocks, png_bytes
from shared.reporting.heat import FULL_SCALE_PER_ML, colours, density_on_slice
from shared.reporting.picture import _MARGIN, _TOP, _VIEW
from tests.phantoms import Lesion, cached_chest
from tests.unit.model.tiny import tiny_model
from tests.unit.reporting import made

VOLUME = made.volume()
SILENT = replace(
    made.evidence(VOLUME), density=np.zeros_like(made.evidence(VOLUME).density), slice_share=np.zeros(made.NZ)
)


def view(image: Image.Image) -> NDArray[np.int16]:
    """The part of the picture that shows the slice."""
    return np.asarray(image.crop((_MARGIN, _TOP, _MARGIN + _VIEW, _TOP + _VIEW)), dtype=np.int16)


def colourfulness(image: Image.Image) -> NDArray[np.int16]:
    """How far each pixel of the slice is from grey."""
    pixels = view(image)
    return np.asarray(pixels.max(axis=2) - pixels.min(axis=2), dtype=np.int16)


def test_lesion_of_the_patients_left_is_drawn_on_the_right_side() -> None:
    picture = key_picture(VOLUME, made.analysis(VOLUME, findings=[]), lang="en")
    rows, columns = np.nonzero(colourfulness(picture) > 30)
    assert columns.min() > _VIEW / 2
    # y grows toward the back, the lesion lies behind the middle: lower half of the picture
    assert rows.mean() > _VIEW / 2


def test_heat_lies_on_the_lesion_to_less_than_a_voxel() -> None:
    shown = colourfulness(key_picture(VOLUME, made.analysis(VOLUME, findings=[]), lang="en")).astype(float)
    shown[shown < 30] = 0
    rows, columns = np.indices(shown.shape)
    middle = np.array([(rows * shown).sum(), (columns * shown).sum()]) / shown.sum()
    x, y, _ = made.lesion_voxel()
    per_mm = _VIEW / 160.0
    expected = np.array(
        [(_VIEW - 150 * per_mm) / 2 + (y + 0.5) * 1.25 * per_mm - 0.5, (x + 0.5) * 1.0 * per_mm - 0.5]
    )
    assert np.abs(middle - expected).max() < per_mm  # one millimetre is one voxel along x


@pytest.mark.parametrize("slice_mm", [1.0, 2.5, 5.0, 10.0])
def test_density_peaks_at_the_cells_voxel_whatever_the_slice_thickness(slice_mm: float) -> None:
    evidence = made.evidence(VOLUME)
    slices = round(100 / slice_mm)
    affine = VOLUME.affine.copy()
    affine[2, 2] = slice_mm
    affine[2, 3] = -300 - 2.5 / 2 + slice_mm / 2
    shape = (slices, made.NY, made.NX)
    stack = np.stack([density_on_slice(evidence, affine, shape, k) for k in range(slices)])
    z, y, x = np.unravel_index(int(stack.argmax()), stack.shape)
    px, py, _ = made.lesion_voxel()
    assert abs(int(x) - px) <= 1
    assert abs(int(y) - py) <= 1
    assert abs(affine[2, 3] + z * slice_mm - (-240.0)) <= max(slice_mm, 5.0) / 2
    # what is drawn adds up to the evidence itself, in units
    voxel_ml = 1.0 * 1.25 * slice_mm / 1000
    assert stack.sum() * voxel_ml == pytest.approx(3.5 * 5 * 8 * 8 / 1000, rel=1e-2)


def test_thick_slice_shows_the_mean_of_the_thin_cells_it_holds() -> None:
    density = np.zeros((10, 4, 4), dtype=np.float32)
    density[3] = 1.0
    evidence = Evidence(density, np.diag([8.0, 8.0, 2.0, 1.0]), np.zeros(2))
    affine = np.diag([8.0, 8.0, 10.0, 1.0])
    affine[2, 3] = 4.0  # the first slice holds cells 0..4
    assert density_on_slice(evidence, affine, (2, 4, 4), 0) == pytest.approx(np.full((4, 4), 0.16))
    assert density_on_slice(evidence, affine, (2, 4, 4), 1) == pytest.approx(np.full((4, 4), 0.04))


def test_heat_of_every_slice_adds_up_to_the_share_that_is_written_beside_it() -> None:
    lesion = Lesion("ground_glass", (75.0, 20.0, 30.0), 28.0)
    volume = cached_chest((60, 96, 96), (2.5, 4.0, 4.0), (lesion,), 15.0, 1)
    evidence = analyse(volume, tiny_model()).evidence
    heat = [density_on_slice(evidence, volume.affine, volume.shape, k).sum() for k in range(volume.shape[0])]
    assert np.array(heat) / sum(heat) == pytest.approx(evidence.slice_share, abs=2e-3)
    assert evidence.slice_share.sum() == pytest.approx(1.0)


def test_grids_that_are_not_parallel_are_not_drawn() -> None:
    turned = VOLUME.affine.copy()
    turned[:3, :2] = turned[:3, 1::-1]
    with pytest.raises(ValueError, match="parallel"):
        density_on_slice(made.evidence(VOLUME), turned, VOLUME.shape, 0)


def test_same_density_has_the_same_colour_in_every_picture() -> None:
    evidence = made.evidence(VOLUME)
    hotter = evidence.density.copy()
    hotter[8, 3, 3] = 400.0  # far from the lesion: a rescaled map would now show the lesion cold
    lesion = np.s_[400:500, 540:620]
    one = view(key_picture(VOLUME, made.analysis(VOLUME), lang="en"))[lesion]
    two = view(
        key_picture(VOLUME, made.analysis(VOLUME, evidence=replace(evidence, density=hotter)), lang="en")
    )[lesion]
    assert (one == two).all()


def test_no_evidence_gives_no_colour_at_all() -> None:
    quiet = made.analysis(VOLUME, evidence=SILENT, findings=[], decisive=None, verdict="normal", score=0.0)
    assert colourfulness(key_picture(VOLUME, quiet)).max() < 10  # the letters


def test_colour_gets_lighter_with_evidence_and_stops_at_the_end_of_the_scale() -> None:
    rgb, opacity = colours(np.linspace(0, FULL_SCALE_PER_ML, 50, dtype=np.float32))
    lightness = rgb @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    assert (np.diff(opacity) >= 0).all()
    assert opacity[0] == 0
    beyond, _ = colours(np.array([FULL_SCALE_PER_ML, 1e6], dtype=np.float32))
    assert (beyond[0] == beyond[1]).all()


def test_true_aspect_a_square_in_mm_is_a_square_on_the_picture() -> None:
    hu = np.full((5, 100, 200), -1000, dtype=np.int16)
    hu[:, 40:60, 80:120] = 200  # 40 mm x 40 mm
    volume = Volume(hu, np.diag([1.0, 2.0, 3.0, 1.0]))
    quiet = made.analysis(
        volume, evidence=replace(SILENT, slice_share=np.zeros(5)), findings=[], decisive=None
    )
    grey = view(key_picture(volume, quiet))[:, :, 0]
    middle = grey[200:-200, 200:-200] > 200
    rows, columns = np.nonzero(middle)
    assert abs(int(np.ptp(rows)) - int(np.ptp(columns))) <= 2


def test_stored_blocks_and_the_fresh_volume_give_the_same_picture() -> None:
    geometry, read = made.blocks(VOLUME)
    for index in (None, 0, 17, made.NZ - 1):
        fresh = key_picture(VOLUME, made.analysis(VOLUME), lang="ru", index=index, passport=made.passport())
        stored = picture_from_blocks(
            geometry, read, made.evidence(VOLUME), made.document(), lang="ru", index=index
        )
        assert ImageChops.difference(fresh, stored).getbbox() is None


def test_picture_is_the_same_bytes_every_time_and_differs_by_language() -> None:
    first = png_bytes(key_picture(VOLUME, made.analysis(VOLUME), lang="ru"))
    assert first == png_bytes(key_picture(VOLUME, made.analysis(VOLUME), lang="ru"))
    assert first != png_bytes(key_picture(VOLUME, made.analysis(VOLUME), lang="en"))
    assert Image.open(io.BytesIO(first)).format == "PNG"


def test_study_without_a_verdict_has_no_picture() -> None:
    refused = made.analysis(VOLUME, verdict="no_result", refusal=Notice(code="out_of_distribution"))
    with pytest.raises(ValueError, match="no key picture"):
        key_picture(VOLUME, refused)
    geometry, read = made.blocks(VOLUME)
    for document in (made.refused(), made.refused(probability=None, threshold=None)):
        with pytest.raises(ValueError, match="no key picture"):
            picture_from_blocks(geometry, read, made.evidence(VOLUME), document)


@pytest.mark.parametrize("index", [-1, made.NZ])
def test_slice_that_does_not_exist_is_an_index_error(index: int) -> None:
    with pytest.raises(IndexError):
        key_picture(VOLUME, made.analysis(VOLUME), index=index)


def test_assumed_sides_are_marked_as_unsure() -> None:
    sure = key_picture(VOLUME, made.analysis(VOLUME, warnings=[]))
    unsure = made.analysis(VOLUME, warnings=[Notice(code="geometry_assumed", params={"what": "nifti"})])
    assert ImageChops.difference(
        sure.crop((0, _TOP, _MARGIN + _VIEW, _TOP + _VIEW)),
        key_picture(VOLUME, unsure).crop((0, _TOP, _MARGIN + _VIEW, _TOP + _VIEW)),
    ).getbbox()


def test_many_findings_and_warnings_stay_inside_the_picture() -> None:
    crowd = made.analysis(
        VOLUME,
        findings=[made.finding()] * 40,
        warnings=[Notice(code="slices_missing", params={"what": f"{n} " * 12}) for n in range(30)],
    )
    picture = np.asarray(key_picture(VOLUME, crowd, lang="ru"))
    assert (picture[:, -8:] == picture[0, 0]).all()
    assert (picture[-8:] == picture[0, 0]).all()
