"""The trained network as ONNX and ``model.json``; what is written is checked against torch first."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from batch.train.dataset import GRID_MM, STRIDE
from batch.train.network import RECEPTIVE_MM
from shared.model.config import (
    MODEL_FILE,
    Calibration,
    ModelConfig,
    StudyCalibration,
    Thresholds,
    sha256_of,
)

#: largest accepted difference of a logit between torch and ONNX Runtime
PARITY = 1e-4
LICENCE_NOTE = (
    "Weights for research use only: they were trained on public research images, several of which are "
    "licensed for non-commercial use (see MODEL_CARD.md). Not a medical device."
)


class ParityError(RuntimeError):
    """The exported graph does not compute what the network computes."""


def write_onnx(net: nn.Module, path: Path) -> float:
    """Write the graph (input ``hu`` (n, 1, h, w), output ``z`` (n, 1, h / 4, w / 4), all sizes free).

    Returns
    -------
    float
        Largest difference of a logit from torch, over two shapes.

    Raises
    ------
    ParityError
        The difference is above `PARITY`.
    """
    net = net.to("cpu").eval()
    example = torch.zeros(2, 1, 64, 96)
    sizes = {0: "n", 2: "h", 3: "w"}
    cells = {0: "n", 2: "rows", 3: "columns"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # notices of the exporter about its own future
        torch.onnx.export(
            net,
            (example,),
            str(path),
            dynamo=False,
            input_names=["hu"],
            output_names=["z"],
            dynamic_axes={"hu": sizes, "z": cells},
            opset_version=17,
            do_constant_folding=True,
        )
    worst = parity(net, path)
    if worst > PARITY:
        raise ParityError(f"logits differ by {worst:.2e}, more than {PARITY:.0e}")
    return worst


def parity(net: nn.Module, path: Path) -> float:
    """Largest difference of a logit between torch and ONNX Runtime on random slices of two shapes."""
    import onnxruntime as ort

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for shape in ((1, 1, 136, 176), (5, 1, 96, 128)):
        hu = rng.normal(-600, 400, shape).astype(np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(hu)).numpy()
        (got,) = session.run(None, {"hu": hu})
        worst = max(worst, float(np.abs(got - expected).max()))
    return worst


def write_model(
    net: nn.Module,
    folder: Path,
    *,
    name: str,
    version: str,
    slice_calibration: Calibration,
    figures: dict[str, Any],
    trained_on: list[str],
    study: StudyCalibration | None = None,
) -> ModelConfig:
    """Write ``model.onnx`` and ``model.json`` into ``folder``.

    Without ``study`` the study level repeats the slice's numbers as a placeholder that says so;
    it must be fitted on volumes before a study's probability means anything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {**figures, "onnx_parity_max_abs": write_onnx(net, folder / MODEL_FILE)}
    if study is None:
        study = StudyCalibration(
            **slice_calibration.model_dump(),
            method="not fitted on studies: the numbers of the slice level",
        )
    config = ModelConfig(
        name=name,
        version=version,
        sha256=sha256_of(folder / MODEL_FILE),
        grid_mm=GRID_MM,
        neighbours=1,
        context_mm=0.0,
        stride=STRIDE,
        receptive_mm=RECEPTIVE_MM,
        slice=slice_calibration,
        study=study,
        thresholds=Thresholds(rule_out=0.3, balanced=0.5),
        grey_zone=(0.3, 0.5),
        figures=figures,
        trained_on=trained_on,
        licence_note=LICENCE_NOTE,
    )
    config.write(folder)
    return config
