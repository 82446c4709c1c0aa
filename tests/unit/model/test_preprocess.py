"""The model's view of a volume: right place, right density, whatever the volume's grid."""

from __future__ import annotations

import numpy as np
import pytest

from batch.phantoms import Lesion
from shared.ct.chest import look_at_chest
from shared.ct.volume import Volume
from shared.model.preprocess import AIR_HU, batches, make_plan, thorax_on_cells
from tests.phantoms import cached_chest
from tests.unit.model.tiny import tiny_model

NODULE = Lesion("consolidation", (-70.0, 10.0, 75.0), 24.0)


def resampled(volume: Volume, *, fine: int) -> Volume:
    """The same body on voxels that are ``fine`` times smaller along every axis."""
    hu = volume.hu.repeat(fine, axis=0).repeat(fine, axis=1).repeat(fine, axis=2)
    shift = np.eye(4)
    shift[:3, :3] /= fine
    shift[:3, 3] = -(fine - 1) / (2 * fine)
    return Volume(hu, volume.affine @ shift)


@pytest.mark.parametrize("fine", [1, 2], ids=["coarse", "fine"])
def test_a_lesion_is_seen_in_the_cell_at_its_place(fine: int) -> None:
    volume = resampled(cached_chest(lesions=(NODULE,)), fine=fine)
    config = tiny_model().config
    plan = make_plan(volume, look_at_chest(volume), config)
    pixels = np.concatenate([hu[:, 0] for _, hu in batches(volume, plan, config)])
    means = pixels.reshape(*plan.cells[:2], 4, plan.cells[2], 4).mean(axis=(2, 4))
    x, y, z = (np.linalg.inv(plan.affine) @ [*NODULE.centre_lps, 1.0])[:3].round().astype(int)
    assert means[z, y, x] == pytest.approx(30, abs=25)
    mirrored = (np.linalg.inv(plan.affine) @ [70.0, 10.0, 75.0, 1.0])[0].round().astype(int)
    assert means[z, y, mirrored] < -700


def test_density_does_not_depend_on_the_grid_of_the_volume() -> None:
    coarse = cached_chest()
    config = tiny_model().config
    found = []
    for volume in (coarse, resampled(coarse, fine=2)):
        plan = make_plan(volume, look_at_chest(volume), config)
        hu = np.concatenate([hu[:, 0] for _, hu in batches(volume, plan, config)])
        found.append((float(hu.mean()), len(plan.slices) * plan.cell_ml))
    assert found[0][0] == pytest.approx(found[1][0], abs=12)
    assert found[0][1] == pytest.approx(found[1][1], rel=0.05)


def test_the_judged_slices_are_even_and_cover_the_thorax() -> None:
    volume = resampled(cached_chest(), fine=2)
    chest = look_at_chest(volume)
    plan = make_plan(volume, chest, tiny_model().config)
    assert set(np.diff(plan.slices)) == {plan.step} and plan.step == 2
    z = volume.affine[2, 3] + plan.slices * volume.spacing_mm[0]
    assert z[0] - chest.lungs_mm[0] < 10 and chest.lungs_mm[1] - z[-1] < 10
    inside = thorax_on_cells(chest, plan)
    assert inside.sum() * plan.cell_ml == pytest.approx(
        chest.thorax.sum() * abs(np.linalg.det(chest.affine[:3, :3])) / 1000, rel=0.05
    )


def test_outside_the_picture_there_is_air() -> None:
    whole = cached_chest()
    narrow = Volume(np.ascontiguousarray(whole.hu[:, 20:76, 14:82]), whole.affine)
    config = tiny_model().config
    plan = make_plan(narrow, look_at_chest(narrow), config)
    _, hu = next(batches(narrow, plan, config))
    corner = hu[0, 0, 0, 0]
    assert corner == pytest.approx(AIR_HU, abs=80) or (plan.rows.sum(axis=1) > 0.99).all()
    assert hu.min() >= -1101


def test_neighbouring_slices_are_context_millimetres_apart() -> None:
    volume = resampled(cached_chest(), fine=2)
    config = tiny_model(neighbours=3).config
    plan = make_plan(volume, look_at_chest(volume), config)
    _, hu = next(batches(volume, plan, config))
    # 5 mm are two slices here, as far as the next judged slice
    assert np.array_equal(hu[1, 0], hu[0, 1]) and np.array_equal(hu[1, 2], hu[2, 1])
