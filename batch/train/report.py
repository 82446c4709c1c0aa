"""What a run is worth: figures on the sources that it never saw, and on synthetic lesions there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from batch.train.batches import pool
from batch.train.calibrate_slice import inside, probabilities, scores
from batch.train.dataset import GRID_MM, Slice
from batch.train.metrics import auroc, figures, interval
from batch.train.synthetic import RECIPES, draw
from shared.model.config import Calibration

#: cell logits of slices, in their order
Logits = Callable[[Sequence[Slice]], list[NDArray[np.float32]]]
#: main lengths, mm, of the nodules that are reported apart
SMALL_NODULE_MM = (6.0, 10.0)


def on_real(
    logits: Logits, slices: Sequence[Slice], calibration: Calibration, *, draws: int = 1000
) -> dict[str, Any]:
    """Figures per source that has both labels, and the rate of calls on the others."""
    score = scores(logits(slices), slices, calibration.tau)
    probability = probabilities(score, calibration)
    by_source: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(slices):
        by_source[item.row.dataset].append(i)
    out: dict[str, Any] = {}
    for name, index in sorted(by_source.items()):
        labels = [slices[i].row.label for i in index]
        groups = [slices[i].row.group for i in index]
        out[name] = figures(labels, [probability[i] for i in index], groups, {"half": 0.5}, draws=draws)
    return out


def on_synthetic(
    logits: Logits,
    slices: Sequence[Slice],
    calibration: Calibration,
    *,
    seed: int = 1,
    per_kind: int = 40,
    draws: int = 300,
) -> dict[str, Any]:
    """Healthy slices against the same slices with a lesion, by kind; and how much heat lies on it.

    ``on_lesion`` is the mean share of a slice's evidence that lies on the lesion's cells, one cell
    around it included.
    """
    healthy = [item for item in slices if item.row.label == 0]
    if not healthy:
        return {}
    rng = np.random.default_rng(seed)
    clean = scores(logits(healthy), healthy, calibration.tau)
    kinds: list[tuple[str, str, tuple[float, float] | None]] = [(kind, kind, None) for kind in RECIPES]
    kinds.append(("nodule_solid_6_to_10_mm", "nodule_solid", SMALL_NODULE_MM))
    out: dict[str, Any] = {}
    pooled_score, pooled_group = [clean], [[item.row.group for item in healthy]]
    for name, kind, size in kinds:
        drawn, masks, groups = [], [], []
        for i in rng.permutation(len(healthy))[:per_kind]:
            item = healthy[i]
            length = float(rng.uniform(*size)) if size else None
            lesion = draw(item.hu, item.lungs, item.mask, GRID_MM, rng, kind=kind, size_mm=length)
            if lesion is not None:
                drawn.append(Slice(item.row, lesion.hu, item.mask, item.lungs, item.mm))
                masks.append(lesion.mask)
                groups.append(item.row.group)
        if not drawn:
            continue
        z = logits(drawn)
        sick = scores(z, drawn, calibration.tau)
        label = np.r_[np.zeros(len(clean)), np.ones(len(sick))]
        figure = interval(auroc, label, np.r_[clean, sick], [*pooled_group[0], *groups], draws=draws)
        on = [_share_on(a, s, m, calibration.tau) for a, s, m in zip(z, drawn, masks, strict=True)]
        seen = [x for x in on if x is not None]
        out[name] = {
            "n": len(sick),
            "auroc": figure,
            "on_lesion": round(float(np.mean(seen)), 3) if seen else None,
            "silent": len(on) - len(seen),
        }
        if size is None:
            pooled_score.append(sick)
            pooled_group.append(groups)
    total = np.concatenate(pooled_score)
    label = np.r_[np.zeros(len(clean)), np.ones(len(total) - len(clean))]
    names = [group for part in pooled_group for group in part]
    out["all"] = {"n": int(label.sum()), "auroc": interval(auroc, label, total, names, draws=draws)}
    return out


def _share_on(z: NDArray[np.float32], item: Slice, mask: NDArray[np.bool_], tau: float) -> float | None:
    evidence = np.maximum(z - tau, 0) * inside(item)
    near = ndimage.binary_dilation(pool(mask) > 0.01)
    total = float(evidence.sum())
    return float(evidence[near].sum()) / total if total > 0 else None
