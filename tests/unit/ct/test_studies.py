"""Every published study gets what a careful look at it expects, or the documented better answer."""

from __future__ import annotations

import pytest

from shared.ct.study import read_study
from shared.errors import Refusal
from tests.unit.ct.real_data import studies

pytestmark = pytest.mark.realdata

#: answers that say more than the index asks for, and why
BETTER = {
    "broken/pydicom_truncated_set.zip": ("not_ct", "MR, RTPLAN, RTDOSE and NM are readable as that"),
    "odd/no_file_meta_pydicom_set.zip": ("not_ct", "an RTPLAN without file meta is still an RTPLAN"),
    "odd/cip_ct64_whole_chest_lowres.nrrd": ("unsupported_format", "NRRD is named as such"),
    "odd/cq500_ct310_head_slice_j2k.zip": ("too_few_slices", "one slice, stored twice"),
    "odd/ct_4d_tiny_2x3_timepoints.zip": ("too_few_slices", "four slices at each of 19 times"),
    "odd/enhanced_ct_perfusion_2frames.zip": ("too_few_slices", "two frames"),
    "other/niivue_ct_pitch_head_phantom_uint8.nii.gz": ("not_hounsfield", "grey levels 0 to 247"),
}


@pytest.mark.parametrize(("path", "expected"), studies())
def test_a_published_study_is_read_or_refused_as_expected(path, expected):
    try:
        study = read_study(path)
        volume = study.chosen.load(workers=2)
    except Refusal as refusal:
        name = f"{path.parent.name}/{path.name}"
        better = BETTER.get(name, ("", ""))[0]
        assert expected == f"refuse:{refusal.code}" or refusal.code == better, str(refusal)
        return
    assert expected.startswith("analyse"), "this should have been refused"
    assert study.passport.coverage is not None
    assert study.passport.volume is not None
    assert study.passport.volume.shape == list(volume.shape)
    if expected == "analyse_partial":
        assert any(w.code == "partial_chest_warning" for w in study.passport.warnings)


def test_the_lung_kernel_is_chosen_among_two_reconstructions(real_study):
    passport = real_study("chest/lungdx_a0002_two_kernels_original.zip")
    assert passport.kernel == "B70f"


@pytest.fixture
def real_study():
    from tests.unit.ct.real_data import DATA

    def read(name):
        path = DATA / "studies" / name
        if not path.exists():
            pytest.skip(f"no {name} beside the project")
        return read_study(path).passport

    return read
