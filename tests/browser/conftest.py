"""A real Chromium before a real service over phantoms; skipped visibly where there is no Chromium.

Every page watches itself: a test fails when a request leaves the origin, a script throws, or the
Content-Security-Policy stops something.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.phantoms import Lesion, Truth, write_study
from tests.servers import REPO
from tests.service.harness import Service, running
from tests.unit.model.tiny import write_model

DIST = REPO / "frontend" / "dist" / "index.html"
AXE = REPO / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
#: what a headless browser would fetch for itself, far from the page
QUIET = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
]
#: haze in the left lung (LPS: x grows to the left): the tiny test model answers to haze
HAZE = Lesion("ground_glass", (70.0, 0.0, 20.0), 30.0)

expect.set_options(timeout=20_000)


@dataclass(frozen=True)
class Studies:
    """Phantoms on disk, made once."""

    healthy: Truth
    sick: Truth
    folder: Truth
    several: Path
    no_dicom: Path
    broken: Path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CT_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium (Debian: apt install chromium, or set CT_TEST_CHROMIUM)")
    if not DIST.exists():
        pytest.skip("the page is not built (npm run build in frontend)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("browser")
    write_model(folder / "model")
    with running(folder, {"model_dir": str(folder / "model"), "threads": 1, "poll_s": 0.1}) as service:
        yield service


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    folder = tmp_path_factory.mktemp("studies")
    healthy = write_study(folder / "healthy.zip", name="healthy")
    sick = write_study(folder / "sick.zip", name="sick", lesions=[HAZE], seed=2)
    loose = write_study(folder / "loose", name="loose", lesions=[HAZE], seed=2)
    several = folder / "several.zip"
    with zipfile.ZipFile(several, "w") as out:
        for truth in (healthy, sick):
            with zipfile.ZipFile(truth.path) as one:
                for number, name in enumerate(one.namelist()):
                    out.writestr(f"{truth.path.stem}/{number:04d}", one.read(name))
    no_dicom = folder / "letters.zip"
    with zipfile.ZipFile(no_dicom, "w") as out:
        out.writestr("letter.txt", "no image here")
    broken = folder / "broken.zip"
    broken.write_bytes(b"this is no archive at all" * 40)
    return Studies(healthy, sick, loose, several, no_dicom, broken)


@pytest.fixture
def page(chromium: Browser, service: Service) -> Iterator[Page]:
    context = chromium.new_context(
        base_url=service.url, viewport={"width": 1366, "height": 768}, locale="ru-RU", accept_downloads=True
    )
    page = context.new_page()
    trouble: list[str] = []
    page.on("request", lambda request: _watch_origin(request, service.url, trouble))
    page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    page.on("console", lambda message: _watch_console(message, trouble))
    yield page
    context.close()
    assert trouble == []


def _watch_origin(request: Request, origin: str, trouble: list[str]) -> None:
    if not request.url.startswith((origin + "/", "data:", "blob:")):
        trouble.append(f"left the origin: {request.url}")


def _watch_console(message: ConsoleMessage, trouble: list[str]) -> None:
    # An answer with an error status shows as a console line of the browser itself: tests look at those.
    if message.type == "error" and "Failed to load resource" not in message.text:
        trouble.append(f"console: {message.text}")


def analysed(service: Service, study: Path, **patient: Any) -> str:
    """Upload and analyse over REST; the scan's id. For tests that begin at a finished study."""
    scan_id = str(service.upload(service.new_patient(**patient), study)["id"])
    service.wait_for_state(scan_id, "ready")
    headers = {"Prefer": "respond-async", "Accept": "application/json"}
    answer = service.post(f"/api/scans/{scan_id}/analyze", headers=headers)
    assert answer.status_code == 202, answer.text
    service.wait_for_state(scan_id, "done")
    return scan_id


@pytest.fixture(scope="session")
def sick_scan(service: Service, studies: Studies) -> str:
    return analysed(service, studies.sick.path, first_name="Пётр", last_name="Кузнецов")


@pytest.fixture(scope="session")
def healthy_scan(service: Service, studies: Studies) -> str:
    return analysed(service, studies.healthy.path, first_name="Анна", last_name="Смирнова")
