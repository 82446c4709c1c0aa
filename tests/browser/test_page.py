"""The page itself: languages, themes, accessibility, texts that stay texts, first run."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import AXE
from tests.service.harness import Service

pytestmark = pytest.mark.browser


def test_language_and_theme_are_switched_at_once_and_remembered(page: Page, sick_scan: str) -> None:
    page.goto(f"/scans/{sick_scan}")
    expect(page.get_by_text("Есть признаки патологии")).to_be_visible()
    dark = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.get_by_role("button", name="English").click()
    page.get_by_role("button", name="Light theme").click()
    expect(page.get_by_text("There are signs of pathology")).to_be_visible()
    # words that the service makes change too
    expect(page.get_by_text("Research use only. Not a diagnosis.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("ground glass", re.IGNORECASE)).first).to_be_visible()
    page.reload()
    expect(page.get_by_text("There are signs of pathology")).to_be_visible()
    html = page.locator("html")
    expect(html).to_have_attribute("lang", "en")
    expect(html).to_have_attribute("data-theme", "light")
    assert page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") != dark


@pytest.mark.parametrize(("theme", "lang"), [("dark", "ru"), ("light", "en")])
def test_axe_finds_nothing_serious_on_any_page(
    page: Page, service: Service, sick_scan: str, healthy_scan: str, theme: str, lang: str
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed (npm ci in frontend)")
    page.add_init_script(
        f"localStorage.setItem('ct.theme', '{theme}'); localStorage.setItem('ct.lang', '{lang}')"
    )
    patient = service.scan(sick_scan)["patient_id"]
    findings: list[str] = []
    for path in ("/", "/patients", f"/patients/{patient}", f"/scans/{sick_scan}", "/settings", "/nowhere"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        findings += serious(page, path)
    page.goto(f"/scans/{healthy_scan}")
    page.get_by_role("img", name=re.compile("снимок с теплом|picture with heat")).wait_for()
    findings += serious(page, "a normal study")
    page.goto("/patients")
    page.locator("button.primary").click()
    page.get_by_role("dialog").wait_for()
    findings += serious(page, "the patient's form")
    page.keyboard.press("Escape")
    page.goto("/")
    page.locator("button.primary").click()
    page.get_by_role("dialog").get_by_role("combobox").click()
    page.get_by_role("dialog").get_by_role("option").first.wait_for()
    findings += serious(page, "the upload dialog")
    assert findings == []


def serious(page: Page, where: str) -> list[str]:
    """What axe finds, except minor and moderate advice."""
    # evaluate() runs beside the page's policy: a script tag would be stopped by it
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{where}: {rule['id']}: {node['html'][:160]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_names_and_notes_with_html_in_them_stay_text(page: Page, service: Service) -> None:
    name = "<img src=x onerror=alert(1)>"
    patient = service.new_patient(first_name="Боб", last_name=name, description="<script>alert(2)</script>")
    page.goto(f"/patients/{patient}")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} Боб")
    expect(page.get_by_text("<script>alert(2)</script>")).to_be_visible()
    page.goto("/patients")
    expect(page.get_by_role("link", name=f"{name} Боб")).to_be_visible()
    assert page.locator("main img").count() == 0


def test_the_first_run_says_what_to_do(page: Page) -> None:
    empty = {"items": [], "total": 0, "limit": 20, "offset": 0}
    page.route("**/api/scans?*", lambda route: route.fulfill(status=200, body=json.dumps(empty)))
    page.goto("/")
    expect(page.get_by_role("heading", name="Исследований пока нет")).to_be_visible()
    expect(page.get_by_text("./ct demo")).to_be_visible()


def test_filters_and_order_live_in_the_address(page: Page, sick_scan: str, healthy_scan: str) -> None:
    page.goto("/")
    page.get_by_label("Результат", exact=True).select_option("normal")
    expect(page).to_have_url(re.compile(r"\?verdict=normal$"))
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="Патология")).to_have_count(0)
    expect(rows.filter(has_text="Норма").first).to_be_visible()
    page.get_by_label("Порядок").select_option("suspicious")
    page.get_by_role("button", name="Сбросить").click()
    expect(page).to_have_url(re.compile(r"\?sort=suspicious$"))
    expect(rows.first).to_contain_text("Патология")
    page.reload()
    expect(rows.first).to_contain_text("Патология")


def test_an_unknown_address_and_a_deleted_study_lead_back(page: Page) -> None:
    page.goto("/nowhere")
    expect(page.get_by_role("heading", name="Такой страницы нет").last).to_be_visible()
    page.goto("/scans/0192f0c1-0000-7000-8000-000000000000")
    expect(page.get_by_role("alert")).to_contain_text("Исследование не найдено")


def test_the_page_is_served_with_a_strict_policy(service: Service) -> None:
    policy = service.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
