"""Every case made from a public bug report is read right, or refused with the right code.

A probe is a point in world LPS mm whose HU is known: it is right only when order, spacing, sides,
orientation and scale all are.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.ct.study import read_study
from shared.ct.volume import Volume
from shared.errors import Refusal
from tests.unit.ct.real_data import cases, read_case

pytestmark = pytest.mark.realdata


def hu_at(volume: Volume, lps: list[float]) -> float:
    """Median of the 3 x 3 voxels around a world position, in its slice."""
    index = np.rint(volume.index_of(np.array(lps))).astype(int)
    assert (index >= 0).all() and (index < volume.shape).all(), f"{lps} lies outside the volume"
    z, y, x = index
    return float(np.median(volume.hu[z, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]))


def misses(volume: Volume, probes: list[dict[str, Any]]) -> list[str]:
    """Probes whose HU is wrong."""
    out = []
    for probe in probes:
        seen = hu_at(volume, probe["lps_mm"])
        if abs(seen - probe["hu"]) > probe["tol"]:
            out.append(f"{probe['what']}: {seen:.0f} instead of {probe['hu']}")
    return out


def source_of(path: Path, case: dict[str, Any], tmp_path: Path) -> Path:
    source = path.parent / case["input"]
    if case.get("unpack_first"):
        with tarfile.open(source) as archive:
            archive.extractall(tmp_path, filter="data")
        return tmp_path / "input"
    return source


@pytest.mark.parametrize("path", cases())
def test_a_case_from_a_bug_report_is_read_right(path, tmp_path):
    case = read_case(path)
    refusal_is_right = case["expect"] == "refuse" or case.get("refuse_also_ok")
    volume_is_right = case["expect"] != "refuse" or case.get("warn_also_ok") or case.get("volume_also_ok")
    try:
        study = read_study(source_of(path, case, tmp_path))
        volume = study.chosen.load()
    except Refusal as refusal:
        assert refusal_is_right, str(refusal)
        assert refusal.code in case["reason_codes_allowed"], str(refusal)
        return
    assert volume_is_right, "this should have been refused"
    passport = study.passport
    if case["expect"] == "warn" or case.get("warn_also_ok"):
        assert passport.warnings, "a volume without a warning is wrong here"
    probes = [misses(volume, case[key]) for key in ("probes", "probes_alt") if case.get(key)]
    assert not probes or [] in probes, probes
    if case["n_slices"]:
        assert passport.n_slices == case["n_slices"]
    if case["spacing_z"]:
        tolerance = case.get("spacing_tol", 0.01)
        assert volume.spacing_mm[0] == pytest.approx(case["spacing_z"], abs=tolerance)
    if case.get("series_uid"):
        assert passport.series_uid == case["series_uid"]
    if "padding_probe" in case:
        low, high = case["padding_probe"]["hu_range"]
        assert low <= hu_at(volume, case["padding_probe"]["lps_mm"]) <= high
    for name in case.get("must_not_exist", []):
        assert not Path(name).exists()
