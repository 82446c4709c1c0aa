"""`./ct evaluate INDEX.csv --out metrics.json`: figures of the model on labelled 8-bit slices.

The index has the columns of the training index (path, dataset, group_id, label, hu_slope,
hu_intercept, cal_ok, mm_per_px). What cannot be judged is listed under ``failures``, not scored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from batch.train.calibrate_slice import inside
from batch.train.dataset import NoLungsError, Row, Slice, prepare, read_hu, read_index
from batch.train.metrics import figures
from shared.model.calibration import probability_of
from shared.model.evidence import density_of, score_of
from shared.model.session import Model, ModelError

BATCH = 16


def judge(slices: list[Slice], model: Model) -> list[float]:
    """Probability of pathology of each slice, by the exact sum over its cells."""
    config = model.config
    cell_cm2 = (config.grid_mm * config.stride / 10.0) ** 2
    out: list[float] = []
    for start in range(0, len(slices), BATCH):
        part = slices[start : start + BATCH]
        stack = np.stack([item.hu for item in part])[:, None]
        hu = np.ascontiguousarray(np.repeat(stack, config.neighbours, axis=1))
        for z, item in zip(model.logits(hu), part, strict=True):
            density = density_of(z, inside(item), config.slice)
            out.append(probability_of(score_of(density, cell_cm2), config.slice))
    return out


def _prepared(rows: list[Row], root: Path) -> tuple[list[Slice], list[dict[str, str]]]:
    slices: list[Slice] = []
    failures: list[dict[str, str]] = []
    for row in rows:
        if not row.cal_ok:
            failures.append({"path": row.path, "dataset": row.dataset, "reason": "no trusted HU calibration"})
            continue
        try:
            slices.append(prepare(row, read_hu(row, root)))
        except (NoLungsError, OSError) as error:
            failures.append({"path": row.path, "dataset": row.dataset, "reason": str(error)})
    return slices, failures


def evaluate_index(index: Path, model: Model, *, draws: int = 1000, only: str = "") -> dict[str, Any]:
    """Figures over an index: ``{"pooled", "datasets", "n", "failures", "model", "thresholds"}``."""
    rows = [row for row in read_index(index) if not only or row.dataset == only]
    slices, failures = _prepared(rows, index.parent)
    if not slices:
        raise ValueError("no slice of the index can be judged")
    probability = judge(slices, model)
    thresholds = {
        "rule_out": model.config.thresholds.rule_out,
        "balanced": model.config.thresholds.balanced,
    }
    parts: dict[str, list[int]] = defaultdict(list)
    for i, item in enumerate(slices):
        parts[item.row.dataset].append(i)

    def of(index_of: list[int]) -> dict[str, object]:
        return figures(
            [slices[i].row.label for i in index_of],
            [probability[i] for i in index_of],
            [slices[i].row.group for i in index_of],
            thresholds,
            draws=draws,
        )

    return {
        "pooled": of(list(range(len(slices)))),
        "datasets": {name: of(members) for name, members in sorted(parts.items())},
        "n": len(slices),
        "failures": failures,
        "coverage": round(len(slices) / len(rows), 4),
        "thresholds": thresholds,
        "model": {**model.info.model_dump(), "trained_on": model.config.trained_on},
    }


@click.command()
@click.argument("index", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option(
    "--model",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with model.onnx and model.json [default: the shipped one].",
)
@click.option("--dataset", default="", help="Only this dataset of the index.")
@click.option(
    "--draws", type=click.IntRange(min=10), default=1000, show_default=True, help="Bootstrap draws."
)
def evaluate(index: Path, out: Path, folder: Path | None, dataset: str, draws: int) -> None:
    """Measure the model on the labelled slices of INDEX, with 95 % intervals by group.

    Figures on sources that the model was trained on say nothing about new ones: the answer names
    the sources of its training.
    """
    try:
        model = Model.load(folder) if folder else Model.shipped()
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    try:
        result = evaluate_index(index, model, draws=draws, only=dataset)
    except (KeyError, ValueError) as error:
        raise click.ClickException(f"{index.name} is not an index of slices: {error}") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, part in {**result["datasets"], "pooled": result["pooled"]}.items():
        value = part["auroc"]
        spread = f"{value['value']} [{value['low']}, {value['high']}]"
        click.echo(f"{name:24s} n {part['n']:5d}  AUROC {spread}")
    click.echo(f"not judged: {len(result['failures'])}; wrote {out}")
