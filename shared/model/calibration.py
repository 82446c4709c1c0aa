"""From the score to a probability and a verdict: monotone, with thresholds and a grey zone."""

from __future__ import annotations

import math

from shared.model.config import Calibration, ModelConfig


def logit_of(score: float, calibration: Calibration) -> float:
    """``a · log(S + s0) + b``; S is in ml for a study, in cm² for a slice."""
    return calibration.a * math.log(score + calibration.s0) + calibration.b


def probability_of(score: float, calibration: Calibration) -> float:
    """Probability of pathology, rising with the score, always strictly between 0 and 1."""
    logit = max(-30.0, min(30.0, logit_of(score, calibration)))
    return 1.0 / (1.0 + math.exp(-logit))


def is_pathology(probability: float, config: ModelConfig) -> bool:
    """Whether the balanced operating point is reached."""
    return probability >= config.thresholds.balanced


def in_grey_zone(probability: float, config: ModelConfig) -> bool:
    """Whether the probability is too close to the threshold to stand alone."""
    low, high = config.grey_zone
    return low <= probability < high
