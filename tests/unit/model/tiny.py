"""A tiny model for tests: an ONNX graph whose logits rise with the hazy share of a cell."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shared.model.config import (
    MODEL_FILE,
    Calibration,
    ModelConfig,
    StudyCalibration,
    Thresholds,
    sha256_of,
)
from shared.model.session import Model


def write_model(folder: Path, *, neighbours: int = 1, **changes: Any) -> ModelConfig:
    """Write ``model.onnx`` and ``model.json``: z = 8 × (share of the cell between -720 and -450 HU) - 2."""
    mean = np.full((1, 1, 4, 4), 1 / 16, np.float32)
    nodes = [
        helper.make_node("Slice", ["hu", "start", "stop", "axis"], ["middle"]),
        helper.make_node("Greater", ["middle", "low"], ["above"]),
        helper.make_node("Less", ["middle", "high"], ["below"]),
        helper.make_node("And", ["above", "below"], ["hazy"]),
        helper.make_node("Cast", ["hazy"], ["as_float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["as_float", "mean"], ["share"], strides=[4, 4]),
        helper.make_node("Mul", ["share", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["z"]),
    ]
    constants: dict[str, Any] = {
        "start": np.array([neighbours // 2], np.int64),
        "stop": np.array([neighbours // 2 + 1], np.int64),
        "axis": np.array([1], np.int64),
        "low": np.float32(-720),
        "high": np.float32(-450),
        "mean": mean,
        "gain": np.float32(8),
        "offset": np.float32(-2),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("hu", TensorProto.FLOAT, ["n", neighbours, "h", "w"])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 1, "h4", "w4"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / MODEL_FILE)
    config = ModelConfig(
        **{
            "name": "tiny",
            "version": "0",
            "sha256": sha256_of(folder / MODEL_FILE),
            "grid_mm": 2.0,
            "neighbours": neighbours,
            "context_mm": 0.0 if neighbours == 1 else 5.0,
            "slice": Calibration(tau=0.0, a=1.0, b=0.0, s0=1.0),
            "study": StudyCalibration(tau=1.5, a=1.0, b=-5.5, s0=5.0),
            "thresholds": Thresholds(rule_out=0.2, balanced=0.5),
            "grey_zone": (0.4, 0.6),
            **changes,
        }
    )
    config.write(folder)
    return config


@lru_cache(maxsize=4)
def tiny_model(threads: int = 1, neighbours: int = 1) -> Model:
    """A loaded tiny model, made once a process."""
    folder = Path(mkdtemp(prefix="tiny_model_"))
    write_model(folder, neighbours=neighbours)
    return Model.load(folder, provider="cpu", threads=threads)
