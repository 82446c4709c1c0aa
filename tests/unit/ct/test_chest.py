"""Chest: lungs by side, coverage, what is refused, and which places evidence may count in."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from batch.phantoms import DOME_Z, Lesion, chest
from shared.ct.chest import Chest, look_at_chest
from shared.ct.volume import Volume
from shared.errors import Refusal
from tests.phantoms import cached_chest

SHAPE, SPACING = (56, 96, 96), (5.0, 4.0, 4.0)


def at(found: Chest, mask: NDArray[np.generic], lps: tuple[float, float, float]) -> int:
    """Value of a mask of the chest at a point in LPS mm."""
    x, y, z = np.linalg.solve(found.affine[:3, :3], np.array(lps) - found.affine[:3, 3]).round().astype(int)
    inside = 0 <= z < mask.shape[0] and 0 <= y < mask.shape[1] and 0 <= x < mask.shape[2]
    return int(mask[z, y, x]) if inside else 0


def with_lesion(*lesions: Lesion) -> Chest:
    return look_at_chest(cached_chest(shape=SHAPE, spacing_mm=SPACING, lesions=lesions))


def cut(volume: Volume, z: slice) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * z.indices(volume.shape[0])[0]
    return Volume(volume.hu[z], affine)


def test_a_whole_chest_is_found_whole_with_its_sides() -> None:
    found = with_lesion()
    assert found.coverage.lungs_found == "both"
    assert found.coverage.apex_reached and found.coverage.base_reached
    assert found.coverage.share == 1.0
    assert found.partial == ""
    assert at(found, found.lungs, (-70, 0, 20)) == 1, "x below 0 is the patient's right"
    assert at(found, found.lungs, (70, 0, 20)) == 2


def test_trachea_table_bowel_gas_and_room_air_are_no_lung() -> None:
    found = with_lesion()
    for lps in ((0, 20, 100), (62, -40, -140), (0, 136, 0), (-150, -100, 0)):
        assert at(found, found.lungs, lps) == 0


ON_THE_DOME = Lesion("consolidation", (-80.0, 10.0, DOME_Z + 5), 22.0)
SEVERAL = (
    Lesion("nodule", (-70.0, 0.0, 60.0), 12.0),
    Lesion("consolidation", (80.0, 50.0, -60.0), 35.0),
    Lesion("consolidation", (-75.0, 70.0, 10.0), 40.0),
    ON_THE_DOME,
)


@pytest.mark.parametrize("lesion", SEVERAL[:3], ids=["nodule", "at the base", "at the back wall"])
def test_a_dense_lesion_stays_inside_the_thorax(lesion: Lesion) -> None:
    found = with_lesion(*SEVERAL)
    assert at(found, found.lungs, lesion.centre_lps) == 0
    assert at(found, found.thorax, lesion.centre_lps) == 1


def test_a_lesion_that_lies_on_the_dome_stays_inside_the_thorax() -> None:
    found = with_lesion(*SEVERAL)
    assert at(found, found.thorax, (-80, 10, DOME_Z + 12)) == 1


def test_an_effusion_behind_the_lung_stays_inside_the_thorax() -> None:
    found = with_lesion(Lesion("effusion", (-70.0, 40.0, -60.0), 60.0))
    assert at(found, found.thorax, (-70, 65, -40)) == 1


@pytest.mark.parametrize("lps", [(-62, 0, DOME_Z - 14), (62, 0, DOME_Z - 26)], ids=["liver", "spleen"])
def test_the_tops_of_the_domes_are_no_place_for_evidence(lps: tuple[float, float, float]) -> None:
    found = with_lesion()
    assert at(found, found.thorax, lps) == 0


def test_an_opaque_lung_has_its_place_in_the_mirror_of_the_other() -> None:
    clear = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    hu = clear.hu.copy()
    right = hu[:, :, :48]
    right[(right < -300) & (np.indices(right.shape)[2] > 8)] = 20
    hu[0] = clear.hu[0]
    # room air to the right of the body stays air
    hu[:, :, :6] = clear.hu[:, :, :6]
    found = look_at_chest(Volume(hu, clear.affine))
    assert found.coverage.lungs_found == "left"
    assert "left" in found.partial
    assert at(found, found.thorax, (-70, 0, 20)) == 1


def test_one_lung_in_a_cropped_picture_is_named_by_the_spine() -> None:
    whole = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    found = look_at_chest(Volume(np.ascontiguousarray(whole.hu[:, :, :52]), whole.affine))
    assert found.coverage.lungs_found == "right"
    assert found.coverage.share <= 0.5
    assert found.partial


def test_lungs_that_the_border_cuts_are_partial() -> None:
    whole = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    found = look_at_chest(Volume(np.ascontiguousarray(whole.hu[:, :, :62]), whole.affine))
    assert found.coverage.lungs_found == "both"
    assert found.cut_at_side and "side" in found.partial and found.coverage.share < 1
    assert not look_at_chest(whole).cut_at_side


def test_air_spaces_of_the_head_are_no_lung() -> None:
    whole = chest(shape=(80, 64, 64), spacing_mm=(6.0, 6.0, 6.0), bottom_z=-140.0, noise_hu=0).volume
    hu = whole.hu.copy()
    hu[70:74, 24:36, 26:38] = -700
    found = look_at_chest(Volume(hu, whole.affine))
    assert found.lungs_mm[1] < 150 and found.coverage.extent_mm < 300


def test_cut_ends_are_reported_as_partial() -> None:
    whole = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    upper = look_at_chest(cut(whole, slice(28, None)))
    assert upper.coverage.apex_reached and not upper.coverage.base_reached
    lower = look_at_chest(cut(whole, slice(0, 22)))
    assert lower.coverage.base_reached and not lower.coverage.apex_reached
    assert max(upper.coverage.share, lower.coverage.share) < 0.8
    assert "bases" in upper.partial and "apices" in lower.partial


def test_the_chest_of_a_long_examination_is_located() -> None:
    long = chest(shape=(120, 64, 64), spacing_mm=(8.0, 6.0, 6.0), bottom_z=-600.0, noise_hu=0).volume
    first, stop = look_at_chest(long).chest_z
    z = long.affine[2, 3] + 8.0 * np.array([first, stop - 1])
    assert -200 < z[0] < -135 and 135 < z[1] < 200


def test_an_abdomen_a_solid_block_and_air_are_no_chest() -> None:
    abdomen = chest(shape=(30, 96, 96), spacing_mm=(5.0, 4.0, 4.0), bottom_z=-330.0).volume
    assert abdomen.affine[2, 3] + 29 * 5 < -135
    block = Volume(np.full((20, 40, 40), 40, np.int16), np.diag([4.0, 4.0, 5.0, 1.0]))
    air = Volume(np.full((20, 40, 40), -1000, np.int16), np.diag([4.0, 4.0, 5.0, 1.0]))
    tiny = Volume(np.zeros((4, 2, 3), np.int16), np.eye(4))
    for volume in (abdomen, block, air, tiny):
        with pytest.raises(Refusal) as caught:
            look_at_chest(volume)
        assert caught.value.code == "not_chest"


def test_the_tips_of_the_lungs_over_an_abdomen_are_no_chest() -> None:
    tips = chest(shape=(40, 96, 96), spacing_mm=(5.0, 4.0, 4.0), bottom_z=-300.0).volume
    assert tips.affine[2, 3] + 39 * 5 == -105
    with pytest.raises(Refusal):
        look_at_chest(tips)


def test_contrast_is_seen_in_the_blood_between_the_lungs() -> None:
    plain = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    assert not look_at_chest(plain).contrast
    hu = plain.hu.copy()
    z, y, x = np.indices(hu.shape)
    lps = plain.lps_of(np.stack([z, y, x], axis=-1).astype(np.float64))
    heart = (((lps - [24, -28, -48]) / [50, 40, 50]) ** 2).sum(axis=-1) < 1
    hu[heart] += 180
    assert look_at_chest(Volume(hu, plain.affine)).contrast


def test_the_same_volume_gives_the_same_masks() -> None:
    volume = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    first, second = look_at_chest(volume), look_at_chest(volume)
    assert np.array_equal(first.lungs, second.lungs) and np.array_equal(first.thorax, second.thorax)
    assert first.coverage == second.coverage


def test_thin_slices_cost_about_a_second_of_cpu() -> None:
    coarse = cached_chest(shape=SHAPE, spacing_mm=SPACING)
    hu = coarse.hu.repeat(5, axis=0).repeat(5, axis=1).repeat(5, axis=2)
    thin = Volume(hu, coarse.affine @ np.diag([0.2, 0.2, 0.2, 1.0]))
    assert thin.shape == (280, 480, 480)
    start = time.process_time()
    look_at_chest(thin)
    # one second on a quiet core; twice that leaves room for a loaded machine
    assert time.process_time() - start < 2.0
