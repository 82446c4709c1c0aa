"""The PDF: words in both languages, numbers, and what a refusal leaves out."""

from __future__ import annotations

import io
import re

import pytest
from pypdf import PdfReader

from shared.reporting import key_picture, png_bytes, report_fields, report_pdf
from tests.unit.reporting import made


@pytest.fixture(scope="module")
def picture() -> bytes:
    volume = made.volume()
    return png_bytes(key_picture(volume, made.analysis(volume)))


def read(pdf: bytes) -> tuple[str, int]:
    """All text in one line, and how many pictures there are."""
    pages = PdfReader(io.BytesIO(pdf)).pages
    text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pages))
    return text, sum(len(page.images) for page in pages)


def test_russian_report_can_be_searched_for_its_words_and_numbers(picture: bytes) -> None:
    report = report_fields(made.scan(), made.document(), "ru")
    text, pictures = read(report_pdf(report, lang="ru", picture=picture, patient="Ёлкин Щит"))
    for words in (
        "Ёлкин Щит",
        "иванов.zip",
        "Заключение: Патология",
        "0,877",
        "0,420",
        "90,0 %",
        "лёгкое, слева",
        "вне находок",
        "Толстые срезы",
        "Только для исследовательских целей. Не является диагнозом.",
        "ab" * 32,
    ):
        assert words in text
    assert pictures == 1


def test_english_report_has_no_russian_left_in_it(picture: bytes) -> None:
    scan = made.scan().model_copy(update={"file_name": "a.zip"})
    text, _ = read(report_pdf(report_fields(scan, made.document(), "en"), lang="en", picture=picture))
    assert "Verdict: Pathology" in text
    assert "Research use only. Not a diagnosis." in text
    assert not re.search("[а-яА-Я]", text)


def test_refusal_says_why_and_shows_neither_number_nor_picture(picture: bytes) -> None:
    report = report_fields(made.scan(), made.refused(), "ru")
    text, pictures = read(report_pdf(report, lang="ru", picture=picture))
    assert "Нет результата" in text
    assert "Срезы слишком редкие: 20 мм" in text
    assert "too_thick_slices" in text
    assert pictures == 0
    assert "Вероятность" not in text
    assert "0,8" not in text


def test_shares_of_findings_and_the_rest_sum_to_the_whole(picture: bytes) -> None:
    findings = [made.finding().model_copy(update={"share": share}) for share in (0.5, 0.25, 0.125)]
    text, _ = read(report_pdf(report_fields(made.scan(), made.document(findings=findings), "en"), lang="en"))
    shares = [float(s) for s in re.findall(r"(\d+\.\d) %", text)]
    assert shares == [50.0, 25.0, 12.5, 12.5]
    assert sum(shares) == 100.0


def test_same_report_is_the_same_bytes(picture: bytes) -> None:
    report = report_fields(made.scan(), made.document(), "ru")
    assert report_pdf(report, picture=picture) == report_pdf(report, picture=picture)


def test_long_hostile_and_empty_texts_are_laid_out(picture: bytes) -> None:
    scan = made.scan().model_copy(update={"file_name": "оч" * 4000 + "😀<b>\x00‮"})
    findings = [made.finding()] * 60
    passport = made.passport(manufacturer="M" * 300, volume=None, coverage=None)
    report = report_fields(scan, made.document(findings=findings, passport=passport), "ru")
    text, _ = read(report_pdf(report, picture=picture, patient="Длинный " * 300))
    assert "Модель" in text
