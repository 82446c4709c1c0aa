"""``python -m batch`` as it is run, over phantoms, with the real reader and a tiny real model."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.reporting.picture import _MARGIN, _TOP, _VIEW
from tests.phantoms import Lesion, write_study
from tests.unit.model.tiny import write_model

ROOT = Path(__file__).parents[3]
#: on the patient's left, toward the back
CENTRE = (75.0, 20.0, 30.0)
Row = dict[str, str]


@dataclass
class Outcome:
    """What one run over a mixed folder left."""

    folder: Path
    code: int
    out: str
    err: str
    rows: dict[str, Row]
    maps: dict[str, Path]


def batch(*arguments: str | Path, model: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "batch", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "CT_MODEL_DIR": str(model), "CT_PROVIDER": "cpu"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def table(path: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Outcome:
    """One run over a sick zip, a healthy one, loose files in two folders, NIfTI, and two failures."""
    folder = tmp_path_factory.mktemp("studies")
    sick = [Lesion("ground_glass", CENTRE, 28.0)]
    write_study(folder / "sick.zip", lesions=sick, name="sick")
    write_study(folder / "healthy.zip", name="healthy")
    loose = write_study(folder / "loose" / "one", lesions=sick, name="loose").path
    second = loose.with_name("two")
    second.mkdir()
    for file in sorted(loose.iterdir())[::2]:
        file.rename(second / file.name)
    write_study(folder / "sick.nii.gz", lesions=sick, name="nifti")
    write_study(folder / "few.zip", slices=2, name="few")
    (folder / "cut.zip").write_bytes((folder / "sick.zip").read_bytes()[:5000])
    (folder / "index.csv").write_text("not a study")
    maps = folder.parent / "maps"
    done = batch(
        "predict", folder, "--out", folder / "r.csv", "--heatmaps", maps, "--lang", "en", model=model
    )
    rows = {Path(row["path_to_study"]).relative_to(folder).as_posix(): row for row in table(folder / "r.csv")}
    return Outcome(
        folder, done.returncode, done.stdout, done.stderr, rows, {m.name: m for m in maps.iterdir()}
    )


def test_every_study_of_a_mixed_folder_has_its_row_and_its_verdict(outcome: Outcome) -> None:
    assert (outcome.code, outcome.out, outcome.err) == (3, "", "")
    verdicts = {name: (row["verdict"], row["reason_code"]) for name, row in outcome.rows.items()}
    few, cut = verdicts.pop("few.zip"), verdicts.pop("cut.zip")
    assert verdicts == {
        "sick.zip": ("pathology", ""),
        "healthy.zip": ("normal", ""),
        "loose": ("pathology", ""),
        "sick.nii.gz": ("pathology", ""),
    }
    assert few == ("no_result", "too_few_slices")
    assert cut[0] == "no_result"
    for name in ("few.zip", "cut.zip"):
        row = outcome.rows[name]
        assert row["processing_status"] == "Failure"
        assert row["probability_of_pathology"] == row["pathology"] == ""


def test_same_chest_as_zip_and_as_loose_files_has_the_same_probability(outcome: Outcome) -> None:
    zipped, loose = outcome.rows["sick.zip"], outcome.rows["loose"]
    assert zipped["probability_of_pathology"] == loose["probability_of_pathology"]
    assert zipped["pathology_localization"] == loose["pathology_localization"]


def test_localization_holds_the_planted_lesion(outcome: Outcome) -> None:
    row = outcome.rows["sick.zip"]
    x0, x1, y0, y1, z0, z1 = map(int, row["pathology_localization"].split(","))
    # the phantom's grid: 96 x 96 x 56 voxels of 4 x 4 x 5 mm around the origin
    x, y, z = CENTRE[0] / 4 + 47.5, CENTRE[1] / 4 + 47.5, CENTRE[2] / 5 + 27.5
    assert x0 <= x <= x1
    assert y0 <= y <= y1
    assert z0 <= z <= z1
    assert row["most_dangerous_pathology_type"] == "ground_glass"


def test_picture_shows_the_lesion_of_the_patients_left_on_the_right_and_in_its_place(
    outcome: Outcome,
) -> None:
    (picture,) = [path for name, path in outcome.maps.items() if name.startswith("sick.zip")]
    with Image.open(picture) as image:
        view = np.asarray(image.crop((_MARGIN, _TOP, _MARGIN + _VIEW, _TOP + _VIEW)), dtype=np.int16)
    red, green, blue = view[..., 0], view[..., 1], view[..., 2]
    hot = (red - blue > 50) & (green - blue > 40)  # yellow: the upper part of the fixed scale
    rows, columns = np.nonzero(hot)
    per_mm = _VIEW / (96 * 4)
    across = (columns.mean() + 0.5 - _VIEW / 2) / per_mm
    down = (rows.mean() + 0.5 - _VIEW / 2) / per_mm
    assert across == pytest.approx(CENTRE[0], abs=4)  # one voxel
    assert down == pytest.approx(CENTRE[1], abs=4)


def test_pictures_are_written_for_verdicts_and_never_for_refusals(outcome: Outcome) -> None:
    names = sorted(name.rsplit(".", 2)[0] for name in outcome.maps)
    assert names == ["healthy.zip", "loose", "sick.nii.gz", "sick.zip"]


def test_the_answer_does_not_depend_on_how_many_workers_there_are(
    outcome: Outcome, model: Path, tmp_path: Path
) -> None:
    done = batch(
        *("predict", outcome.folder / "sick.zip", "--workers", "1", "--out", tmp_path / "r.csv"), model=model
    )
    assert done.returncode == 0, done.stderr
    (row,) = table(tmp_path / "r.csv")
    before = outcome.rows["sick.zip"]
    for name in ("probability_of_pathology", "pathology_localization", "series_uid", "study_uid"):
        assert row[name] == before[name]


def test_model_that_is_not_the_one_described_ends_the_batch_with_words(
    outcome: Outcome, model: Path, tmp_path: Path
) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    done = batch("predict", outcome.folder / "sick.zip", "--out", tmp_path / "r.csv", model=tmp_path)
    assert done.returncode == 1
    assert "sha256" in done.stderr
    assert "Traceback" not in done.stderr
