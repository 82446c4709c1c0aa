"""Figures with intervals: AUROC, AUPRC, sensitivity and specificity, ECE, Brier; bootstrap by group.

Groups (patients, near-duplicate clusters) are drawn whole, so that slices of one patient do not pass
for independent ones. NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Numbers = NDArray[np.float64]
Figure = dict[str, float | None]


def auroc(label: Numbers, score: Numbers) -> float:
    """Probability that a sick case scores above a healthy one, ties counted half; nan without both."""
    sick = label > 0.5
    n_sick, n_healthy = int(sick.sum()), int((~sick).sum())
    if not n_sick or not n_healthy:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[sick].sum() - n_sick * (n_sick + 1) / 2) / (n_sick * n_healthy))


def auprc(label: Numbers, score: Numbers) -> float:
    """Average precision: mean over the sick of the precision at their score; nan without sick."""
    order = np.argsort(-score, kind="stable")
    hit, sorted_score = label[order] > 0.5, score[order]
    if not hit.any():
        return float("nan")
    # equal scores form one step: precision is taken at its end
    last = np.r_[np.flatnonzero(np.diff(sorted_score)), len(hit) - 1]
    hits = np.cumsum(hit)[last]
    precision = hits / (last + 1)
    return float(np.sum(np.diff(np.r_[0, hits]) * precision) / hit.sum())


def sensitivity(label: Numbers, score: Numbers, threshold: float) -> float:
    """Share of the sick at or above ``threshold``; nan without sick."""
    sick = label > 0.5
    return float((score[sick] >= threshold).mean()) if sick.any() else float("nan")


def specificity(label: Numbers, score: Numbers, threshold: float) -> float:
    """Share of the healthy below ``threshold``; nan without healthy."""
    healthy = label <= 0.5
    return float((score[healthy] < threshold).mean()) if healthy.any() else float("nan")


def brier(label: Numbers, probability: Numbers) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((probability - label) ** 2))


def ece(label: Numbers, probability: Numbers, bins: int = 10) -> float:
    """Expected calibration error over ``bins`` bins of about equal count; equal values share a bin."""
    inner = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    index = np.searchsorted(inner, probability, side="right")
    count = np.bincount(index)
    gap = np.bincount(index, label) - np.bincount(index, probability)
    return float(np.abs(gap[count > 0]).sum() / len(label))


def interval(
    measure: Callable[[Numbers, Numbers], float],
    label: Numbers,
    score: Numbers,
    groups: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Figure:
    """A figure with its 95 % bootstrap interval; None where it is not defined."""
    value = measure(label, score)
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        drawn.append(measure(label[chosen], score[chosen]))
    usable = np.array([x for x in drawn if not np.isnan(x)])
    if np.isnan(value) or len(usable) < draws / 2:
        return {"value": None if np.isnan(value) else round(value, 4), "low": None, "high": None}
    low, high = np.percentile(usable, [2.5, 97.5])
    return {"value": round(value, 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def figures(
    label: Sequence[int],
    probability: Sequence[float],
    groups: Sequence[str],
    thresholds: Mapping[str, float],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, object]:
    """All figures of one set of cases: ``{"n", "n_sick", "n_groups", "auroc": {...}, ...}``."""
    y, p = np.asarray(label, np.float64), np.asarray(probability, np.float64)

    def at(measure: Callable[[Numbers, Numbers], float]) -> Figure:
        return interval(measure, y, p, groups, draws=draws, seed=seed)

    out: dict[str, object] = {
        "n": len(y),
        "n_sick": int(y.sum()),
        "n_groups": len(set(groups)),
        "auroc": at(auroc),
        "auprc": at(auprc),
        "ece": at(ece),
        "brier": at(brier),
    }
    for name, threshold in thresholds.items():
        out[f"sensitivity_{name}"] = at(lambda a, b, t=threshold: sensitivity(a, b, t))  # type: ignore[misc]
        out[f"specificity_{name}"] = at(lambda a, b, t=threshold: specificity(a, b, t))  # type: ignore[misc]
    return out
