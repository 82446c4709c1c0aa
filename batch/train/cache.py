"""Prepared slices on disk, so that a second run with the same pictures starts at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from batch.train.dataset import CANVAS, GRID_MM, Row, Slice, data_hash, load_all


def prepared(root: Path, rows: Sequence[Row], folder: Path) -> tuple[list[Slice], list[tuple[str, str]], str]:
    """Slices of ``rows``, (path, reason) of those that cannot be used, and the hash of the data.

    The cache is keyed by the bytes of the pictures, the index and the grid; it holds plain arrays.
    """
    key = data_hash(root, rows)
    signature = json.dumps([key, GRID_MM, CANVAS, [asdict(row) for row in rows]])
    arrays, names = folder / "slices.npz", folder / "slices.json"
    if arrays.exists() and names.exists():
        saved = json.loads(names.read_text(encoding="utf-8"))
        if saved["signature"] == signature:
            with np.load(arrays) as stored:
                hu, masks, lungs = stored["hu"], stored["mask"], stored["lungs"]
            slices = [
                Slice(Row(**row), hu[i].astype(np.float32), masks[i], lungs[i], mm)
                for i, (row, mm) in enumerate(saved["slices"])
            ]
            return slices, [tuple(pair) for pair in saved["dropped"]], key
    slices, dropped = load_all(root, rows)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        arrays,
        hu=np.stack([s.hu for s in slices]).astype(np.float16),
        mask=np.stack([s.mask for s in slices]),
        lungs=np.stack([s.lungs for s in slices]),
    )
    body = {
        "signature": signature,
        "slices": [(asdict(s.row), s.mm) for s in slices],
        "dropped": dropped,
    }
    names.write_text(json.dumps(body), encoding="utf-8")
    return slices, dropped, key
