"""Studies without a verdict: each says why in words, and none looks healthy."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from tests.phantoms import write_study
from tests.service.harness import Service, problem
from tests.service.test_crash import answer_of

SMALL: dict[str, Any] = {"slices": 40, "spacing": (7.0, 4.0, 4.0)}
JSON = {"Accept": "application/json"}


def with_modality(modality: str) -> Callable[[Dataset, int], Dataset]:
    def edit(ds: Dataset, _: int) -> Dataset:
        ds.Modality = modality
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        return ds

    return edit


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Studies that cannot be judged, by the reason."""
    folder = tmp_path_factory.mktemp("refused")
    text = folder / "text.zip"
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("readme.txt", "no images here")
    return {
        "no_dicom": text,
        "not_ct": write_study(folder / "mr.zip", edit=with_modality("MR"), **SMALL).path,
        "too_few_slices": write_study(folder / "few.zip", slices=3).path,
    }


@pytest.mark.parametrize("code", ["no_dicom", "not_ct", "too_few_slices"])
def test_a_study_that_cannot_be_judged_says_why_everywhere(
    service: Service, refused: dict[str, Path], code: str
) -> None:
    scan = service.upload(service.new_patient(), refused[code])["id"]
    shown = service.wait_for_state(scan, "refused")
    assert (shown["reason_code"], shown["verdict"]) == (code, "no_result")
    found = service.get("/api/scans?verdict=no_result&limit=200").json()["items"]
    assert scan in [one["id"] for one in found], "the worklist's filter finds it before any analysis"
    assert shown["reason"]
    problem(service.get(f"/api/scans/{scan}/volume"), 422, code)

    answer = service.post(f"/api/scans/{scan}/analyze?lang=en")
    body = problem(answer, 422, code)
    assert body["passport"]["reason_code"] == code
    assert body["detail"] == body["passport"]["reason"]
    again = service.post(f"/api/scans/{scan}/analyze", headers=JSON)
    problem(again, 422, code)

    report = service.get(f"/api/scans/{scan}/report").json()
    assert (report["verdict"], report["reason_code"], report["processing_status"]) == (
        "no_result",
        code,
        "Failure",
    )
    assert report["probability_of_pathology"] is None
    assert report["pathology"] is None
    assert report["summary"] == {"has_pathology_any": None}
    problem(service.get(f"/api/scans/{scan}/heatmap.png"), 422, code)
    assert service.get(f"/api/scans/{scan}/report.pdf").content[:5] == b"%PDF-"
    done = service.scan(scan)
    assert (done["state"], done["verdict"], done["probability_of_pathology"]) == (
        "refused",
        "no_result",
        None,
    )


@pytest.mark.parametrize("code", ["no_dicom", "not_ct"])
def test_predict_of_such_a_study_is_a_problem_with_the_reports_fields(
    service: Service, refused: dict[str, Path], code: str
) -> None:
    with refused[code].open("rb") as file:
        answer = service.post("/inference/predict", files={"file": ("study.zip", file)})
    body = problem(answer, 422, code)
    assert (body["processing_status"], body["verdict"], body["reason_code"]) == ("Failure", "no_result", code)
    assert body["probability_of_pathology"] is None
    assert body["pathology"] is None


@pytest.fixture(scope="module")
def two_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chests in one zip."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("one", "two"):
        write_study(folder / "both" / name, name=name, patient_id=name, **SMALL)
    return Path(shutil.make_archive(str(folder / "both"), "zip", folder / "both"))


def test_of_several_studies_the_doctor_picks_one(service: Service, two_studies: Path) -> None:
    scan = service.upload(service.new_patient(), two_studies)["id"]
    path = f"/api/scans/{scan}"
    waiting = service.wait_for_state(scan, "needs_choice")
    assert [choice["n_instances"] for choice in waiting["choices"]] == [40, 40]
    uids = [choice["study_uid"] for choice in waiting["choices"]]
    problem(service.post(f"{path}/analyze"), 422, "several_studies")
    problem(service.get(f"{path}/volume"), 422, "several_studies")
    problem(service.post(f"{path}/choose", json={"study_uid": "1.2.3"}), 422, "invalid_fields")
    problem(service.post(f"{path}/choose", json={}), 422, "invalid_fields")
    chosen = service.call("PUT", f"{path}/choose", json={"study_uid": uids[1]})
    assert chosen.status_code == 200
    ready = service.wait_for_state(scan, "ready")
    assert (ready["study_uid"], ready["choices"], ready["reason_code"]) == (uids[1], [], None)
    assert service.post(f"{path}/analyze", headers=JSON).json()["study_uid"] == uids[1]
    problem(service.post(f"{path}/choose", json={"study_uid": uids[0]}), 409, "conflict")


def test_several_studies_can_become_one_scan_each(service: Service, two_studies: Path) -> None:
    patient = service.new_patient()
    scan = service.upload(patient, two_studies, description="two visits")["id"]
    uids = [one["study_uid"] for one in service.wait_for_state(scan, "needs_choice")["choices"]]
    split = service.post(f"/api/scans/{scan}/choose", json={"split": True})
    assert split.status_code == 201
    items = split.json()["items"]
    assert len(items) == 2
    assert items[0]["id"] == scan
    assert [service.wait_for_state(one["id"], "ready")["study_uid"] for one in items] == uids
    assert {one["description"] for one in items} == {"two visits"}
    assert service.get(f"/api/patients/{patient}").json()["scan_count"] == 2
    assert service.call("DELETE", f"/api/scans/{scan}").status_code == 204
    assert service.get(f"/api/scans/{items[1]['id']}/file").status_code == 200


def test_predict_of_several_studies_names_the_reason(service: Service, two_studies: Path) -> None:
    with two_studies.open("rb") as file:
        answer = service.post("/inference/predict", files={"file": ("both.zip", file)})
    assert problem(answer, 422, "several_studies")["processing_status"] == "Failure"


def test_the_same_study_in_another_order_of_files_gives_the_same_report(
    service: Service, chest: Path, tmp_path: Path
) -> None:
    shuffled = write_study(tmp_path / "study.zip", shuffle=5, **SMALL).path
    assert shuffled.read_bytes() != chest.read_bytes()
    patient = service.new_patient()
    reports, pictures = [], []
    for path in (chest, chest, shuffled):
        scan = service.upload(patient, path)["id"]
        assert service.post(f"/api/scans/{scan}/analyze").status_code == 200
        reports.append(answer_of(service.get(f"/api/scans/{scan}/report").json()))
        pictures.append(service.get(f"/api/scans/{scan}/heatmap.png").content)
    assert reports[0] == reports[1] == reports[2]
    assert pictures[0] == pictures[1] == pictures[2]
