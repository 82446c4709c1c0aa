"""Batches: pairs differ by the lesion alone, sources are balanced, and a step can be drawn again."""

import numpy as np
import pytest

from batch.train.augment import draw_style, move, restyle
from batch.train.batches import Sampler
from batch.train.config import TrainConfig
from batch.train.dataset import CANVAS, GRID_MM

from .slices import prepared


@pytest.fixture(scope="module")
def sampler():
    slices = [prepared(i, label=i % 2) for i in range(8)]
    return Sampler(slices, TrainConfig(seed=3, sick=3, healthy=3, pairs=4))


def test_a_step_is_a_function_of_seed_and_number(sampler):
    a, b, c = sampler.batch(5), sampler.batch(5), sampler.batch(6)
    assert np.array_equal(a.hu, b.hu) and np.array_equal(a.target, b.target)
    assert not np.array_equal(a.hu, c.hu)


def test_a_batch_has_its_parts_in_order(sampler):
    batch = sampler.batch(0)
    assert batch.hu.shape == (14, 1, *CANVAS)
    assert batch.cells.shape == batch.target.shape == (14, 1, CANVAS[0] // 4, CANVAS[1] // 4)
    assert (batch.label[:3] < 0.5).all() and (batch.label[3:6] > 0.5).all()
    assert (batch.target[3:6] == -1).all()  # where a real sick slice is ill is not known
    assert (batch.target[:3] == 0).all()


def test_a_pair_differs_only_around_its_lesion_not_in_style(sampler):
    for step in range(3):
        batch = sampler.batch(step)
        for k in range(6, 14, 2):
            clean, ill = batch.hu[k, 0], batch.hu[k + 1, 0]
            assert batch.label[k] < 0.5 < batch.label[k + 1]
            assert (batch.target[k] == 0).all() and (batch.target[k + 1] == 1).any()
            elsewhere = np.repeat(np.repeat(batch.target[k + 1, 0] == 0, 4, 0), 4, 1)
            # JPEG and blur carry a lesion a few pixels over its edge
            same = np.abs(clean - ill)[elsewhere] < 45
            assert same.mean() > 0.9


def test_style_changes_values_but_not_what_is_lung():
    item = prepared(1)
    rng = np.random.default_rng(0)
    for _ in range(12):
        style = draw_style(item.hu.shape, rng)
        mask = move(item.mask.astype(np.float32), style, 0.0) > 0.5
        lungs = move(item.lungs.astype(np.float32), style, 0.0) > 0.5
        out = restyle(move(item.hu, style, -1000.0), mask, style, GRID_MM)
        assert np.isfinite(out).all()
        assert abs(np.median(out[lungs]) - np.median(item.hu[item.lungs])) < 120
        assert np.median(out[lungs]) < -650
