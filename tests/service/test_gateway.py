"""The embedded router: each path reaches its function, one document describes all, the page is guarded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from openapi_spec_validator import validate
from werkzeug.test import Client

from localstack.gateway import create_apps, create_gateway, merged_openapi
from localstack.openapi import write_docs
from localstack.routes import ROUTES, Function, function_of
from shared.context import context_of
from shared.settings import Settings
from tests.service.conftest import Api

#: the design's table of paths
PATHS: dict[Function, set[str]] = {
    "patients": {"/api/patients", "/api/patients/{patient_id}"},
    "scans": {
        "/api/limits",
        "/api/scans",
        "/api/scans/{scan_id}",
        "/api/scans/{scan_id}/file",
        "/api/scans/{scan_id}/choose",
        "/api/scans/{scan_id}/volume",
        "/api/scans/{scan_id}/volume/{block}",
        "/api/scans/{scan_id}/events",
        "/api/uploads",
        "/api/uploads/{upload_id}",
        "/api/uploads/{upload_id}/parts/{number}",
        "/api/uploads/{upload_id}/complete",
    },
    "analyze": {"/api/scans/{scan_id}/analyze", "/api/jobs/{job_id}", "/inference/predict"},
    "report": {
        "/api/scans/{scan_id}/report",
        "/api/scans/{scan_id}/report.pdf",
        "/api/scans/{scan_id}/heatmap.png",
        "/api/reports.csv",
        "/api/reports.xlsx",
    },
}


@pytest.mark.parametrize("name", get_args(Function))
def test_each_function_describes_exactly_the_paths_that_the_table_gives_it(name: Function) -> None:
    document = create_apps(Settings())[name].api_doc
    assert set(document["paths"]) == PATHS[name]
    for path in document["paths"]:
        concrete = re.sub(r"\{\w+\}", "7", path)
        assert function_of(concrete) == name, path
        assert function_of(concrete + "/") == name, path


def test_every_route_of_the_table_is_used() -> None:
    paths = [re.sub(r"\{\w+\}", "7", path) for paths in PATHS.values() for path in paths]
    for route in ROUTES:
        assert any(route.matches(path) for path in paths), route.pattern


@pytest.mark.parametrize(
    "path", ["/", "/scans/7", "/api", "/api/other", "/inference", "/api/patientsx", "/docs"]
)
def test_other_paths_belong_to_no_function(path: str) -> None:
    assert function_of(path) is None


def test_the_merged_document_is_valid_openapi_and_names_every_operation_once() -> None:
    document = merged_openapi(create_apps(Settings()))
    validate(json.loads(json.dumps(document)))
    assert set(document["paths"]) == set().union(*PATHS.values())
    operations = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method in ("get", "put", "post", "delete")
    ]
    assert len(operations) == len(set(operations))


def test_the_docs_page_needs_nothing_from_elsewhere(api: Api, tmp_path: Path) -> None:
    page = api.get("/docs")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page.text)
    links = re.findall(r"""(?:src|href)="(/[^"]+)\"""", page.text)
    assert len(links) == 3
    for link in links:
        assert api.get(link).status_code == 200
    assert set(api.get("/openapi.json").json["paths"]) == set().union(*PATHS.values())
    write_docs(tmp_path)
    for link in (*links, "/openapi.json", "/docs/index.html"):
        assert (tmp_path / link.removeprefix("/")).stat().st_size > 50, link


def test_double_and_trailing_slashes_are_accepted(api: Api) -> None:
    # not absolute URLs for the client's sake: a base address with a slash gives such paths
    for path in ("/api/patients/", "/api//patients", "/api/scans/", "//api/patients"):
        answer = api.open(environ_overrides={"PATH_INFO": path})
        assert answer.status_code == 200, path
        assert answer.json["items"] == []


def test_readiness_and_metrics_speak_for_all_functions(api: Api, model_dir: Path) -> None:
    api.new_patient()
    metrics = api.get("/metrics").text
    assert re.search(
        r'ct_http_requests_total\{function="patients",method="POST",route="/api/patients"', metrics
    )
    assert "ct_jobs_live 0.0" in metrics
    assert api.get("/healthz").json["status"] == "ok"


def test_a_service_without_a_model_says_that_it_is_not_ready(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model_dir=str(tmp_path / "none"))
    answer = Client(create_gateway(settings)).get("/readyz")
    assert (answer.status_code, json.loads(answer.data)["code"]) == (503, "model_unavailable")
    context_of(settings).documents.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Client]:
    """A gateway with a built page."""
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<!doctype html><title>page</title>")
    (dist / "assets" / "index-abc123.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    settings = Settings(data_dir=tmp_path / "data", s3_public_endpoint="https://blobs.example")
    yield Client(create_gateway(settings, dist))
    context_of(settings).documents.close()


def test_the_page_answers_its_own_addresses_and_hashed_files_are_kept_for_ever(page: Client) -> None:
    for path in ("/", "/patients", "/scans/01a2", "/scans/x/y"):
        answer = page.get(path, buffered=True)
        assert (answer.status_code, answer.text) == (200, "<!doctype html><title>page</title>")
        assert answer.headers["Cache-Control"] == "no-cache"
    asset = page.get("/assets/index-abc123.js", buffered=True)
    assert "immutable" in asset.headers["Cache-Control"]
    assert page.get("/assets/gone-0.js", buffered=True).status_code == 404
    assert page.get("/api/gone", buffered=True).status_code == 404


def test_the_page_may_load_and_reach_only_what_it_needs(page: Client) -> None:
    policy = page.get("/", buffered=True).headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "connect-src 'self' https://blobs.example;" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt"])
def test_no_path_leads_out_of_the_pages_folder(page: Client, path: str) -> None:
    assert "secret" not in page.get(path, buffered=True).text
