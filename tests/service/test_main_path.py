"""The main job over HTTP, with real processes and both pairs of stores: upload, look, analyse, report."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
import requests
from PIL import Image

from shared.documents import DOCUMENTS
from tests.service.conftest import quick
from tests.service.harness import Service, padded_zip, problem, running

REPORT_FIELDS = (
    *("path_to_study", "study_uid", "series_uid", "probability_of_pathology", "pathology"),
    *("processing_status", "time_of_processing", "most_dangerous_pathology_type", "pathology_localization"),
    *("verdict", "reason_code", "reason", "threshold", "model", "decisive_slice", "findings", "passport"),
    *("warnings", "created_at", "scan_id", "patient_id", "disclaimer"),
)


def documents_left(service: Service) -> dict[str, int]:
    with service.stores() as stores:
        counts = {kind.collection: stores.documents.count(kind) for kind in DOCUMENTS}
    return {name: number for name, number in counts.items() if number}


def blobs_left(service: Service) -> list[str]:
    with service.stores() as stores:
        return [info.key for info in stores.blobs.list("") if not info.key.startswith("workers/")]


def analyse(service: Service, scan_id: str, **headers: str) -> requests.Response:
    return service.post(f"/api/scans/{scan_id}/analyze", headers=headers)


def test_a_study_goes_from_upload_to_report_and_leaves_no_trace_when_its_patient_goes(
    any_service: Service, chest: Path
) -> None:
    service = any_service
    patient = service.new_patient(last_name="Main")
    made = service.upload(patient, chest, description="first visit")
    path = f"/api/scans/{made['id']}"
    early = service.get(f"{path}/report")
    problem(early, 409, "not_analysed")

    ready = service.wait_for_state(made["id"], "ready")
    assert ready["volume_ready"]
    assert ready["passport"]["n_slices"] == 40
    assert ready["study_uid"] and ready["series_uid"]

    picture = analyse(service, made["id"])
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png"), picture.text
    assert Image.open(io.BytesIO(picture.content)).width > 400

    wanted = analyse(service, made["id"], Accept="application/json")
    body = wanted.json()
    assert (body["ok"], body["files_processed"]) == (True, 40)
    assert body["has_pathology_any"] is (body["pathology"] == 1)
    assert base64.b64decode(body["explain_heatmap_b64"]) == picture.content
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(body["explain_mask_b64"]))))
    assert mask.shape == tuple(body["passport"]["volume"]["shape"][1:])
    assert set(np.unique(mask)) <= {0, 255}

    report = service.get(f"{path}/report").json()
    assert all(name in report for name in REPORT_FIELDS)
    assert {name: body[name] for name in REPORT_FIELDS} == {name: report[name] for name in REPORT_FIELDS}
    assert report["rows"][0]["probability_of_pathology"] == report["probability_of_pathology"]
    assert report["summary"] == {"has_pathology_any": body["has_pathology_any"]}
    assert (report["scan_id"], report["patient_id"]) == (made["id"], patient)
    assert report["path_to_study"] == chest.name

    done = service.scan(made["id"])
    assert (done["state"], done["verdict"]) == ("done", report["verdict"])
    assert done["probability_of_pathology"] == report["probability_of_pathology"]
    shown = service.get(f"/api/patients/{patient}").json()
    assert (shown["scan_count"], shown["last_verdict"]) == (1, report["verdict"])
    assert service.get(f"/api/scans?verdict={report['verdict']}&patient_id={patient}").json()["total"] == 1

    heat = service.get(f"{path}/heatmap.png")
    assert heat.content == picture.content
    assert (
        service.get(f"{path}/heatmap.png", headers={"If-None-Match": heat.headers["ETag"]}).status_code == 304
    )
    english = service.get(f"{path}/heatmap.png?lang=en")
    assert english.content != picture.content
    other = service.get(f"{path}/heatmap.png?slice=0")
    assert (other.status_code, other.headers["Content-Type"]) == (200, "image/png")
    same = service.get(f"{path}/heatmap.png?slice={report['decisive_slice']['index']}")
    assert Image.open(io.BytesIO(same.content)).tobytes() == Image.open(io.BytesIO(heat.content)).tobytes()
    problem(service.get(f"{path}/heatmap.png?slice=40"), 400, "bad_request")
    pdf = service.get(f"{path}/report.pdf?lang=en")
    assert (pdf.status_code, pdf.content[:5]) == (200, b"%PDF-")

    table = service.get(f"/api/reports.csv?patient_id={patient}")
    assert table.text.splitlines()[0].startswith(
        "path_to_study,study_uid,series_uid,probability_of_pathology"
    )
    assert len(table.text.splitlines()) == 2
    assert service.get(f"/api/reports.xlsx?patient_id={patient}").content[:2] == b"PK"

    assert service.get(f"{path}/file").content == chest.read_bytes()
    assert service.call("DELETE", f"/api/patients/{patient}").status_code == 204
    problem(service.get(path), 404, "scan_not_found")
    assert not any(made["id"] in key for key in blobs_left(service))
    with service.stores() as stores:
        for kind in DOCUMENTS:
            for document in stores.documents.find(kind, limit=1000):
                assert made["id"] not in document.model_dump_json()
                assert patient not in document.model_dump_json()


def test_the_viewers_blocks_are_the_volume(service: Service, chest: Path) -> None:
    made = service.upload(service.new_patient(), chest)
    service.wait_for_state(made["id"], "ready")
    path = f"/api/scans/{made['id']}/volume"
    geometry = service.get(path).json()
    depth, rows, columns = geometry["shape"]
    assert (depth, geometry["dtype"], len(geometry["order"])) == (40, "int16", geometry["blocks"])
    planes = []
    for number in range(geometry["blocks"]):
        block = service.get(f"{path}/{number}")
        assert block.headers["Content-Encoding"] == "gzip"
        assert "immutable" in block.headers["Cache-Control"]
        planes.append(np.frombuffer(block.content, "<i2").reshape(-1, rows, columns))
        tag = {"If-None-Match": block.headers["ETag"]}
        assert service.get(f"{path}/{number}", headers=tag).status_code == 304
    volume = np.concatenate(planes)
    assert volume.shape == (depth, rows, columns)
    assert volume.min() < -900
    assert volume.max() > 100
    plain = service.get(f"{path}/0", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.content == planes[0].tobytes()
    raw = service.get(f"{path}/0", stream=True)
    assert gzip.decompress(raw.raw.read(decode_content=False)) == plain.content
    problem(service.get(f"{path}/{geometry['blocks']}"), 404, "not_found")
    assert service.call("DELETE", f"/api/scans/{made['id']}").status_code == 204


def test_a_study_in_parts_goes_to_the_addresses_that_are_given(any_service: Service, chest: Path) -> None:
    service = any_service
    data = padded_zip(chest.read_bytes(), 17_000_000)
    patient = service.new_patient()
    body = {"patient_id": patient, "size": len(data), "file_name": "Грудь.zip"}
    upload = service.post("/api/uploads", json=body).json()
    path = f"/api/uploads/{upload['id']}"
    # absolute addresses are the object store's own: nothing of the file passes through the service
    for part in upload["parts"]:
        start = (part["number"] - 1) * upload["part_size"]
        url = urljoin(service.url, part["url"])
        sent = requests.put(url, data=data[start : start + part["size"]], timeout=60)
        assert sent.ok, sent.text
    assert all(part["received"] for part in service.get(path).json()["parts"])
    made = service.post(f"{path}/complete")
    assert made.status_code == 201, made.text
    scan = made.json()
    assert (scan["size"], scan["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    back = service.get(f"/api/scans/{scan['id']}/file")
    assert back.content == data
    part = service.get(f"/api/scans/{scan['id']}/file", headers={"Range": "bytes=16999000-"})
    assert (part.status_code, part.content) == (206, data[16_999_000:])
    assert not any(upload["id"] in key for key in blobs_left(service))

    wrong = {"patient_id": patient, "size": 12}
    upload = service.post("/api/uploads", json=wrong).json()
    requests.put(urljoin(service.url, upload["parts"][0]["url"]), data=b"not a study!", timeout=60)
    problem(service.post(f"/api/uploads/{upload['id']}/complete"), 415, "not_an_archive")
    assert not any(upload["id"] in key for key in blobs_left(service))
    assert service.call("DELETE", f"/api/patients/{patient}").status_code == 204


def test_predict_gives_the_same_answer_as_analyze_and_keeps_nothing(
    any_service: Service, chest: Path
) -> None:
    service = any_service
    before = (documents_left(service), blobs_left(service))
    with chest.open("rb") as file:
        answer = service.post("/inference/predict", files={"file": ("study.zip", file)})
    assert answer.status_code == 200, answer.text
    flat = answer.json()
    assert (documents_left(service), blobs_left(service)) == before
    made = service.upload(service.new_patient(), chest)
    report = analyse(service, made["id"], Accept="application/json").json()
    differing = {"time_of_processing", "created_at", "scan_id", "patient_id"}
    for name in set(REPORT_FIELDS) - differing:
        assert flat[name] == report[name], name
    assert (flat["patient_id"], flat["scan_id"]) == (None, None)


def test_predict_takes_an_object_from_the_bucket(service: Service, chest: Path) -> None:
    key = "incoming/team/study.zip"
    with service.stores() as stores:
        stores.blobs.put(key, chest.read_bytes())
        answer = service.post("/inference/predict", json={"blob_key": key})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["processing_status"], answer.json()["path_to_study"]) == ("Success", key)
        # the client's own object is the client's
        assert stores.blobs.get(key) == chest.read_bytes()
        stores.blobs.delete(key)
    problem(service.post("/inference/predict", json={"blob_key": key}), 404, "blob_not_found")


@pytest.mark.parametrize(
    "key", ["scans/x/source", "../incoming/a", "incoming/../scans/x", "incoming/", "incoming/a//b", "", "a\0"]
)
def test_predict_takes_no_other_object(service: Service, key: str) -> None:
    problem(service.post("/inference/predict", json={"blob_key": key}), 422, "invalid_fields")


def test_an_analysis_can_be_asked_for_without_waiting(service: Service, chest: Path) -> None:
    made = service.upload(service.new_patient(), chest)
    path = f"/api/scans/{made['id']}/analyze"
    headers = {"Prefer": "respond-async"}
    asked = service.post(path, headers=headers)
    assert asked.status_code == 202
    assert asked.headers["Preference-Applied"] == "respond-async"
    job = asked.json()
    assert asked.headers["Location"] == f"/api/jobs/{job['id']}"
    assert service.post(path, headers=headers).json()["id"] == job["id"]

    def ended() -> dict[str, Any] | None:
        now = service.get(asked.headers["Location"]).json()
        assert 0 <= now["progress"] <= 1
        return dict(now) if now["state"] not in ("queued", "running") else None

    end = service.wait(ended)
    assert end is not None
    assert (end["state"], end["progress"], end["error"]) == ("done", 1.0, None)
    problem(service.call("DELETE", f"/api/jobs/{job['id']}"), 409, "job_not_cancellable")
    again = service.post(path, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["state"]) == (202, job["id"], "done")


def test_a_stored_answer_comes_at_once_and_force_makes_a_new_one(service: Service, chest: Path) -> None:
    made = service.upload(service.new_patient(), chest)
    first = analyse(service, made["id"], Accept="application/json").json()
    again = analyse(service, made["id"], Accept="application/json").json()
    assert again == first
    forced = service.post(
        f"/api/scans/{made['id']}/analyze?force=true", headers={"Accept": "application/json"}
    ).json()
    assert forced["created_at"] != first["created_at"]
    assert forced["probability_of_pathology"] == first["probability_of_pathology"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "image/png"),
        ("*/*", "image/png"),
        ("image/png", "image/png"),
        ("image/png, application/json", "image/png"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json, image/png", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
    ],
)
def test_the_answer_is_a_picture_unless_json_is_asked_for_first(
    service: Service, analysed: str, accept: str | None, kind: str
) -> None:
    answer = service.post(f"/api/scans/{analysed}/analyze", headers={"Accept": accept})  # type: ignore[dict-item]
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)


@pytest.fixture(scope="module")
def analysed(service: Service, chest: Path) -> str:
    """A scan that has been analysed."""
    made = service.upload(service.new_patient(), chest)
    assert analyse(service, made["id"]).status_code == 200
    return str(made["id"])


def test_an_analysis_can_start_with_the_upload(tmp_path: Path, model_dir: Path, chest: Path) -> None:
    with running(tmp_path, {**quick(model_dir), "analyse_on_upload": True}) as service:
        scan = service.upload(service.new_patient(), chest)["id"]
        done = service.wait_for_state(scan, "done")
        assert (done["volume_ready"], done["verdict"] is not None) == (True, True)


def test_progress_is_told_as_events_until_the_end(service: Service, chest: Path) -> None:
    made = service.upload(service.new_patient(), chest)
    states, version = [], ""
    with service.get(f"/api/scans/{made['id']}/events", stream=True, timeout=60) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("id: "):
                version = line[4:]
            if line.startswith("data: "):
                states.append(json.loads(line[6:])["state"])
    assert states[-1] == "ready"
    assert set(states) <= {"uploaded", "preparing", "ready"}
    again = service.get(f"/api/scans/{made['id']}/events", headers={"Last-Event-ID": version})
    assert again.status_code == 204
