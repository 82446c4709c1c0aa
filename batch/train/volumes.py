"""Hard negatives: slices of real volumes whose lungs look clear, with exact HU and pixel size.

They bring what re-encoded pictures lack: scanner noise and kernels, domes of the diaphragm, apices.
Only studies named here are used; studies that measure the model must not be among them.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from batch.train.dataset import NoLungsError, Row, Slice, prepare
from shared.ct.chest import look_at_chest
from shared.ct.study import read_study
from shared.errors import Refusal

log = logging.getLogger("ct.train")

#: part of the file's name → source name; both show only a part of the chest, with clear lungs
CLEAR = {
    "cptac_c3l00189_lung_bases": "volume_cptac_bases",
    "acrin_flt_breast001_head_to_hila": "volume_acrin_upper",
}
#: mm between slices that are taken
STEP_MM = 5.0
#: cm²: a slice with less lung than this is skipped
MIN_LUNG_CM2 = 25.0


def clear_slices(studies: Path) -> list[Slice]:
    """Healthy slices of the studies of `CLEAR` found under ``studies``."""
    found: list[Slice] = []
    for part, name in CLEAR.items():
        for path in sorted(studies.rglob(f"{part}*")):
            try:
                found += _slices_of(path, name)
            except Refusal as refusal:
                log.warning("%s was not used: %s", path.name, refusal)
    return found


def _slices_of(path: Path, name: str) -> list[Slice]:
    volume = read_study(path).chosen.load()
    chest = look_at_chest(volume)
    dz, dy, dx = volume.spacing_mm
    out: list[Slice] = []
    first, last = chest.chest_z
    for z in range(first, last, max(1, round(STEP_MM / dz))):
        row = Row(f"{path.name}#{z}", name, name, 0, "clear region of a volume", 1.0, 0.0, True, dy, 0.95)
        hu = volume.hu[z].astype(np.float32)
        if abs(dx - dy) > 0.01:
            log.warning("%s has oblong pixels and was not used", path.name)
            return []
        try:
            item = prepare(row, hu, dy)
        except NoLungsError:
            continue
        if item.lungs.sum() * 0.04 >= MIN_LUNG_CM2:
            out.append(item)
    return out
