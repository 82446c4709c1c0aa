"""A contact sheet of synthetic pathologies, for eyes: each kind several times, the mask outlined once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from batch.train.dataset import CANVAS, GRID_MM, NoLungsError, Row, Slice, prepare, read_hu
from batch.train.synthetic import RECIPES, draw

LUNG_WINDOW = (-1050.0, 250.0)
SOFT_WINDOW = (-160.0, 240.0)


def write_sheet(root: Path, rows: Sequence[Row], path: Path, *, seed: int = 0, columns: int = 5) -> None:
    """Draw every kind ``columns`` times on healthy slices; the first again with its mask outlined."""
    rng = np.random.default_rng(seed)
    healthy = _some_healthy(root, rows, rng)
    lines = [_line(kind, healthy, rng, columns) for kind in RECIPES]
    sheet = Image.fromarray(np.concatenate(lines, axis=0))
    pen = ImageDraw.Draw(sheet)
    for i, kind in enumerate(RECIPES):
        pen.text((6, i * lines[0].shape[0] + 4), kind, fill=(255, 220, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _some_healthy(root: Path, rows: Sequence[Row], rng: np.random.Generator, count: int = 24) -> list[Slice]:
    """Up to ``count`` healthy slices at random, one of a group."""
    by_group = {row.group: row for row in rows if row.label == 0 and row.cal_ok}
    found: list[Slice] = []
    for i in rng.permutation(len(by_group)):
        row = list(by_group.values())[i]
        try:
            found.append(prepare(row, read_hu(row, root)))
        except NoLungsError:
            continue
        if len(found) == count:
            break
    if not found:
        raise ValueError("there is no healthy slice to draw on")
    return found


def _line(kind: str, healthy: Sequence[Slice], rng: np.random.Generator, columns: int) -> NDArray[np.uint8]:
    tiles: list[NDArray[np.uint8]] = []
    low, high = SOFT_WINDOW if kind == "enlarged_nodes" else LUNG_WINDOW
    for _ in range(4 * columns):
        if len(tiles) > columns:
            break
        item = healthy[int(rng.integers(len(healthy)))]
        lesion = draw(item.hu, item.lungs, item.mask, GRID_MM, rng, kind=kind)
        if lesion is None:
            continue
        grey = np.clip((lesion.hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        tile = np.repeat(np.repeat(grey, 2, 0), 2, 1)[..., None].repeat(3, 2)
        tiles.append(tile)
        if len(tiles) == 1:
            big = np.repeat(np.repeat(lesion.mask, 2, 0), 2, 1)
            outlined = tile.copy()
            outlined[big & ~ndimage.binary_erosion(big)] = (255, 60, 0)
            tiles.append(outlined)
    blank = np.zeros((2 * CANVAS[0], 2 * CANVAS[1], 3), np.uint8)
    tiles += [blank] * (columns + 1 - len(tiles))
    return np.concatenate(tiles, axis=1)
