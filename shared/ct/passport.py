"""The input passport: what was seen in an upload, what was chosen and why. Plain data, no numpy."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.errors import Lang, Notice


class SeriesRow(BaseModel):
    """One series (one volume candidate) of a study, chosen or not, with the reason."""

    series_uid: str = ""
    description: str = ""
    modality: str = ""
    image_type: str = ""
    n_instances: int = 0
    #: sagittal | coronal | axial | oblique | unknown
    orientation: str = "unknown"
    rows: int = 0
    columns: int = 0
    spacing_z_mm: float | None = None
    thickness_mm: float | None = None
    kernel: str = ""
    transfer_syntax: str = ""
    chosen: bool = False
    #: why it was chosen or refused: a short English token such as ``localizer`` or ``soft_kernel``
    reason: str = ""


class Gap(BaseModel):
    """A place where slices are missing, by the positions on both sides (mm along the normal)."""

    below_mm: float
    above_mm: float
    #: entry names (base names only) of the two neighbours
    below_file: str = ""
    above_file: str = ""
    missing: int = 0


class VolumeInfo(BaseModel):
    """Shape of the volume that the verdict is about. Order z, y, x; affine maps (x, y, z) to LPS."""

    shape: list[int]
    spacing_mm: list[float]
    affine_lps: list[list[float]]


class Coverage(BaseModel):
    """How much of a chest is there, from the pixels."""

    lungs_found: Literal["both", "left", "right", "none"]
    lung_ml: float
    extent_mm: float
    apex_reached: bool
    base_reached: bool
    #: rough share of the lungs that lies inside the volume, 0..1
    share: float


class Passport(BaseModel):
    """Everything a doctor or an engineer needs to trust, or not, what was read."""

    study_uid: str = ""
    series_uid: str = ""
    study_date: str = ""
    modality: str = ""
    source_kind: Literal["dicom", "nifti"] = "dicom"
    series: list[SeriesRow] = []
    choice: str = ""
    n_slices: int = 0
    order: str = "position"
    spacing_z_mm: float | None = None
    gaps: list[Gap] = []
    tilt_deg: float = 0.0
    transfer_syntax: str = ""
    bits_stored: int | None = None
    lossy: bool = False
    kernel: str = ""
    manufacturer: str = ""
    scanner_model: str = ""
    patient_position: str = ""
    contrast_hint: bool | None = None
    hu_check: str = ""
    deidentified: bool | None = None
    volume: VolumeInfo | None = None
    coverage: Coverage | None = None
    warnings: list[Notice] = []
    #: set when the study was refused
    refusal: Notice | None = None
    extra: dict[str, Any] = Field(default_factory=dict)

    def to_json(self, lang: Lang = "ru") -> dict[str, Any]:
        """The form that reports and ``./ct inspect`` show: words instead of parameters."""
        out = self.model_dump(mode="json", exclude={"warnings", "refusal", "extra"})
        out["warnings"] = [{"code": w.code, "text": w.text(lang)} for w in self.warnings]
        out["reason_code"] = self.refusal.code if self.refusal else None
        out["reason"] = self.refusal.words(lang) if self.refusal else None
        return out
