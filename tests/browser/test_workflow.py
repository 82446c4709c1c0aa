"""From a new patient to the report, as a doctor does it: mouse, keyboard, and what goes wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HAZE, Studies
from tests.service.harness import Service

pytestmark = pytest.mark.browser


def test_a_doctor_goes_from_a_new_patient_to_verdict_picture_and_report(page: Page, studies: Studies) -> None:
    page.goto("/patients")
    page.get_by_role("button", name="Новый пациент").first.click()
    page.get_by_label("Фамилия").fill("Иванова")
    page.get_by_label("Имя").fill("Мария")
    page.get_by_role("button", name="Завести").click()
    expect(page.get_by_role("heading", level=1, name="Иванова Мария")).to_be_visible()

    page.get_by_role("button", name="Загрузить исследование").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("До 2 ГБ на исследование")).to_be_visible()
    dialog.get_by_label("Выбрать файлы").set_input_files(studies.sick.path)
    expect(dialog.get_by_role("list")).to_contain_text("sick.zip")
    dialog.get_by_role("button", name="Загрузить", exact=True).click()
    page.get_by_role("region", name="Загрузки").get_by_role("link", name="Открыть").click()

    panel = page.get_by_role("region", name="Заключение модели")
    expect(panel).to_contain_text("Есть признаки патологии", timeout=60_000)
    expect(panel).to_contain_text("Не является диагнозом")
    expect(panel).to_contain_text(re.compile(r"выше порога на \d+ пункт"))
    picture = page.get_by_role("img", name=re.compile("снимок с теплом"))
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 600

    findings = panel.get_by_role(
        "button", name=re.compile("матовое стекло.*слева", re.IGNORECASE | re.DOTALL)
    )
    findings.first.click()
    with page.expect_download() as saved:
        panel.get_by_role("link", name="PDF").click()
    assert saved.value.path().read_bytes().startswith(b"%PDF-")
    with page.expect_download() as saved:
        panel.get_by_role("link", name="JSON").click()
    assert b'"verdict": "pathology"' in saved.value.path().read_bytes()

    page.get_by_role("link", name="Исследования", exact=True).click()
    row = page.get_by_role("row", name=re.compile("Иванова Мария"))
    expect(row).to_contain_text("Патология")


def test_a_folder_of_loose_files_is_packed_on_the_way_and_read_whole(
    page: Page, service: Service, studies: Studies
) -> None:
    patient = service.new_patient(first_name="Олег", last_name="Папкин")
    page.goto(f"/patients/{patient}")
    page.get_by_role("button", name="Загрузить исследование").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Выбрать папку").set_input_files(studies.folder.path)
    expect(dialog.get_by_role("list")).to_contain_text("loose.zip")
    expect(dialog.get_by_role("list")).to_contain_text("56 файлов")
    dialog.get_by_label("Сразу запустить анализ").uncheck()
    dialog.get_by_role("button", name="Загрузить", exact=True).click()
    page.get_by_role("region", name="Загрузки").get_by_role("link", name="Открыть").click()
    expect(page.get_by_role("heading", name="Ещё не анализировалось")).to_be_visible(timeout=60_000)
    scan = service.get(f"/api/scans?patient_id={patient}").json()["items"][0]
    assert scan["study_uid"] == studies.folder.study_uid
    assert service.scan(scan["id"])["passport"]["n_slices"] == 56

    page.get_by_role("button", name="Анализировать", exact=True).click()
    expect(page.get_by_role("region", name="Заключение модели")).to_be_visible(timeout=60_000)


def test_a_planted_lesion_of_the_left_lung_is_on_the_right_of_the_screen(
    page: Page, sick_scan: str, studies: Studies
) -> None:
    volume = studies.sick.volume
    z, y, x = np.rint(volume.index_of(np.array(HAZE.centre_lps))).astype(int)
    page.goto(f"/scans/{sick_scan}")
    expect(page.get_by_role("img", name=re.compile("снимок с теплом"))).to_be_visible()
    page.keyboard.press("h")
    slider = page.get_by_role("slider", name="Номер среза")
    slider.fill(str(z))
    expect(page.get_by_text(f"Срез {z + 1} из {volume.shape[0]}")).to_be_visible()
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    assert box["width"] == pytest.approx(box["height"], rel=0.01)
    grey = canvas.evaluate(
        """(canvas, [x, y]) => {
          const pen = canvas.getContext('2d');
          return [x, canvas.width - 1 - x].map((column) => pen.getImageData(column, y, 1, 1).data[0]);
        }""",
        [int(x), int(y)],
    )
    assert x > volume.shape[2] / 2
    assert grey[0] > grey[1] + 25


def test_keys_scroll_change_the_window_and_show_the_heat(
    page: Page, sick_scan: str, studies: Studies
) -> None:
    total = studies.sick.volume.shape[0]
    page.goto(f"/scans/{sick_scan}")
    heat = page.get_by_role("button", name="Тепло")
    expect(heat).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider")).to_be_enabled()

    def at(number: int) -> None:
        expect(page.get_by_text(f"Срез {number} из {total}", exact=True)).to_be_visible()

    page.keyboard.press("Home")
    at(total)
    page.keyboard.press("PageDown")
    at(total - 10)
    page.keyboard.press("ArrowDown")
    at(total - 11)
    page.keyboard.press("ArrowUp")
    at(total - 10)
    page.keyboard.press("End")
    at(1)
    page.locator(".stage").hover()
    page.mouse.wheel(0, -120)
    at(2)
    for key, name, level in (("1", "Лёгочное", "−600"), ("2", "Средостение", "40"), ("3", "Костное", "400")):
        page.keyboard.press(key)
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_text(re.compile(rf"^{level} / \d+ HU$"))).to_be_visible()
    expect(heat).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("h")
    expect(heat).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("d")
    expect(page.get_by_text("Срез 2 из", exact=False)).to_have_count(0)


def test_the_whole_way_can_be_walked_with_the_keyboard_alone(page: Page, studies: Studies) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    press_until(page, "Загрузить исследование")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    picker = dialog.get_by_role("combobox")
    tab_to(page, picker)
    page.keyboard.type("Клавишин Лев")
    expect(dialog.get_by_role("option", name="Новый пациент")).to_be_visible()
    expect(dialog.get_by_role("option")).to_have_count(1)
    page.keyboard.press("Enter")
    form = page.get_by_role("dialog", name="Новый пациент")
    expect(form.get_by_label("Фамилия")).to_have_value("Клавишин")
    expect(form.get_by_label("Фамилия")).to_be_focused()
    page.keyboard.press("Enter")
    expect(form).to_have_count(0)
    expect(picker).to_have_value("Клавишин Лев")

    # Listening before the key is pressed: the browser is told to hand its chooser over in good time.
    page.once("filechooser", lambda chooser: chooser.set_files(studies.healthy.path))
    tab_to(page, dialog.get_by_label("Выбрать файлы"))
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("list")).to_contain_text("healthy.zip")
    tab_to(page, dialog.get_by_role("button", name="Загрузить", exact=True))
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    link = page.get_by_role("region", name="Загрузки").get_by_role("link", name="Открыть")
    expect(link).to_be_visible()
    tab_to(page, link)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    panel = page.get_by_role("region", name="Заключение модели")
    expect(panel).to_contain_text("Признаков патологии не найдено", timeout=60_000)
    pdf = panel.get_by_role("link", name="PDF")
    tab_to(page, pdf)
    with page.expect_download() as saved:
        page.keyboard.press("Enter")
    assert saved.value.path().read_bytes().startswith(b"%PDF-")


def tab_to(page: Page, target: object, limit: int = 60) -> None:
    """Press Tab until the element has the focus, and see that the focus shows."""
    for _ in range(limit):
        if target.evaluate("node => node === document.activeElement"):  # type: ignore[attr-defined]
            ring = "node => getComputedStyle(node.closest('label.button') ?? node).outlineStyle"
            assert target.evaluate(ring) != "none"  # type: ignore[attr-defined]
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {target}")


def press_until(page: Page, name: str) -> None:
    tab_to(page, page.get_by_role("button", name=name).first)


def test_an_upload_that_is_no_archive_says_so_in_words_and_leaves_nothing(
    page: Page, service: Service, studies: Studies
) -> None:
    patient = service.new_patient(first_name="Вера", last_name="Битова")
    page.goto(f"/patients/{patient}")
    upload(page, studies.broken)
    tray = page.get_by_role("region", name="Загрузки")
    expect(tray.get_by_role("alert")).to_contain_text("Загрузите zip с файлами DICOM")
    assert service.get(f"/api/scans?patient_id={patient}").json()["total"] == 0
    expect(page.get_by_role("heading", name="Исследований пока нет")).to_be_visible()


def test_no_result_is_as_clear_as_a_verdict_and_never_green(
    page: Page, service: Service, studies: Studies
) -> None:
    patient = service.new_patient(first_name="Нина", last_name="Письмова")
    page.goto(f"/patients/{patient}")
    upload(page, studies.no_dicom)
    page.get_by_role("region", name="Загрузки").get_by_role("link", name="Открыть").click()
    status = page.get_by_role("status").filter(has_text="Нет результата")
    expect(status).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Выгрузите из PACS исходные файлы DICOM")).to_be_visible()
    expect(page.get_by_text("Это не «норма»")).to_be_visible()
    red, green, blue = map(int, re.findall(r"\d+", status.evaluate("n => getComputedStyle(n).color"))[:3])
    assert green <= max(red, blue)


def test_an_upload_with_several_studies_waits_for_the_doctors_choice(
    page: Page, service: Service, studies: Studies
) -> None:
    patient = service.new_patient(first_name="Два", last_name="Исследования")
    page.goto(f"/patients/{patient}")
    upload(page, studies.several)
    page.get_by_role("region", name="Загрузки").get_by_role("link", name="Открыть").click()
    expect(page.get_by_role("heading", name="В загрузке несколько исследований")).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("button", name=re.compile("Взять это")).first.click()
    expect(page.get_by_role("slider")).to_be_enabled(timeout=60_000)
    scan = service.get(f"/api/scans?patient_id={patient}").json()["items"][0]
    assert scan["study_uid"] in (studies.healthy.study_uid, studies.sick.study_uid)


def upload(page: Page, study: object) -> None:
    page.get_by_role("button", name="Загрузить исследование").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Выбрать файлы").set_input_files(study)  # type: ignore[arg-type]
    dialog.get_by_role("button", name="Загрузить", exact=True).click()


def test_deleting_a_patient_asks_first_and_says_what_goes(
    page: Page, service: Service, studies: Studies
) -> None:
    patient = service.new_patient(first_name="Уходит", last_name="Навсегда")
    service.upload(patient, studies.healthy.path)
    page.goto("/patients?q=Навсегда")
    button = page.get_by_role("button", name="Удалить: Навсегда Уходит")
    button.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("исследования, анализы и отчёты (1)")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    button.click()
    page.get_by_role("dialog").get_by_role("button", name="Удалить").click()
    expect(page.get_by_text("Никого не нашлось")).to_be_visible()
    assert service.get(f"/api/patients/{patient}").status_code == 404


def test_a_service_that_goes_away_is_said_calmly_and_the_page_goes_on_when_it_is_back(
    page: Page, service: Service, healthy_scan: str
) -> None:
    page.goto(f"/scans/{healthy_scan}")
    panel = page.get_by_role("region", name="Заключение модели")
    expect(panel).to_be_visible()
    gateway = service.gateway
    assert gateway is not None
    gateway.terminate()
    gateway.wait(30)
    banner = page.get_by_text("Сервис временно не отвечает")
    expect(banner).to_be_visible(timeout=30_000)
    expect(panel).to_be_visible()
    service.start_gateway()
    expect(banner).to_have_count(0, timeout=30_000)
