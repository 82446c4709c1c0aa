"""A seeded part of `tests.fuzz.run_fuzz` over phantoms: no crash, no input that takes for ever."""

from __future__ import annotations

import pytest

from tests.fuzz.run_fuzz import run
from tests.phantoms import write_study


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.nii.gz", "a.nii"])
def test_damaged_studies_end_with_a_volume_or_a_reason(tmp_path, name):
    truth = write_study(tmp_path / name, slices=14, matrix=32, spacing=(5.0, 12.0, 12.0))
    outcomes, faults = run([truth.path], 60, seed=1)
    assert not faults, faults[0]
    assert sum(outcomes.values()) == 60
    assert len(outcomes) > 1
