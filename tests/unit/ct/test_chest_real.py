"""Real studies: the chest ones are found with their coverage, the others refused as no chest."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.ct.study import read_study
from shared.errors import Refusal

STUDIES = Path(__file__).parents[4] / "shared" / "data" / "studies"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not STUDIES.is_dir(), reason="the studies beside the project are not here"),
]

#: part of the name → lungs, apices, bases
CHESTS = {
    "acrin_flt": ("both", True, False),
    "cip_ct64": ("both", True, True),
    "covidctmd_P001": ("both", True, True),
    "covidctmd_cap001": ("both", True, True),
    "covidctmd_cap002": ("both", True, True),
    "covidctmd_normal001": ("both", True, True),
    "cptac": ("both", False, True),
    "ibsi_pat1": ("right", False, True),
    "lidc0001": ("both", True, True),
    "lidc0002": ("both", True, True),
    "lungdx_a0001": ("both", True, True),
    "lungdx_a0002": ("both", True, True),
    "lungfcp0001": ("both", True, False),
    "onko_headneck": ("both", True, False),
    "onko_rt_thorax": ("both", True, True),
}
OTHERS = ("ge_head_tilt", "philips_head", "sts008_limb", "totalseg_example")


def path_of(folder: str, part: str) -> Path:
    return next((STUDIES / folder).glob(f"{part}*"))


@pytest.mark.parametrize("part", CHESTS)
def test_lungs_and_coverage_of_a_real_chest(part: str) -> None:
    study = read_study(path_of("chest", part))
    study.chosen.load()
    coverage = study.passport.coverage
    assert coverage is not None
    assert (coverage.lungs_found, coverage.apex_reached, coverage.base_reached) == CHESTS[part]
    assert 700 < coverage.lung_ml < 7000
    assert (coverage.share == 1) == (CHESTS[part] == ("both", True, True))


@pytest.mark.parametrize("part", OTHERS)
def test_heads_limbs_and_abdomens_are_no_chest(part: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_study(path_of("other", part)).chosen.load()
    assert caught.value.code == "not_chest"
