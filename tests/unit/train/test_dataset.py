"""Pictures become HU on the model's grid, with the lungs and nothing else in the mask."""

import numpy as np
import pytest

from batch.train.cache import prepared as cached
from batch.train.dataset import (
    CANVAS,
    GRID_MM,
    NoLungsError,
    hull,
    lungs_and_body,
    pixel_size,
    prepare,
    read_hu,
    read_index,
)

from .slices import MM, row, slice_hu, write_index


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_a_picture_becomes_hu_by_the_slope_and_intercept_of_its_row(tmp_path):
    hu, _ = slice_hu(0)
    index = write_index(tmp_path, [("a", hu, 0, True)])
    (only,) = read_index(index)
    back = read_hu(only, tmp_path)
    inside = (hu > -1090) & (hu < 930)
    assert np.abs(back - hu)[inside].max() <= 4.01  # half a grey level of 8 HU


@pytest.mark.parametrize("seed", range(3))
def test_lungs_are_found_and_the_outside_is_not_lung(seed):
    hu, lungs = slice_hu(seed)
    found, body = lungs_and_body(hu)
    assert dice(found, lungs) > 0.93
    assert not body[0].any()
    assert body[hu.shape[0] // 2, hu.shape[1] // 2]


def test_lungs_that_touch_the_border_of_a_cropped_picture_are_still_lungs():
    hu, lungs = slice_hu(1)
    ys, xs = np.nonzero(lungs)
    crop = np.s_[ys.min() + 3 : ys.max() - 3, xs.min() + 3 : xs.max() - 3]
    found, _ = lungs_and_body(hu[crop])
    assert dice(found, lungs[crop]) > 0.93


def test_air_between_back_and_table_is_not_lung():
    hu, lungs = slice_hu(2, table=True)
    found, _ = lungs_and_body(hu)
    assert not found[150:].any()
    assert dice(found, lungs) > 0.93


def test_a_slice_without_air_inside_has_no_place_for_evidence():
    hu = np.full((100, 100), 40.0, np.float32)
    with pytest.raises(NoLungsError):
        prepare(row(), hu)


def test_the_pixel_size_is_estimated_within_a_tenth_where_it_is_not_known():
    hu, _ = slice_hu(3)
    lungs, body = lungs_and_body(hu)
    assert pixel_size(lungs, body) == pytest.approx(MM, rel=0.12)


def test_a_prepared_slice_lies_on_the_grid_with_its_mask_around_the_lungs():
    hu, lungs = slice_hu(4)
    item = prepare(row(), hu)
    assert item.hu.shape == item.mask.shape == CANVAS
    area = item.lungs.sum() * GRID_MM**2
    assert area == pytest.approx(lungs.sum() * MM**2, rel=0.06)
    assert (item.mask >= item.lungs).mean() > 0.999
    assert np.median(item.hu[item.lungs]) == pytest.approx(np.median(hu[lungs]), abs=15)


def test_the_hull_of_two_discs_holds_what_lies_between_them():
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:15] = mask[10:20, 45:55] = True
    full = hull(mask)
    assert full[10:20, 5:55].all()
    assert full.sum() == 500


def test_prepared_slices_come_back_from_the_cache_unless_the_pictures_changed(tmp_path):
    entries = [(f"s{i}", slice_hu(i)[0], i % 2, i != 3) for i in range(4)]
    index = write_index(tmp_path, entries)
    rows = read_index(index)
    first, dropped, key = cached(tmp_path, rows, tmp_path / "out")
    again, dropped_again, key_again = cached(tmp_path, rows, tmp_path / "out")
    assert [s.row.path for s in again] == [s.row.path for s in first] == ["s0.webp", "s1.webp", "s2.webp"]
    assert dropped == dropped_again == [("s3.webp", "no trusted HU calibration")]
    assert key == key_again
    assert np.abs(again[0].hu - first[0].hu).max() <= 0.5
    write_index(tmp_path, [("s0", slice_hu(9)[0], 0, True), *entries[1:]])
    changed, _, other = cached(tmp_path, rows, tmp_path / "out")
    assert other != key
    assert np.abs(changed[0].hu - first[0].hu).max() > 50
