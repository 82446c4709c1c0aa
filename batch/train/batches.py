"""Batches: sources balanced against labels, real labels and pairs, one style per pair.

A batch is a pure function of (data, config, step), so a resumed run sees what an unbroken one sees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batch.train.augment import Style, draw_style, move, restyle
from batch.train.config import TrainConfig
from batch.train.dataset import AIR_HU, GRID_MM, STRIDE, Slice
from batch.train.synthetic import draw

Floats = NDArray[np.float32]
#: a cell belongs to a lesion when at least this part of it changed, and is ignored below it and above 0
CELL_PART = 0.15


@dataclass(frozen=True, slots=True)
class Batch:
    """Arrays of one step; n slices, cells of `STRIDE` pixels.

    Attributes
    ----------
    hu : float32, (n, 1, h, w)
    cells : float32, (n, 1, h / 4, w / 4)
        1 where evidence may count.
    target : float32, same shape as cells
        Where truth is known per cell: 1 lesion, 0 none; -1 unknown.
    label, weight : float32, (n,)
        Soft slice label and its weight.
    pairs : int
        The last ``2 * pairs`` slices are (clean, lesion), (clean, lesion), …
    """

    hu: Floats
    cells: Floats
    target: Floats
    label: Floats
    weight: Floats
    pairs: int


def pool(mask: NDArray[np.bool_] | Floats) -> Floats:
    """Mean over STRIDE x STRIDE pixels."""
    h, w = mask.shape
    blocks = np.asarray(mask, np.float32).reshape(h // STRIDE, STRIDE, w // STRIDE, STRIDE)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


class Sampler:
    """Draws the batches of a run."""

    def __init__(self, slices: Sequence[Slice], config: TrainConfig) -> None:
        self.config = config
        self.by_source: dict[int, dict[str, list[Slice]]] = {0: defaultdict(list), 1: defaultdict(list)}
        for item in slices:
            self.by_source[item.row.label][item.row.dataset].append(item)
        #: healthy slices of tiny sets and volumes count less than their number would by equal shares
        self.share = {label: self._shares(sources) for label, sources in self.by_source.items()}

    @staticmethod
    def _shares(sources: dict[str, list[Slice]]) -> tuple[list[str], NDArray[np.float64]]:
        names = sorted(sources)
        weight = np.sqrt([float(len(sources[name])) for name in names])
        return names, weight / weight.sum()

    def _pick(self, label: int, rng: np.random.Generator, source: str | None = None) -> Slice:
        names, shares = self.share[label]
        name = source if source in self.by_source[label] else str(rng.choice(names, p=shares))
        choices = self.by_source[label][name]
        return choices[int(rng.integers(len(choices)))]

    def batch(self, step: int) -> Batch:
        """The batch of ``step``."""
        rng = np.random.default_rng([self.config.seed, step])
        rows: list[tuple[Floats, Floats, Floats, float, float]] = []
        healthy_sources = []
        for _ in range(self.config.healthy):
            item = self._pick(0, rng)
            healthy_sources.append(item.row.dataset)
            rows.append(self._real(item, rng))
        for i in range(self.config.sick):
            # half of the sick slices come from the sources of the healthy ones: the source's look
            # must not tell the label
            source = healthy_sources[i] if i < min(len(healthy_sources), self.config.sick // 2 + 1) else None
            rows.append(self._real(self._pick(1, rng, source), rng))
        pairs = 0
        while pairs < self.config.pairs:
            item = self._pick(0, rng)
            lesion = draw(item.hu, item.lungs, item.mask, GRID_MM, rng)
            if lesion is None:
                continue
            style = draw_style(item.hu.shape, rng)
            mask = np.asarray(lesion.mask, np.float32)
            rows.append(self._styled(item, item.hu, style, np.zeros_like(mask), 0.0))
            rows.append(self._styled(item, lesion.hu, style, mask, 1.0))
            pairs += 1
        hu, cells, target, label, weight = zip(*rows, strict=True)
        return Batch(
            hu=np.stack(hu)[:, None],
            cells=np.stack(cells)[:, None],
            target=np.stack(target)[:, None],
            label=np.array(label, np.float32),
            weight=np.array(weight, np.float32),
            pairs=pairs,
        )

    def _real(self, item: Slice, rng: np.random.Generator) -> tuple[Floats, Floats, Floats, float, float]:
        style = draw_style(item.hu.shape, rng)
        known = None if item.row.label else np.zeros(item.hu.shape, np.float32)
        sure = item.row.confidence
        hu, cells, target, _, _ = self._styled(item, item.hu, style, known, 0.0)
        sure = min(max(sure, 0.5), 1.0 - self.config.smoothing)
        return hu, cells, target, (sure if item.row.label else 1.0 - sure), max(0.25, 2 * sure - 1)

    def _styled(
        self, item: Slice, hu: Floats, style: Style, lesion: Floats | None, label: float
    ) -> tuple[Floats, Floats, Floats, float, float]:
        moved_mask = move(item.mask.astype(np.float32), style, 0.0) > 0.5
        moved = restyle(move(hu, style, AIR_HU), moved_mask, style, GRID_MM)
        cells = np.asarray(pool(moved_mask) > 0.5, np.float32)
        if lesion is None:
            target = np.full(cells.shape, -1.0, np.float32)
        else:
            part = pool(move(lesion, style, 0.0))
            target = np.where(part >= CELL_PART, 1.0, np.where(part > 0.01, -1.0, 0.0)).astype(np.float32)
        smooth = self.config.smoothing
        return moved, cells, target, label * (1 - 2 * smooth) + smooth, 1.0
