"""Findings: density and place in words, and shares that are exact."""

from __future__ import annotations

import numpy as np
import pytest

from shared.ct.chest import look_at_chest
from shared.model.findings import CARRIED, find
from shared.model.preprocess import make_plan
from tests.phantoms import cached_chest
from tests.unit.model.tiny import tiny_model


@pytest.mark.parametrize(
    ("hu", "lps", "expected"),
    [
        (40, (-70, 0, 60), ("solid", "lung", "right", "upper")),
        (400, (-70, 0, 60), ("calcified", "lung", "right", "upper")),
        (-600, (70, 0, 0), ("ground_glass", "lung", "left", "middle")),
        (-980, (70, 0, 0), ("low_attenuation", "lung", "left", "middle")),
        (-860, (70, 0, -90), (None, "lung", "left", "lower")),
        (45, (5, 0, 20), ("solid", "mediastinum", "middle", "middle")),
    ],
    ids=lambda value: str(value),
)
def test_density_and_place_are_put_into_words(
    hu: int, lps: tuple[float, float, float], expected: tuple[str | None, str, str, str]
) -> None:
    volume = cached_chest()
    chest = look_at_chest(volume)
    plan = make_plan(volume, chest, tiny_model().config)
    pixels = np.full((plan.cells[0], plan.cells[1] * 4, plan.cells[2] * 4), hu, np.int16)
    x, y, z = (np.linalg.inv(plan.affine) @ [*lps, 1.0])[:3].round().astype(int)
    density = np.zeros(plan.cells, np.float32)
    density[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 2.0
    (finding,) = find(density, pixels, plan, chest, volume)
    assert (finding.appearance, finding.place, finding.side, finding.third) == expected
    assert finding.share == pytest.approx(1)
    assert finding.volume_ml == pytest.approx(27 * plan.cell_ml, abs=1e-3)


def test_two_places_are_two_findings_largest_first_and_crumbs_are_left_out() -> None:
    volume = cached_chest()
    chest = look_at_chest(volume)
    plan = make_plan(volume, chest, tiny_model().config)
    pixels = np.full((plan.cells[0], plan.cells[1] * 4, plan.cells[2] * 4), 40, np.int16)
    density = np.zeros(plan.cells, np.float32)
    density[10, 8:10, 8:10] = 2.0
    density[30, 12, 12:14] = 2.0
    density[40, 3, 3] = 0.01
    findings = find(density, pixels, plan, chest, volume)
    assert [f.share for f in findings] == [pytest.approx(8 / 12.01), pytest.approx(4 / 12.01)]
    assert findings[0].peak_slice == plan.slices[10]
    assert sum(f.share for f in findings) >= CARRIED


def test_no_heat_no_findings() -> None:
    volume = cached_chest()
    chest = look_at_chest(volume)
    plan = make_plan(volume, chest, tiny_model().config)
    pixels = np.zeros((plan.cells[0], plan.cells[1] * 4, plan.cells[2] * 4), np.int16)
    assert find(np.zeros(plan.cells, np.float32), pixels, plan, chest, volume) == []
