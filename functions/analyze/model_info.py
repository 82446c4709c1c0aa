"""Which model answers, known from its JSON alone: the HTTP function never loads a network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import ValidationError

import shared.model
from shared.errors import Problem
from shared.model.analysis import ModelInfo
from shared.model.config import ModelConfig
from shared.settings import Settings


def current_model(settings: Settings) -> ModelInfo:
    """Name, version and digest of the model of the settings; raises `Problem` ``model_unavailable``."""
    shipped = Path(shared.model.__file__).parent / "weights"
    try:
        return _read(Path(settings.model_dir) if settings.model_dir else shipped)
    except (OSError, ValidationError) as error:
        raise Problem("model_unavailable", what=type(error).__name__) from error


@lru_cache(maxsize=4)
def _read(folder: Path) -> ModelInfo:
    config = ModelConfig.read(folder)
    return ModelInfo(name=config.name, version=config.version, sha256=config.sha256)
