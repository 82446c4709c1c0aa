"""Made-up axial slices for the tests: a trunk with two lungs, vessels, heart and spine. No patient."""

import numpy as np
from PIL import Image
from scipy import ndimage

from batch.train.dataset import Row, Slice, prepare

MM = 1.6


def disc(shape, centre, radii):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1


def slice_hu(seed, shape=(180, 240), table=False):
    """One healthy slice in HU on pixels of `MM`; air around it, a table under it where asked for."""
    rng = np.random.default_rng(seed)
    h, w = shape
    hu = np.full(shape, -1000.0)
    scale = rng.uniform(0.95, 1.05)
    body = disc(shape, (h / 2, w / 2), (68 * scale, 108 * scale))
    hu[body] = -90
    hu[disc(shape, (h / 2, w / 2), (62 * scale, 101 * scale))] = 45
    hu[disc(shape, (h / 2, w / 2), (40, 30))] = -95
    hu[disc(shape, (h / 2 - 16, w / 2 + 10), (18, 20))] = 45
    lungs = np.zeros(shape, bool)
    for side in (-1, 1):
        lungs |= disc(shape, (h / 2 - 2, w / 2 + side * 47 * scale), (50 * scale, 38 * scale))
    lungs &= ~disc(shape, (h / 2 - 12, w / 2 + 12), (30, 28))
    hu[lungs] = rng.uniform(-880, -830)
    vessels = np.zeros(shape)
    ys, xs = np.nonzero(lungs)
    for _ in range(90):
        i = rng.integers(len(ys))
        vessels[ys[i], xs[i]] = rng.uniform(1, 9)
    vessels = ndimage.gaussian_filter(vessels, 0.8) * 420
    hu = np.where(lungs, hu + np.minimum(vessels, 800), hu)
    hu[disc(shape, (h / 2 + 44, w / 2), (14, 14))] = 300
    if table:
        hu[h - 12 : h - 9] = -200
    hu = ndimage.gaussian_filter(hu, 0.6) + rng.normal(0, 12, shape)
    return hu.astype(np.float32), lungs


def row(name="a", dataset="made", label=0, mm=MM, slope=8.0, intercept=-1100.0, cal_ok=True):
    return Row(name, dataset, name, label, "", slope, intercept, cal_ok, mm, 0.9)


def prepared(seed, label=0) -> Slice:
    hu, _ = slice_hu(seed)
    return prepare(row(f"s{seed}", label=label), hu)


def write_index(folder, entries):
    """Pictures as the training data has them, with their index; entries are (name, hu, label, ok)."""
    lines = [
        "path,dataset,group_id,label,finding,hu_slope,hu_intercept,cal_ok,width,height,mm_per_px,"
        "label_confidence,source_repo,licence_note"
    ]
    for name, hu, label, ok in entries:
        grey = np.clip((hu + 1100) / 8, 0, 255).round().astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{name}.webp", lossless=True)
        h, w = grey.shape
        lines.append(f"{name}.webp,made,{name},{label},,8.0,-1100.0,{int(ok)},{w},{h},{MM},0.9,,")
    path = folder / "index.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
