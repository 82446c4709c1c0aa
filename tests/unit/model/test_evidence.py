"""The sum rule: what is shown is exactly what was decided on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.ct.chest import look_at_chest
from shared.model.calibration import logit_of, probability_of
from shared.model.config import Calibration, StudyCalibration
from shared.model.evidence import density_of, score_of, slice_shares
from shared.model.preprocess import make_plan
from tests.phantoms import cached_chest
from tests.unit.model.tiny import tiny_model

STUDY = StudyCalibration(tau=1.0, a=1.3, b=-4.0, s0=3.0)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_evidence_is_never_negative_and_nothing_outside_the_thorax(activation: str) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 4, (5, 6, 7)).astype(np.float32)
    inside = rng.random((5, 6, 7)) > 0.4
    kind = Calibration.model_validate(
        {**STUDY.model_dump(include={"tau", "a", "b", "s0"}), "activation": activation}
    )
    density = density_of(logits, inside, kind)
    assert density.min() >= 0 and not density[~inside].any()
    above = logits.astype(np.float64) - 1.0
    exact = np.maximum(above, 0) if activation == "relu" else np.log1p(np.exp(above))
    assert np.allclose(density, np.where(inside, exact, 0), rtol=1e-5, atol=1e-6)


def test_the_score_is_the_sum_of_the_cells_to_one_in_ten_thousand() -> None:
    density = np.random.default_rng(1).exponential(1, (60, 45, 50)).astype(np.float32)
    exact = math.fsum(float(v) for v in density.ravel()) * 0.32
    assert score_of(density, 0.32) == pytest.approx(exact, rel=1e-9)
    assert logit_of(score_of(density, 0.32), STUDY) == pytest.approx(logit_of(exact, STUDY), rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e5), st.floats(1e-3, 1e5))
def test_more_evidence_never_lowers_the_probability(score: float, more: float) -> None:
    assert probability_of(score + more, STUDY) >= probability_of(score, STUDY)
    assert 0 < probability_of(score, STUDY) < 1


def test_the_shares_of_the_slices_sum_to_one_and_follow_the_cells() -> None:
    volume = cached_chest()
    plan = make_plan(volume, look_at_chest(volume), tiny_model().config)
    density = np.zeros(plan.cells, np.float32)
    density[10, 5, 5], density[20, 9, 9] = 3.0, 1.0
    share = slice_shares(density, plan, volume.shape[0])
    assert share.sum() == pytest.approx(1, abs=1e-12)
    assert share.argmax() == plan.slices[10]
    assert share[plan.slices[10]] == pytest.approx(0.75) and share[plan.slices[20]] == pytest.approx(0.25)


def test_no_evidence_gives_no_shares() -> None:
    volume = cached_chest()
    plan = make_plan(volume, look_at_chest(volume), tiny_model().config)
    assert not slice_shares(np.zeros(plan.cells, np.float32), plan, volume.shape[0]).any()
