"""Evidence of the cells and its exact sum: every place's share in the decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.model.analysis import Evidence
from shared.model.config import Calibration
from shared.model.preprocess import Plan


def density_of(
    logits: NDArray[np.float32], inside: NDArray[np.bool_], calibration: Calibration
) -> NDArray[np.float32]:
    """Evidence density of each cell: never negative, 0 where ``inside`` is false. Any shape."""
    above = logits - np.float32(calibration.tau)
    if calibration.activation == "softplus":
        density = np.logaddexp(np.float32(0), above)
    else:
        density = np.maximum(above, np.float32(0))
    return np.where(inside, density, np.float32(0)).astype(np.float32)


def score_of(density: NDArray[np.float32], cell: float) -> float:
    """S = Σ e · cell size (ml for a study, cm² for a slice), summed in float64."""
    return float(density.sum(dtype=np.float64)) * cell


def slice_shares(density: NDArray[np.float32], plan: Plan, n_slices: int) -> NDArray[np.float64]:
    """Share of every slice of the volume in the decision, shape (n_slices,); sums to 1 where S > 0.

    A judged slice stands for the slices around it: its share is spread over them by a triangle of
    the width of the step, so that the shares of a thin and a thick volume look alike.
    """
    by_slice = density.sum(axis=(1, 2), dtype=np.float64)
    total = by_slice.sum()
    if total <= 0:
        return np.zeros(n_slices, dtype=np.float64)
    distance = np.abs(np.arange(n_slices)[:, None] - plan.slices[None, :])
    weight = np.maximum(0.0, 1.0 - distance / plan.step)
    weight /= weight.sum(axis=0, keepdims=True)
    share: NDArray[np.float64] = weight @ (by_slice / total)
    share /= share.sum()
    return share


def make_evidence(density: NDArray[np.float32], plan: Plan, n_slices: int) -> Evidence:
    """Density on its grid with the shares of the slices."""
    return Evidence(density=density, affine=plan.affine, slice_share=slice_shares(density, plan, n_slices))
