"""Figures have the values that a pencil gives, and their intervals respect groups."""

import numpy as np
import pytest

from batch.train.metrics import auprc, auroc, brier, ece, figures, interval, sensitivity, specificity

LABEL = np.array([0.0, 0, 1, 1, 1])
SCORE = np.array([0.1, 0.4, 0.35, 0.4, 0.9])


def test_auroc_counts_pairs_and_half_of_the_ties():
    # of 6 pairs: 0.1 loses to all three; 0.4 against 0.35 wins, against 0.4 ties, against 0.9 loses
    assert auroc(LABEL, SCORE) == pytest.approx((3 + 0 + 0.5 + 1) / 6)
    assert np.isnan(auroc(np.ones(3), SCORE[:3]))


def test_average_precision_steps_over_ties_together():
    # 0.9: 1 of 1; the two at 0.4: 2 of 3; 0.35: 3 of 4
    assert auprc(LABEL, SCORE) == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)


def test_sensitivity_and_specificity_take_the_threshold_as_pathology():
    assert sensitivity(LABEL, SCORE, 0.4) == pytest.approx(2 / 3)
    assert specificity(LABEL, SCORE, 0.4) == pytest.approx(1 / 2)


def test_brier_and_calibration_error_are_zero_for_a_perfect_oracle():
    assert brier(LABEL, LABEL) == 0
    assert ece(LABEL, LABEL) == 0
    assert ece(np.zeros(100), np.full(100, 0.3)) == pytest.approx(0.3)


def test_calibration_error_does_not_depend_on_the_order_of_equal_probabilities():
    label = np.r_[np.zeros(50), np.ones(50)]
    assert ece(label, np.full(100, 0.5)) == pytest.approx(0.0)


def test_the_interval_is_wider_where_cases_come_in_groups():
    rng = np.random.default_rng(0)
    label = np.repeat(rng.integers(0, 2, 40), 10).astype(float)
    score = label + np.repeat(rng.normal(0, 1.5, 40), 10)
    alone = interval(auroc, label, score, [str(i) for i in range(400)], draws=200)
    grouped = interval(auroc, label, score, [str(i // 10) for i in range(400)], draws=200)
    assert alone["value"] == grouped["value"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])


def test_figures_of_one_label_only_leave_out_what_is_not_defined():
    out = figures([1, 1, 1, 1], [0.2, 0.6, 0.7, 0.9], list("abcd"), {"half": 0.5}, draws=50)
    assert out["auroc"] == {"value": None, "low": None, "high": None}
    assert out["sensitivity_half"]["value"] == 0.75
    assert (out["n"], out["n_sick"], out["n_groups"]) == (4, 4, 4)
