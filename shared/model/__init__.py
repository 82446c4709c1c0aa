"""The model: preprocess → session → evidence → calibration → findings → `Analysis`.

Knows no web and no store; stands on `shared.ct` for the volume. ONNX Runtime is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.model.analysis import Analysis
    from shared.model.pipeline import analyse
    from shared.model.session import Model

__all__ = ["Analysis", "Model", "analyse"]

_HOME = {"Analysis": "analysis", "Model": "session", "analyse": "pipeline"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"shared.model.{_HOME[name]}"), name)
