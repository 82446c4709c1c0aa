"""Fit the study level of ``model.json`` on volumes: noise floor, s0, a, b, thresholds.

    python -m batch.train.calibrate_study --studies DIR [--train DIR] [--weights DIR] [--dry-run]

Slices cannot do this: a chest is large, and what a network leaves behind in healthy lungs adds up.
Healthy volumes are few, so the rules are kept simple, lesions are planted into the clear volumes,
and how many of each went in is written into the file.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from batch.train.dataset import NoLungsError, prepare, read_hu, read_index
from shared.ct.chest import Chest, look_at_chest
from shared.ct.study import read_study
from shared.ct.volume import Volume
from shared.errors import Refusal
from shared.model.config import ModelConfig, StudyCalibration, Thresholds
from shared.model.evidence import density_of, score_of
from shared.model.pipeline import Look, look
from shared.model.session import WEIGHTS, Model

log = logging.getLogger("ct.train")

Label = Literal["sick", "clear", "planted", "check"]

#: part of the file's name → label; ``check`` is scored and reported, never fitted
STUDIES: dict[str, Label] = {
    "covidctmd_P001": "sick",
    "covidctmd_cap001": "sick",
    "covidctmd_cap002": "sick",
    "ibsi_pat1": "sick",
    "lidc0001": "sick",
    "lidc0002": "sick",
    "lungdx_a0001": "sick",
    "lungdx_a0002": "sick",
    "covidctmd_normal001": "clear",
    "cptac_c3l00189": "clear",
    "acrin_flt_breast001": "clear",
    "cip_ct64": "check",
    "onko_rt_thorax": "check",
    "lungfcp0001": "check",
    "onko_headneck": "check",
}
#: healthy volumes among the training slices: evenly spaced slices from base to apex
NORMAL_SOURCE = "luna_normal_jammi"
#: mm: their step and pixel are not stated; this is an adult's lung height over their number
NORMAL_STEP_MM = 6.5
#: planted lesions: name, radius mm, HU at the centre
PLANTS = (
    ("nodule 10 mm", 5.0, 30.0),
    ("nodule 20 mm", 10.0, 30.0),
    ("consolidation 40 mm", 20.0, 20.0),
    ("ground glass 40 mm", 20.0, -620.0),
    ("ground glass 70 mm", 35.0, -650.0),
)
PLANTS_EACH = 2
#: weight of a planted volume against a real one in the fit
PLANTED_WEIGHT = 0.15
#: probabilities that a label stands for: no look at pixels is certain
TARGETS = {"sick": 0.97, "planted": 0.9, "clear": 0.05}
TAUS = np.round(np.arange(0.0, 6.01, 0.25), 2)


@dataclass(frozen=True, slots=True)
class Case:
    """A volume that the network has looked at."""

    name: str
    label: Label
    look: Look

    def score(self, calibration: StudyCalibration) -> float:
        """S in ml."""
        return score_of(density_of(self.look.logits, self.look.inside, calibration), self.look.plan.cell_ml)


def normal_volumes(train: Path) -> Iterator[tuple[str, Volume]]:
    """Volumes stacked from the evenly spaced slices of `NORMAL_SOURCE`."""
    rows = [row for row in read_index(train / "index.csv") if row.dataset == NORMAL_SOURCE]
    for group in sorted({row.group for row in rows}):
        chosen = sorted((row for row in rows if row.group == group), key=lambda row: row.path)
        slices = [read_hu(row, train) for row in chosen]
        sizes = []
        for row, hu in zip(chosen, slices, strict=True):
            try:
                sizes.append(prepare(row, hu).mm)
            except NoLungsError:
                continue
        mm = float(np.median(sizes))
        stack = np.rint(np.stack(slices)).astype(np.int16)
        yield group, Volume(stack, np.diag([mm, mm, NORMAL_STEP_MM, 1.0]))


def plant(volume: Volume, chest: Chest, radius: float, hu: float, rng: np.random.Generator) -> Volume:
    """A ball with a soft, uneven rim, somewhere in the aerated lung."""
    depth = ndimage.distance_transform_edt(chest.lungs > 0, sampling=_spacing(chest))
    places = np.argwhere(depth >= min(0.6 * radius, float(depth.max()) * 0.7))
    lps = chest.affine @ np.append(places[rng.integers(len(places))][::-1], 1.0)
    centre = volume.index_of(lps[:3])
    spacing = np.array(volume.spacing_mm)
    reach = (1.6 * radius + spacing[0]) / spacing
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, volume.shape).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part = volume.hu[box].astype(np.float32)
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, spacing, strict=True)]
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    rough = ndimage.gaussian_filter(rng.standard_normal(part.shape), 0.2 * radius / spacing)
    rim = radius * (1 + 0.25 * rough / max(float(rough.std()), 1e-6))
    share = np.clip((rim - distance) / max(2.0, 0.2 * radius, spacing[0] / 2) + 0.5, 0, 1)
    out = volume.hu.copy()
    out[box] = np.rint(np.where(part < hu, part + (hu - part) * share, part))
    return Volume(out, volume.affine)


def _spacing(chest: Chest) -> list[float]:
    return [float(v) for v in np.linalg.norm(chest.affine[:3, :3], axis=0)[::-1]]


def gather(studies: Path, train: Path | None, model: Model) -> list[Case]:
    """Every study of `STUDIES`, the normal volumes, and planted copies of all clear ones."""
    cases: list[Case] = []
    clear: list[tuple[str, Volume]] = []
    for part, label in STUDIES.items():
        for path in sorted(studies.rglob(f"{part}*")):
            try:
                volume = read_study(path).chosen.load()
                cases.append(Case(part, label, look(volume, look_at_chest(volume), model)))
            except Refusal as refusal:
                log.warning("%s was not used: %s", path.name, refusal)
                continue
            if label == "clear":
                clear.append((part, volume))
    for name, volume in normal_volumes(train) if train else ():
        cases.append(Case(name, "clear", look(volume, look_at_chest(volume), model)))
        clear.append((name, volume))
    rng = np.random.default_rng(7)
    for name, volume in clear:
        chest = look_at_chest(volume)
        for kind, radius, hu in PLANTS:
            for _ in range(PLANTS_EACH):
                planted = plant(volume, chest, radius, hu, rng)
                seen = look(planted, look_at_chest(planted), model)
                cases.append(Case(f"{kind} in {name}", "planted", seen))
    return cases


def scores(cases: Iterable[Case], calibration: StudyCalibration) -> NDArray[np.float64]:
    """S of every case, ml."""
    return np.array([case.score(calibration) for case in cases])


def separation(cases: Sequence[Case], calibration: StudyCalibration) -> float:
    """How far apart log S of sick and clear volumes lie, in their pooled spread; rank-like, few cases."""
    value = np.log(scores(cases, calibration) + calibration.s0)
    sick = value[[case.label == "sick" for case in cases]]
    clear = value[[case.label == "clear" for case in cases]]
    pooled = math.sqrt((float(sick.var()) + float(clear.var())) / 2) + 0.1
    return (float(np.quantile(sick, 0.2)) - float(clear.max())) / pooled


def fit(cases: Sequence[Case], step_mm: float) -> StudyCalibration:
    """Noise floor by separation, s0 from the clear volumes, a and b by weighted maximum likelihood."""
    best = max(
        (_with_floor(cases, float(tau), step_mm) for tau in TAUS), key=lambda c: (separation(cases, c), c.tau)
    )
    used = [case for case in cases if case.label != "check"]
    value = np.log(scores(used, best) + best.s0)
    target = np.array([TARGETS[case.label] for case in used])
    weight = np.array([_weight(case, used) for case in used])

    def loss(x: NDArray[np.float64]) -> float:
        logit = np.exp(x[0]) * value + x[1]
        likelihood = float((weight * (np.logaddexp(0, logit) - target * logit)).sum())
        # few volumes: a slope far from 1.5 must be paid for
        return likelihood + 0.02 * float((x[0] - math.log(1.5)) ** 2)

    found = optimize.minimize(loss, np.array([0.4, -4.0]), method="Nelder-Mead", options={"maxiter": 4000})
    count = {label: sum(case.label == label for case in cases) for label in ("sick", "clear", "planted")}
    return best.model_copy(
        update={
            "a": round(math.exp(found.x[0]), 4),
            "b": round(float(found.x[1]), 4),
            "method": "tau by separation of sick and clear volumes, s0 from the clear ones, a and b by "
            "maximum likelihood with smoothed labels; in-sample",
            "n_sick": count["sick"],
            "n_healthy": count["clear"],
            "n_synthetic": count["planted"],
        }
    )


def _with_floor(cases: Sequence[Case], tau: float, step_mm: float) -> StudyCalibration:
    """The noise floor ``tau`` with its s0: what a clear volume leaves behind, at least 1 ml."""
    plain = StudyCalibration(activation="relu", tau=tau, a=1.0, b=0.0, s0=1.0, step_mm=step_mm)
    clear = [case for case in cases if case.label == "clear"]
    s0 = max(1.0, float(np.median(scores(clear, plain))))
    return plain.model_copy(update={"s0": round(s0, 3)})


def _weight(case: Case, used: Sequence[Case]) -> float:
    """Real sick and clear volumes weigh the same together; planted ones a little."""
    if case.label == "planted":
        return PLANTED_WEIGHT / sum(c.label == "planted" for c in used)
    return 1.0 / sum(c.label == case.label for c in used)


def thresholds(
    cases: Sequence[Case], calibration: StudyCalibration
) -> tuple[Thresholds, tuple[float, float]]:
    """Balanced: half way (in logits) between the highest clear and the low end of the sick, near 0.5.

    Rule-out: below every sick study by a margin. The grey zone reaches from rule-out to as far above.
    """
    value = calibration.a * np.log(scores(cases, calibration) + calibration.s0) + calibration.b
    clear = float(max(v for v, case in zip(value, cases, strict=True) if case.label == "clear"))
    sick = np.array([v for v, case in zip(value, cases, strict=True) if case.label == "sick"])
    low = float(np.sort(sick)[0])
    balanced = float(np.clip((clear + max(low, clear)) / 2 if low > clear else clear + 0.1, -1.0, 1.0))
    rule_out = min(balanced - 0.3, low - 0.2)
    to_p = [round(1 / (1 + math.exp(-v)), 3) for v in (rule_out, balanced, 2 * balanced - rule_out)]
    return Thresholds(rule_out=to_p[0], balanced=to_p[1]), (to_p[0], to_p[2])


def figures(cases: Sequence[Case], config: ModelConfig) -> dict[str, Any]:
    """Scores and probabilities of the real studies, and how many planted lesions are found, by kind."""
    study = config.study
    value = scores(cases, study)
    p = 1 / (1 + np.exp(-(study.a * np.log(value + study.s0) + study.b)))
    real = {
        case.name: {"label": case.label, "score_ml": round(float(s), 1), "probability": round(float(q), 3)}
        for case, s, q in zip(cases, value, p, strict=True)
        if case.label != "planted"
    }
    planted: dict[str, list[bool]] = {}
    for case, q in zip(cases, p, strict=True):
        if case.label == "planted":
            found = bool(q >= config.thresholds.balanced)
            planted.setdefault(case.name.split(" in ")[0], []).append(found)
    rates = {kind: f"{sum(found)} of {len(found)}" for kind, found in planted.items()}
    return {"studies": real, "planted_above_balanced": rates}


@click.command()
@click.option("--studies", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--train", type=click.Path(exists=True, file_okay=False, path_type=Path), default=None)
@click.option("--weights", type=click.Path(exists=True, file_okay=False, path_type=Path), default=WEIGHTS)
@click.option("--step-mm", default=5.0, show_default=True, help="Aimed distance of the judged slices.")
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def main(studies: Path, train: Path | None, weights: Path, step_mm: float, dry_run: bool) -> None:
    """Fit the study level of model.json on volumes and write it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = Model.load(weights, provider="cpu")
    model.config = model.config.model_copy(
        update={"study": model.config.study.model_copy(update={"step_mm": step_mm})}
    )
    cases = gather(studies, train, model)
    study = fit(cases, step_mm)
    points, grey = thresholds(cases, study)
    config = model.config.model_copy(update={"study": study, "thresholds": points, "grey_zone": grey})
    measured = figures(cases, config)
    config = config.model_copy(update={"figures": {**config.figures, "study_fit": measured}})
    config = ModelConfig.model_validate(config.model_dump())
    for name, row in measured["studies"].items():
        click.echo(f"{name:36} {row['label']:6} S {row['score_ml']:8.1f} ml  p {row['probability']:.3f}")
    for kind, rate in measured["planted_above_balanced"].items():
        click.echo(f"{kind:36} found {rate}")
    click.echo(f"{study}\n{points} grey zone {grey}")
    if not dry_run:
        config.write(weights)


if __name__ == "__main__":
    main()
