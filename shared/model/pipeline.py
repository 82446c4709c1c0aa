"""One call from a volume to an `Analysis`: lungs, model, evidence, verdict, findings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.ct.chest import Chest, look_at_chest
from shared.ct.passport import Passport
from shared.ct.volume import Volume
from shared.errors import Notice
from shared.model.analysis import Analysis, DecisiveSlice, Evidence, Verdict
from shared.model.calibration import in_grey_zone, is_pathology, probability_of
from shared.model.config import ModelConfig
from shared.model.evidence import density_of, make_evidence, score_of
from shared.model.findings import find
from shared.model.preprocess import Plan, batches, make_plan, thorax_on_cells
from shared.model.session import Model

Progress = Callable[[str, float], None]

#: what the model was tried on; beyond it a warning stands beside the verdict
MAX_PIXEL_MM = 2.6
MAX_STEP_MM = 8.5
#: above this step a lesion of 10 mm can lie between two slices: never normal
MAX_NORMAL_STEP_MM = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the model saw of a volume, before any calibration.

    Attributes
    ----------
    plan : Plan
        The judged slices and the grid of the cells.
    logits : ndarray of float32, shape ``plan.cells``
        Raw logits.
    inside : ndarray of bool, same shape
        Cells in the thorax.
    hu : ndarray of int16, shape (slices, h, w)
        The judged slices on the model's grid.
    """

    plan: Plan
    logits: NDArray[np.float32]
    inside: NDArray[np.bool_]
    hu: NDArray[np.int16]


def look(volume: Volume, chest: Chest, model: Model, progress: Progress | None = None) -> Look:
    """Run the network over a chest; the part of `analyse` that costs time, and what calibration fits on."""
    plan = make_plan(volume, chest, model.config)
    logits = np.empty(plan.cells, dtype=np.float32)
    hu = np.empty((len(plan.slices), *plan.plane), dtype=np.int16)
    for part, pixels in batches(volume, plan, model.config):
        logits[part] = model.logits(pixels)
        hu[part] = np.rint(pixels[:, model.config.neighbours // 2])
        if progress:
            progress("model", part.stop / len(plan.slices))
    return Look(plan, logits, thorax_on_cells(chest, plan), hu)


def analyse(
    volume: Volume,
    model: Model,
    *,
    passport: Passport | None = None,
    allow_partial: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Judge a chest CT.

    Parameters
    ----------
    volume : Volume
        Int16 HU.
    model : Model
        A loaded model.
    passport : Passport, optional
        What the reader saw; its coverage is used where the volume's own says less.
    allow_partial : bool
        Give a verdict of normal even where a part of the chest is not covered or was not read.
    progress : callable, optional
        Called with a stage (``lungs``, ``model``, ``findings``) and its progress 0..1.

    Returns
    -------
    Analysis
        ``no_result`` with a refusal where nothing is seen and a part of the chest was not: partial
        chest, slices too far apart, missing or unreadable.

    Raises
    ------
    Refusal
        ``not_chest``.
    """
    started = time.perf_counter()
    tell: Progress = progress or (lambda _stage, _part: None)
    tell("lungs", 0.0)
    chest = look_at_chest(volume)
    tell("lungs", 1.0)
    seen = look(volume, chest, model, tell)
    tell("findings", 0.0)
    study = model.config.study
    density = density_of(seen.logits, seen.inside, study)
    score = score_of(density, seen.plan.cell_ml)
    probability = probability_of(score, study)
    partial = _missing(chest, passport)
    unseen = None if allow_partial else _unseen(volume, partial, passport)
    verdict, refusal = _judge(probability, unseen, model.config)
    evidence = make_evidence(density, seen.plan, volume.shape[0])
    analysis = Analysis(
        verdict=verdict,
        probability=probability,
        threshold=model.config.thresholds.balanced,
        score=score,
        evidence=evidence,
        decisive=_decisive(evidence, volume),
        findings=find(density, seen.hu, seen.plan, chest, volume) if verdict == "pathology" else [],
        model=model.info,
        warnings=_warnings(volume, probability, partial, model.config, passport),
        refusal=refusal,
        seconds=time.perf_counter() - started,
    )
    tell("findings", 1.0)
    return analysis


def _judge(probability: float, unseen: Notice | None, config: ModelConfig) -> tuple[Verdict, Notice | None]:
    """Pathology is pathology wherever it is seen; normal needs the whole chest, seen."""
    if is_pathology(probability, config):
        return "pathology", None
    return ("no_result", unseen) if unseen else ("normal", None)


def _unseen(volume: Volume, partial: str, passport: Passport | None) -> Notice | None:
    """Why nobody may say normal: a part of the chest that was not in the data, or not seen in them."""
    if partial:
        return Notice(code="partial_chest", params={"what": partial})
    step = volume.spacing_mm[0]
    if step > MAX_NORMAL_STEP_MM:
        return Notice(
            code="too_thick_slices", params={"mm": round(step, 1), "max_mm": round(MAX_NORMAL_STEP_MM)}
        )
    for warning in passport.warnings if passport else []:
        if warning.code == "slices_missing":
            return Notice(code="uneven_slices", params=warning.params)
        if warning.code == "slices_unreadable":
            return Notice(code="unreadable_pixels", params={"what": f"n = {warning.params['n']}"})
    return None


def _missing(chest: Chest, passport: Passport | None) -> str:
    """What is missing for a whole chest: by this volume, else by what the reader saw before cutting."""
    if chest.partial or passport is None or passport.coverage is None:
        return chest.partial
    c = passport.coverage
    return (
        "" if c.lungs_found == "both" and c.apex_reached and c.base_reached else f"{round(100 * c.share)} %"
    )


def _warnings(
    volume: Volume, probability: float, partial: str, config: ModelConfig, passport: Passport | None
) -> list[Notice]:
    said = {warning.code for warning in passport.warnings} if passport else set()
    out = []
    if partial and "partial_chest_warning" not in said:
        out.append(Notice(code="partial_chest_warning", params={"what": partial}))
    if in_grey_zone(probability, config):
        out.append(Notice(code="grey_zone"))
    dz, dy, dx = volume.spacing_mm
    odd = [f"pixel {max(dy, dx):.1f} mm"] if max(dy, dx) > MAX_PIXEL_MM else []
    odd += [f"step {dz:.1f} mm"] if dz > MAX_STEP_MM else []
    if odd:
        out.append(Notice(code="unusual_input", params={"what": ", ".join(odd)}))
    return out


def _decisive(evidence: Evidence, volume: Volume) -> DecisiveSlice | None:
    """The slice with the largest share; none where there is no evidence at all."""
    if not evidence.slice_share.any():
        return None
    index = int(evidence.slice_share.argmax())
    z_mm = float(volume.lps_of(np.array([index, 0.0, 0.0]))[2])
    return DecisiveSlice(index=index, z_mm=round(z_mm, 3), share=float(evidence.slice_share[index]))
