"""From slice scores to slice probabilities: a noise floor from healthy cells, then ``a log(S + s0) + b``.

Fitted on the slices that the network was trained on: good for a rough probability. What the
probability is worth elsewhere, only a source that was left out can say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from batch.train.batches import pool
from batch.train.dataset import GRID_MM, STRIDE, Slice
from shared.model.config import Calibration

#: area of one output cell, cm²
CELL_CM2 = (GRID_MM * STRIDE / 10.0) ** 2
#: share of the thorax cells of healthy slices that stay exactly silent
SILENT = 0.98

Logits = NDArray[np.float32]


def inside(item: Slice) -> NDArray[np.bool_]:
    """Cells of a slice that count."""
    return np.asarray(pool(item.mask) > 0.5)


def scores(logits: Sequence[Logits], slices: Sequence[Slice], tau: float) -> NDArray[np.float64]:
    """S = Σ relu(z - tau) · cell area over the thorax, cm², one per slice."""
    out = [
        np.maximum(z - tau, 0)[inside(item)].sum(dtype=np.float64) * CELL_CM2
        for z, item in zip(logits, slices, strict=True)
    ]
    return np.array(out)


def noise_floor(logits: Sequence[Logits], slices: Sequence[Slice]) -> float:
    """The logit that `SILENT` of the healthy cells stay below."""
    healthy = [z[inside(s)] for z, s in zip(logits, slices, strict=True) if s.row.label == 0]
    return float(np.quantile(np.concatenate(healthy), SILENT))


def fit(logits: Sequence[Logits], slices: Sequence[Slice], *, tau: float | None = None) -> Calibration:
    """Noise floor and a, b, s0 by weighted maximum likelihood, both labels weighing the same."""
    tau = noise_floor(logits, slices) if tau is None else tau
    score = scores(logits, slices, tau)
    label = np.array([item.row.label for item in slices], np.float64)
    sure = np.array([item.row.confidence for item in slices])
    target = np.where(label > 0.5, np.clip(sure, 0.5, 0.97), 1 - np.clip(sure, 0.5, 0.97))
    weight = np.where(label > 0.5, 0.5 / label.mean(), 0.5 / (1 - label.mean()))

    def loss(x: NDArray[np.float64]) -> float:
        logit = np.exp(x[0]) * np.log(score + np.exp(x[2])) + x[1]
        return float(np.mean(weight * (np.logaddexp(0, logit) - target * logit)))

    best = minimize(loss, np.array([0.0, -1.0, 0.0]), method="Nelder-Mead", options={"maxiter": 4000})
    a, b, s0 = float(np.exp(best.x[0])), float(best.x[1]), float(np.exp(best.x[2]))
    return Calibration(tau=round(tau, 4), a=a, b=b, s0=max(s0, 1e-3))


def probabilities(score: NDArray[np.float64], calibration: Calibration) -> NDArray[np.float64]:
    """Probability of each score."""
    logit = calibration.a * np.log(score + calibration.s0) + calibration.b
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
