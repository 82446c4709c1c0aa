"""model.json: what is wrong in it is refused, what is written reads back equal."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.model.config import ModelConfig
from tests.unit.model.tiny import write_model


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    config = write_model(tmp_path)
    assert ModelConfig.read(tmp_path) == config


@pytest.mark.parametrize(
    "change",
    [
        {"neighbours": 2, "context_mm": 5.0},
        {"neighbours": 3, "context_mm": 0.0},
        {"grey_zone": (0.7, 0.3)},
        {"sha256": "0"},
        {"thresholds": {"rule_out": 0.6, "balanced": 0.5}},
        {"slice": {"tau": 0, "a": -1, "b": 0, "s0": 1}},
        {"study": {"tau": 0, "a": 1, "b": 0, "s0": 0}},
        {"unknown": 1},
    ],
    ids=str,
)
def test_contradictions_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    config = write_model(tmp_path)
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({**config.model_dump(), **change})
