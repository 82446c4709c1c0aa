"""From a volume to a verdict: what is said, what is refused, and that it repeats byte for byte."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from batch.phantoms import Lesion
from shared.ct.passport import Coverage, Passport
from shared.ct.volume import Volume
from shared.errors import Notice, Refusal
from shared.model.analysis import Analysis
from shared.model.calibration import probability_of
from shared.model.pipeline import analyse
from tests.phantoms import cached_chest
from tests.unit.model.tiny import tiny_model

HAZE = Lesion("ground_glass", (-70.0, 0.0, 0.0), 30.0)


def cut(volume: Volume, first: int, stop: int) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    return Volume(volume.hu[first:stop], affine)


def codes(analysis: Analysis) -> list[str]:
    return [warning.code for warning in analysis.warnings]


@pytest.fixture(scope="module")
def sick() -> Analysis:
    return analyse(cached_chest(lesions=(HAZE,)), tiny_model())


def test_a_clear_chest_is_normal_without_findings() -> None:
    analysis = analyse(cached_chest(), tiny_model())
    assert analysis.verdict == "normal" and analysis.probability < analysis.threshold
    assert analysis.findings == [] and analysis.refusal is None
    assert codes(analysis) == ["unusual_input"], "its pixels of 4 mm are coarser than anything tried"


def test_a_sick_chest_is_found_at_its_place(sick: Analysis) -> None:
    assert sick.verdict == "pathology" and sick.probability >= sick.threshold
    first = sick.findings[0]
    assert (first.side, first.third, first.appearance, first.place) == (
        "right",
        "middle",
        "ground_glass",
        "lung",
    )
    for axis, centre in enumerate(HAZE.centre_lps):
        low, high = first.box_mm[2 * axis : 2 * axis + 2]
        assert low < centre < high
        assert high - low < 2 * HAZE.radius_mm + 20
    assert sick.decisive is not None
    assert abs(sick.decisive.z_mm - HAZE.centre_lps[2]) < HAZE.radius_mm


def test_the_box_in_voxels_and_in_millimetres_is_the_same_box(sick: Analysis) -> None:
    volume = cached_chest(lesions=(HAZE,))
    x0, x1, y0, y1, z0, z1 = sick.findings[0].box_voxel
    corners = volume.lps_of(np.array([[z0, y0, x0], [z1, y1, x1]], dtype=float))
    assert np.allclose(corners.T.ravel(), sick.findings[0].box_mm, atol=0.01)


def test_score_probability_and_shares_are_one_sum(sick: Analysis) -> None:
    config = tiny_model().config
    cell_ml = abs(np.linalg.det(sick.evidence.affine[:3, :3])) / 1000
    total = sick.evidence.density.astype(np.float64).sum() * cell_ml
    assert sick.score == pytest.approx(total, rel=1e-6)
    assert sick.probability == pytest.approx(probability_of(total, config.study), rel=1e-4)
    assert sick.evidence.slice_share.sum() == pytest.approx(1, abs=1e-6)
    assert sum(finding.share for finding in sick.findings) <= 1 + 1e-9
    decisive = sick.decisive
    assert decisive is not None and decisive.share == sick.evidence.slice_share[decisive.index]


def test_the_same_volume_gives_the_same_bytes(sick: Analysis) -> None:
    again = analyse(cached_chest(lesions=(HAZE,)), tiny_model(2))
    assert again.evidence.density.tobytes() == sick.evidence.density.tobytes()
    assert again.evidence.slice_share.tobytes() == sick.evidence.slice_share.tobytes()
    for name in ("verdict", "probability", "score", "decisive", "findings", "warnings"):
        assert getattr(again, name) == getattr(sick, name)


def test_thin_and_thick_slices_of_one_chest_agree(sick: Analysis) -> None:
    thin = cached_chest(shape=(112, 96, 96), spacing_mm=(2.5, 4.0, 4.0), lesions=(HAZE,))
    assert analyse(thin, tiny_model()).score == pytest.approx(sick.score, rel=0.1)


def test_a_partial_chest_is_never_normal_unless_allowed() -> None:
    lower = cut(cached_chest(), 0, 30)
    analysis = analyse(lower, tiny_model())
    assert analysis.verdict == "no_result"
    assert analysis.refusal is not None and analysis.refusal.code == "partial_chest"
    allowed = analyse(lower, tiny_model(), allow_partial=True)
    assert allowed.verdict == "normal" and "partial_chest_warning" in codes(allowed)


def test_a_partial_chest_that_shows_pathology_says_so_with_a_warning() -> None:
    analysis = analyse(cut(cached_chest(lesions=(HAZE,)), 0, 44), tiny_model())
    assert analysis.verdict == "pathology" and "partial_chest_warning" in codes(analysis)


def test_what_the_reader_saw_missing_counts_too() -> None:
    seen = Coverage(
        lungs_found="both", lung_ml=2000, extent_mm=150, apex_reached=True, base_reached=False, share=0.6
    )
    analysis = analyse(cached_chest(), tiny_model(), passport=Passport(coverage=seen))
    assert analysis.verdict == "no_result"


@pytest.mark.parametrize(
    ("warning", "reason"),
    [
        (Notice(code="slices_missing", params={"what": "20 mm"}), "uneven_slices"),
        (Notice(code="slices_unreadable", params={"n": 3}), "unreadable_pixels"),
    ],
)
def test_slices_that_nobody_saw_are_never_normal(warning: Notice, reason: str) -> None:
    passport = Passport(warnings=[warning])
    clear = analyse(cached_chest(), tiny_model(), passport=passport)
    assert clear.verdict == "no_result"
    assert clear.refusal is not None and clear.refusal.code == reason
    assert analyse(cached_chest(), tiny_model(), passport=passport, allow_partial=True).verdict == "normal"
    assert analyse(cached_chest(lesions=(HAZE,)), tiny_model(), passport=passport).verdict == "pathology"


def test_slices_too_far_apart_are_never_normal() -> None:
    far = cached_chest(shape=(30, 96, 96), spacing_mm=(10.5, 4.0, 4.0))
    analysis = analyse(far, tiny_model())
    assert analysis.verdict == "no_result"
    assert analysis.refusal is not None and analysis.refusal.code == "too_thick_slices"


def test_a_probability_near_the_threshold_carries_a_warning(sick: Analysis) -> None:
    model = tiny_model()
    near = model.config.model_copy(update={"grey_zone": (sick.probability - 0.01, sick.probability + 0.01)})
    other = type(model).__new__(type(model))
    other.__dict__.update(model.__dict__ | {"config": near})
    assert "grey_zone" in codes(analyse(cached_chest(lesions=(HAZE,)), other))
    assert "grey_zone" not in codes(sick)


def test_no_chest_is_a_refusal() -> None:
    with pytest.raises(Refusal) as caught:
        analyse(Volume(np.full((20, 40, 40), 30, np.int16), np.diag([4.0, 4.0, 5.0, 1.0])), tiny_model())
    assert caught.value.code == "not_chest"


def test_progress_goes_through_its_stages_in_order() -> None:
    seen: list[tuple[str, float]] = []
    analyse(cached_chest(), tiny_model(), progress=lambda stage, part: seen.append((stage, part)))
    stages = [stage for stage, _ in seen]
    assert list(dict.fromkeys(stages)) == ["lungs", "model", "findings"]
    assert seen[-1] == ("findings", 1.0)
    assert all(0 <= part <= 1 for _, part in seen)


def test_an_analysis_is_frozen(sick: Analysis) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sick.probability = 0.0  # type: ignore[misc]
