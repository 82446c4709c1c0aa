"""The router sends every path to its function, and answers in words where it answers itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localstack.gateway import page_csp
from localstack.routes import ROUTES
from shared.errors import Lang, Notice
from shared.settings import Settings
from shared.web.docs import CSP as DOCS_CSP
from tests.router import START, running_nginx
from tests.servers import free_ports
from tests.unit.nginx.conftest import FUNCTIONS, MAX_UPLOAD_MB, Ask, asker

CONF = START.with_name("nginx.conf").read_text(encoding="utf-8")

PATHS = {
    "/api/patients": "patients",
    "/api/patients/": "patients",
    "/api/patients?q=x&limit=5": "patients",
    "/api/patients/1": "patients",
    "/api/scans": "scans",
    "/api/scans/": "scans",
    "/api/scans/1": "scans",
    "/api/scans/1/file": "scans",
    "/api/scans/1/volume": "scans",
    "/api/scans/1/volume/0": "scans",
    "/api/scans/1/events": "scans",
    "/api/scans/1/analyze": "analyze",
    "/api/scans/1/analyze/": "analyze",
    "/api/scans/1/analyze?lang=en": "analyze",
    "/api/scans/1/heatmap.png?slice=3": "report",
    "/api/scans/1/report": "report",
    "/api/scans/1/report.pdf": "report",
    "/api/reports.csv": "report",
    "/api/reports.xlsx?patient_id=1": "report",
    "/api/uploads": "scans",
    "/api/uploads/1/parts/2": "scans",
    "/api/uploads/1/complete": "scans",
    "/api/limits": "scans",
    "/api/jobs/1": "analyze",
    "/inference/predict": "analyze",
    "//api//patients": "patients",
}


@pytest.mark.parametrize(("path", "function"), PATHS.items())
def test_a_path_reaches_its_function(ask: Ask, path: str, function: str) -> None:
    answer = ask("GET", path)
    assert answer.status == 200
    assert answer.json()["function"] == function


def test_the_map_is_the_table_of_routes() -> None:
    table = CONF.split("map $uri $function {")[1].split("}")[0]
    rows = re.findall(r"^\s+~(\S+)\s+(\w+);", table, re.MULTILINE)
    own = (r"^/readyz$", "analyze")
    assert [row for row in rows if row != own] == [(route.pattern, route.function) for route in ROUTES]


def test_every_function_has_an_upstream() -> None:
    for name in FUNCTIONS:
        assert re.search(rf"^\s+{name}\s+\$\{{CT_UPSTREAM_{name.upper()}\}};", CONF, re.MULTILINE)


@pytest.mark.parametrize("path", ["/api/nothing", "/api", "/inference/other", "/api/scansx"])
def test_an_unknown_api_path_is_a_problem_and_never_the_page(ask: Ask, path: str) -> None:
    answer = ask("GET", path, headers={"Accept-Language": "en"})
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"
    assert answer.json()["detail"] == Notice(code="not_found").words("en")


@pytest.mark.parametrize("path", ["/", "/patients", "/scans/0192/", "/settings"])
def test_any_other_path_is_the_page(ask: Ask, path: str) -> None:
    answer = ask("GET", path)
    assert (answer.status, answer.body) == (200, b"<!doctype html>the page")
    assert answer.headers["Cache-Control"] == "no-cache"


def test_page_and_docs_carry_the_same_security_policy_as_the_embedded_gateway(ask: Ask) -> None:
    page = ask("GET", "/").headers
    assert re.sub(r"\s+;", ";", page["Content-Security-Policy"]) == page_csp(Settings())
    assert page["X-Frame-Options"] == "DENY"
    assert page["Referrer-Policy"] == "no-referrer"
    assert ask("GET", "/docs").headers["Content-Security-Policy"] == DOCS_CSP


def test_assets_are_cached_for_good_and_a_missing_one_is_not_the_page(ask: Ask) -> None:
    found = ask("GET", "/assets/app-abc123.js")
    assert "immutable" in found.headers["Cache-Control"]
    assert found.headers["Content-Type"] in ("application/javascript", "text/javascript")
    assert ask("GET", "/assets/app-old.js").status == 404


def test_docs_and_openapi_are_files_of_the_router(ask: Ask) -> None:
    assert ask("GET", "/docs").body == b"the docs"
    assert ask("GET", "/openapi.json").headers["Content-Type"] == "application/json"
    assert ask("GET", "/healthz").json() == {"status": "ok", "function": "router"}
    assert ask("GET", "/metrics").status == 404


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_an_upload_over_the_limit_is_413_in_words(ask: Ask, lang: Lang) -> None:
    body = b"x" * (MAX_UPLOAD_MB * 1024 * 1024 + 1)
    answer = ask("POST", "/api/scans", body, {"Accept-Language": lang})
    assert answer.status == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "too_large"
    assert problem["status"] == 413
    assert problem["detail"] == Notice(code="too_large", params={"limit_mb": MAX_UPLOAD_MB}).words(lang)
    assert problem["title"] == Notice(code="too_large", params={"limit_mb": MAX_UPLOAD_MB}).text(lang)
    assert problem["request_id"] == answer.headers["X-Request-Id"]


def test_an_upload_of_exactly_the_limit_passes_with_its_form_around_it(ask: Ask) -> None:
    """The setting counts 10^6 bytes of file: the function is the exact judge, nginx only the lid."""
    body = b"x" * (MAX_UPLOAD_MB * 1_000_000 + 2000)
    answer = ask("POST", "/api/scans", body)
    assert (answer.status, answer.json()["received"]) == (200, len(body))


def test_an_upload_without_a_length_passes(ask: Ask) -> None:
    answer = ask("PUT", "/api/uploads/1/parts/1", iter([b"a" * 1000, b"b" * 1000]))
    assert (answer.status, answer.json()["received"]) == (200, 2000)


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_a_function_that_is_down_is_503_in_words_and_the_others_go_on(tmp_path: Path, lang: Lang) -> None:
    down = dict(zip(FUNCTIONS, free_ports(len(FUNCTIONS)), strict=True))
    with running_nginx(tmp_path, down) as port:
        answer = asker(port)("GET", f"/api/patients?lang={lang}")
        assert asker(port)("GET", "/healthz").status == 200
    assert answer.status == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"] == Notice(code="service_unavailable").words(lang)


def test_a_request_that_is_no_http_is_a_problem_in_words(ask: Ask) -> None:
    answer = ask("GET", "/api/patients?lang=en", headers={"Host": "a/b"})
    assert answer.status == 400
    assert answer.json()["detail"] == Notice(code="bad_request", params={"what": "HTTP"}).words("en")


@pytest.mark.parametrize(
    ("path", "accept", "lang"),
    [
        ("/api/nothing", "", "ru"),
        ("/api/nothing", "en-GB,en;q=0.9", "en"),
        ("/api/nothing", "de-DE, en;q=0.5", "en"),
        ("/api/nothing", "ru-RU,ru;q=0.9,en;q=0.8", "ru"),
        ("/api/nothing", "fr, de", "ru"),
        ("/api/nothing?lang=en", "ru", "en"),
        ("/api/nothing?lang=ru", "en", "ru"),
        ("/api/nothing?lang=xx", "en", "en"),
    ],
)
def test_words_come_in_the_language_asked_for(ask: Ask, path: str, accept: str, lang: Lang) -> None:
    answer = ask("GET", path, headers={"Accept-Language": accept} if accept else {})
    assert answer.json()["detail"] == Notice(code="not_found").words(lang)


def test_a_request_id_is_kept_or_made(ask: Ask) -> None:
    kept = ask("GET", "/api/patients", headers={"X-Request-Id": "abc-12345"}).json()["headers"]
    assert kept["X-Request-Id"] == "abc-12345"
    made = ask("GET", "/api/patients", headers={"X-Request-Id": "no spaces please"}).json()["headers"]
    assert re.fullmatch(r"[0-9a-f]{32}", made["X-Request-Id"])
