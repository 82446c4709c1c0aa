"""The schema of ``model.json``: everything about a model that is not in its ONNX graph.

Training writes it, the session reads it. The graph turns HU into one raw logit per cell; what is
made of the logits (noise floor, sum, calibration, thresholds) stands here, as plain numbers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: file names inside a folder of weights
MODEL_FILE = "model.onnx"
CONFIG_FILE = "model.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Calibration(_Strict):
    """From logits of cells to one probability.

    With z the raw logit of a cell: evidence density ``e = relu(z - tau)`` or ``softplus(z - tau)``;
    score ``S = sum(e * cell size)`` over the thorax; ``logit = a * log(S + s0) + b``;
    ``p = 1 / (1 + exp(-logit))``.
    S is in ml for a study (cell size in ml) and in cm² for a single slice (cell size in cm²).
    """

    activation: Literal["relu", "softplus"] = "relu"
    tau: float = Field(0.0, description="Noise floor of a cell, in units of the raw logit.")
    a: float = Field(gt=0, description="Slope on log(S + s0); above 0, so that p rises with S.")
    b: float = Field(description="Offset.")
    s0: float = Field(gt=0, description="Score that counts as nothing: ml (study) or cm² (slice).")


class StudyCalibration(Calibration):
    """The study level: also how densely a volume is looked at."""

    step_mm: float = Field(5.0, gt=0, description="Aimed distance of the slices that the model sees, mm.")
    method: str = Field("", description="How a, b, s0 and tau were fitted, in a sentence.")
    n_sick: int = Field(0, ge=0, description="Real sick studies in the fit.")
    n_healthy: int = Field(0, ge=0, description="Real clear studies in the fit.")
    n_synthetic: int = Field(0, ge=0, description="Clear studies with a planted lesion in the fit.")


class Thresholds(_Strict):
    """Operating points, as probabilities of a study."""

    rule_out: float = Field(gt=0, lt=1, description="Below it hardly any sick study is expected.")
    balanced: float = Field(gt=0, lt=1, description="At or above it the verdict is pathology.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.rule_out > self.balanced:
            raise ValueError("rule_out must not lie above balanced")
        return self


class ModelConfig(_Strict):
    """One model: its identity, its grid, its calibration and what is known about it."""

    format: Literal[1] = 1
    name: str
    version: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of model.onnx.")
    grid_mm: float = Field(gt=0.5, lt=5, description="Pixel of the model's input, mm, both in-plane axes.")
    neighbours: int = Field(1, ge=1, description="Slices in one input, k; odd; the middle one is judged.")
    context_mm: float = Field(
        0.0, ge=0, description="Distance of two neighbouring input slices, mm; 0 if k = 1."
    )
    stride: int = Field(4, ge=1, description="Input pixels per output cell, both axes.")
    receptive_mm: float = Field(0.0, ge=0, description="Width of the field that one cell sees, mm.")
    slice: Calibration
    study: StudyCalibration
    thresholds: Thresholds
    grey_zone: tuple[float, float] = Field(description="Probabilities between which a doctor should look.")
    figures: dict[str, Any] = Field(default_factory=dict, description="Measured figures, by data set.")
    trained_on: list[str] = []
    licence_note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.neighbours % 2 == 0:
            raise ValueError("neighbours must be odd: the middle slice is the one that is judged")
        if (self.neighbours > 1) != (self.context_mm > 0):
            raise ValueError("context_mm is above 0 exactly where there is more than one slice")
        low, high = self.grey_zone
        if not 0 <= low <= high <= 1:
            raise ValueError("grey_zone must be two probabilities in order")
        return self

    @classmethod
    def read(cls, folder: Path) -> ModelConfig:
        """Read ``model.json`` of a folder of weights; pydantic's ValidationError where it is wrong."""
        return cls.model_validate_json((folder / CONFIG_FILE).read_bytes())

    def write(self, folder: Path) -> None:
        """Write ``model.json`` into ``folder``."""
        (folder / CONFIG_FILE).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
