"""A made chest-like volume with one planted lesion, and the analysis that points at it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from shared.ct.passport import Coverage, Passport, VolumeInfo
from shared.ct.volume import Volume
from shared.documents import AnalysisDoc, Scan
from shared.errors import Notice
from shared.model.analysis import Analysis, DecisiveSlice, Evidence, Finding, ModelInfo

MODEL = ModelInfo(name="evidence", version="0.1.0", sha256="ab" * 32, provider="CPUExecutionProvider")
NZ, NY, NX = 40, 120, 160
SPACING_ZYX = (2.5, 1.25, 1.0)


def volume() -> Volume:
    """An ellipse of soft tissue with two lungs and a lesion in the patient's LEFT lung (large x)."""
    z, y, x = np.indices((NZ, NY, NX))
    hu = np.full((NZ, NY, NX), -1000, dtype=np.int16)
    hu[((x - 80) / 75) ** 2 + ((y - 60) / 50) ** 2 < 1] = 40
    for middle in (48, 112):
        lung = ((x - middle) / 24) ** 2 + ((y - 60) / 36) ** 2 + ((z - 20) / 19) ** 2 < 1
        hu[lung] = -850
    px, py, pz = lesion_voxel()
    ball = ((x - px) * 1.0) ** 2 + ((y - py) * 1.25) ** 2 + ((z - pz) * 2.5) ** 2 < 9**2
    hu[ball] = 30
    affine = np.array(
        [[1.0, 0, 0, -79.5], [0, 1.25, 0, -74.0], [0, 0, 2.5, -300.0], [0, 0, 0, 1.0]], dtype=np.float64
    )
    return Volume(hu, affine)


def lesion_voxel() -> tuple[int, int, int]:
    """Voxel (x, y, z) of the lesion's middle."""
    return 120, 70, 24


def evidence(vol: Volume, *, cell_mm: tuple[float, float, float] = (5.0, 8.0, 8.0)) -> Evidence:
    """All evidence in the one cell whose middle is the lesion's middle."""
    lps = vol.lps_of(np.array(lesion_voxel()[::-1], dtype=np.float64))
    shape = (17, 15, 17)
    at = (8, 9, 14)
    affine = np.diag([cell_mm[2], cell_mm[1], cell_mm[0], 1.0])
    affine[:3, 3] = lps - np.array([at[2] * cell_mm[2], at[1] * cell_mm[1], at[0] * cell_mm[0]])
    density = np.zeros(shape, dtype=np.float32)
    density[at] = 3.5
    share = np.zeros(NZ)
    share[[23, 24, 25]] = 0.25, 0.5, 0.25
    return Evidence(density, affine, share)


def finding() -> Finding:
    """The planted lesion as a finding."""
    return Finding(
        box_voxel=[111, 129, 63, 77, 21, 27],
        box_mm=[31.5, 49.5, 4.75, 22.25, -247.5, -232.5],
        volume_ml=3.05,
        side="left",
        third="middle",
        share=0.9,
        appearance="solid",
        place="lung",
        peak_slice=24,
    )


def analysis(vol: Volume, **changes: Any) -> Analysis:
    """A verdict of pathology with the planted lesion as its one finding."""
    made = Analysis(
        verdict="pathology",
        probability=0.8765432109876543,
        threshold=0.42,
        score=1.12,
        evidence=evidence(vol),
        decisive=DecisiveSlice(index=24, z_mm=-240.0, share=0.5),
        findings=[finding()],
        model=MODEL,
        warnings=[Notice(code="contrast")],
        seconds=2.5,
    )
    return replace(made, **changes)


def passport(**changes: Any) -> Passport:
    """What was read, in short."""
    vol = volume()
    made = Passport(
        study_uid="1.2.3",
        series_uid="1.2.3.4",
        study_date="2026-01-02",
        modality="CT",
        n_slices=NZ,
        kernel="B70f",
        manufacturer="Maker",
        scanner_model="Model 1",
        choice="lung kernel, thinnest slices",
        volume=VolumeInfo(shape=[NZ, NY, NX], spacing_mm=list(SPACING_ZYX), affine_lps=vol.affine.tolist()),
        coverage=Coverage(
            lungs_found="both", lung_ml=4100, extent_mm=280, apex_reached=True, base_reached=True, share=1.0
        ),
        warnings=[Notice(code="thick_slices", params={"mm": 2.5})],
    )
    return made.model_copy(update=changes)


def document(**changes: Any) -> AnalysisDoc:
    """The stored form of `analysis`."""
    fresh = analysis(volume())
    made = AnalysisDoc(
        scan_id="scan-1",
        patient_id="patient-1",
        verdict=fresh.verdict,
        probability=fresh.probability,
        threshold=fresh.threshold,
        score=fresh.score,
        model=fresh.model,
        decisive_slice=fresh.decisive,
        findings=fresh.findings,
        passport=passport(),
        warnings=fresh.warnings,
        time_of_processing=2.5,
        created_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
    )
    return made.model_copy(update=changes)


def refused(**changes: Any) -> AnalysisDoc:
    """An analysis that ended without a verdict, though numbers are still lying around in it."""
    return document(
        verdict="no_result",
        reason=Notice(code="too_thick_slices", params={"mm": 20, "max_mm": 10}),
        **changes,
    )


def scan() -> Scan:
    """The scan of `document`."""
    return Scan(id="scan-1", patient_id="patient-1", file_name="иванов.zip")


def blocks(vol: Volume, depth: int = 8) -> tuple[dict[str, Any], Callable[[int], bytes]]:
    """Geometry and a reader of the viewer's blocks."""
    geometry = {
        "shape": list(vol.shape),
        "spacing_mm": list(vol.spacing_mm),
        "affine_lps": vol.affine.tolist(),
        "block_depth": depth,
        "blocks": -(-vol.shape[0] // depth),
        "dtype": "int16",
    }

    def read(number: int) -> bytes:
        part = vol.hu[number * depth : (number + 1) * depth]
        return gzip.compress(part.astype("<i2").tobytes(), 1)

    return geometry, read
