"""Synthetic pathologies: seeded, visible, in the thorax, and the mask is what really changed."""

import numpy as np
import pytest

from batch.train.dataset import GRID_MM
from batch.train.synthetic import CHANGED_HU, RECIPES, draw

from .slices import prepared

DARKER = {"emphysema_centrilobular", "emphysema_panlobular", "emphysema_paraseptal"}


@pytest.fixture(scope="module")
def healthy():
    return prepared(11)


def lesion_on(item, kind, seed=5, size_mm=None):
    rng = np.random.default_rng(seed)
    return draw(item.hu, item.lungs, item.mask, GRID_MM, rng, kind=kind, size_mm=size_mm, tries=8)


@pytest.mark.parametrize("kind", RECIPES)
def test_the_mask_is_exactly_what_changed_and_lies_in_the_thorax(healthy, kind):
    lesion = lesion_on(healthy, kind)
    assert lesion is not None and lesion.kind == kind
    changed = np.abs(lesion.hu - healthy.hu) >= CHANGED_HU
    assert np.array_equal(lesion.mask, changed & healthy.mask)
    assert lesion.mask.any()
    far = ~healthy.mask
    assert np.abs(lesion.hu - np.clip(healthy.hu, -1024, 3000))[far].mean() < 5
    assert np.isfinite(lesion.hu).all() and lesion.hu.min() >= -1024


@pytest.mark.parametrize("kind", RECIPES)
def test_the_same_seed_draws_the_same_lesion_and_another_seed_another(healthy, kind):
    first, again, other = (lesion_on(healthy, kind, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.hu, again.hu)
    assert not np.array_equal(first.hu, other.hu)


@pytest.mark.parametrize("kind", sorted(DARKER))
def test_emphysema_is_darker_than_lung_and_most_else_is_brighter(healthy, kind):
    lesion = lesion_on(healthy, kind)
    assert (lesion.hu - healthy.hu)[lesion.mask].mean() < -20
    solid = lesion_on(healthy, "nodule_solid")
    assert (solid.hu - healthy.hu)[solid.mask].mean() > 200


def test_a_nodule_has_the_size_that_was_asked_for(healthy):
    areas = [lesion_on(healthy, "nodule_calcified", seed, 14.0).mask.sum() * GRID_MM**2 for seed in range(6)]
    across = 2 * np.sqrt(np.median(areas) / np.pi)
    assert 9 < across < 18


def test_a_slice_without_room_is_left_alone(healthy):
    empty = np.zeros_like(healthy.lungs)
    assert draw(healthy.hu, empty, healthy.mask, GRID_MM, np.random.default_rng(0)) is None
