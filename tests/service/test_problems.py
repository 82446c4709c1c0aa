"""Whatever is wrong with a request comes back as words with a code, in the client's language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from shared.context import context_of
from shared.settings import Settings
from shared.stores.protocols import StorageFull, StoreUnavailable
from shared.web.app import make_app
from tests.service.conftest import Api, make_api

NOBODY = "01a21344-0361-7480-819b-5718257e4bcb"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/patients?limit=0", 400, "bad_request"),
        ("GET", "/api/patients?limit=201", 400, "bad_request"),
        ("GET", "/api/patients?limit=many", 400, "bad_request"),
        ("GET", "/api/patients?offset=-1", 400, "bad_request"),
        ("GET", "/api/patients?sort=secret", 400, "bad_request"),
        ("GET", "/api/scans?limit=1000", 400, "bad_request"),
        ("GET", "/api/scans?state=nonsense", 400, "bad_request"),
        ("GET", "/api/scans?verdict=maybe", 400, "bad_request"),
        ("GET", f"/api/patients/{NOBODY}", 404, "patient_not_found"),
        ("GET", "/api/patients/" + "x" * 65, 400, "bad_request"),
        ("GET", f"/api/scans/{NOBODY}", 404, "scan_not_found"),
        ("DELETE", f"/api/scans/{NOBODY}", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/file", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/volume", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/volume/0", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/events", 404, "scan_not_found"),
        ("POST", f"/api/scans/{NOBODY}/analyze", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/report", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/report.pdf", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/heatmap.png", 404, "scan_not_found"),
        ("GET", f"/api/scans/{NOBODY}/heatmap.png?slice=-1", 400, "bad_request"),
        ("GET", f"/api/reports.csv?patient_id={NOBODY}", 404, "patient_not_found"),
        ("GET", f"/api/jobs/{NOBODY}", 404, "job_not_found"),
        ("DELETE", f"/api/jobs/{NOBODY}", 404, "job_not_found"),
        ("GET", f"/api/uploads/{NOBODY}", 404, "upload_not_found"),
        ("POST", f"/api/uploads/{NOBODY}/complete", 404, "upload_not_found"),
        ("DELETE", f"/api/uploads/{NOBODY}", 404, "upload_not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/inference/nothing", 404, "not_found"),
        ("PATCH", "/api/patients", 405, "method_not_allowed"),
        ("DELETE", "/api/scans", 405, "method_not_allowed"),
        ("POST", "/api/patients", 415, "unsupported_media_type"),
        ("POST", "/api/scans", 415, "unsupported_media_type"),
        ("POST", "/inference/predict", 415, "unsupported_media_type"),
        ("POST", "/api/uploads", 415, "unsupported_media_type"),
    ],
)
def test_a_request_that_cannot_be_answered_says_why(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    answer = api.open(path, method=method)
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = json.loads(answer.data)
    assert (answer.status_code, body["code"], body["status"]) == (status, code, status), answer.text
    assert all(isinstance(body[name], str) and body[name] for name in ("type", "title", "detail"))
    assert body["request_id"] == answer.headers["X-Request-Id"]


def test_a_method_that_is_not_allowed_names_those_that_are(api: Api) -> None:
    assert set(api.patch("/api/patients").headers["Allow"].split(", ")) >= {"GET", "POST"}


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b"\xff\xfe", b""])
def test_a_body_that_is_no_json_object_is_refused(api: Api, body: bytes) -> None:
    answer = api.post("/api/patients", data=body, content_type="application/json")
    assert answer.status_code in (400, 422)
    assert answer.json["code"] in ("bad_request", "invalid_fields")


def test_a_json_body_has_a_limit(api: Api) -> None:
    answer = api.post("/api/patients", data=b" " * 1_000_001, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("query", "accepted", "word"),
    [
        ("", "", "Пациент"),
        ("", "en", "patient"),
        ("", "de, en;q=0.5", "patient"),
        ("", "de", "Пациент"),
        ("?lang=en", "ru", "patient"),
        ("?lang=ru", "en", "Пациент"),
        ("?lang=xx", "en", "patient"),
    ],
)
def test_words_come_in_the_clients_language(api: Api, query: str, accepted: str, word: str) -> None:
    headers = {"Accept-Language": accepted} if accepted else {}
    answer = api.get(f"/api/patients/{NOBODY}{query}", headers=headers)
    assert word in answer.json["detail"]


def test_a_clients_request_id_is_kept_when_it_is_harmless(api: Api) -> None:
    sent = "client-0123456789"
    assert api.get("/healthz", headers={"X-Request-Id": sent}).headers["X-Request-Id"] == sent
    for harmful in ("x", 'a"b{injected}', "z" * 65):
        assert api.get("/healthz", headers={"X-Request-Id": harmful}).headers["X-Request-Id"] != harmful


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[Flask]:
    """An app whose routes fail in ways that no route should."""
    settings = Settings(data_dir=tmp_path)
    app = make_app("broken", "Broken", settings)

    def fail(kind: str) -> str:
        raise {
            "bug": ZeroDivisionError("the patient Ivanov, born 1950"),
            "away": StoreUnavailable("mongodb://user:password@host"),
            "full": StorageFull("/data/blobs"),
        }[kind]

    app.add_url_rule("/fail/<kind>", view_func=fail)
    yield app
    context_of(settings).documents.close()


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("bug", 500, "internal"), ("away", 503, "store_unavailable"), ("full", 507, "storage_full")],
)
def test_failures_of_ours_tell_the_client_nothing_but_a_code(
    broken: Flask, kind: str, status: int, code: str
) -> None:
    answer = broken.test_client().get(f"/fail/{kind}?name=Ivanov")
    assert (answer.status_code, answer.json["code"]) == (status, code)  # type: ignore[index]
    for secret in ("Ivanov", "1950", "password", "Traceback", "/data"):
        assert secret not in answer.text


def test_logs_hold_codes_and_ids_but_no_names_and_no_query(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for api in make_api(tmp_path):
        patient = api.new_patient(last_name="Verysecretname")
        api.get("/api/patients?q=Verysecretname")
        api.put(f"/api/patients/{patient}", json={"description": "Secretwords"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line.get("event") == "request"]
    assert [line["status"] for line in requests] == [201, 200, 200]
    assert requests[-1]["patient_id"] == patient
    assert requests[-1]["route"] == "/api/patients/<patient_id>"
    assert all(line["request_id"] for line in requests)
    assert "ecret" not in json.dumps(lines)
