"""CSV and XLSX: what a spreadsheet and a program read back."""

from __future__ import annotations

import csv
import io

import pytest
from openpyxl import load_workbook

from shared.reporting import report_row, table_csv, table_xlsx
from shared.reporting.report import ROW_COLUMNS
from shared.reporting.tables import safe_cell
from tests.unit.reporting import made

HOSTILE = [
    "=1+1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =cmd|' /C calc'!A0",
    "＝1+1",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_of_either_table_begins_like_a_formula(text: str) -> None:
    row = {**report_row(made.scan(), made.document(), "ru"), "path_to_study": text, "reason": text}
    cells = list(csv.reader(io.StringIO(table_csv([row]).decode("utf-8"), newline="")))[1]
    sheet = load_workbook(io.BytesIO(table_xlsx([row]))).active
    assert sheet is not None
    for cell in (cells[0], sheet["A2"].value, sheet["L2"].value):
        assert str(cell).startswith("'")
    assert sheet["A2"].data_type == "s"


def test_numbers_stay_numbers_and_a_failure_stays_empty() -> None:
    rows = [report_row(made.scan(), d, "ru") for d in (made.document(), made.refused())]
    good, bad = csv.DictReader(io.StringIO(table_csv(rows).decode("utf-8"), newline=""))
    assert float(good["probability_of_pathology"]) == 0.8765432109876543
    assert good["pathology"] == "1"
    assert bad["probability_of_pathology"] == bad["pathology"] == ""
    assert bad["processing_status"] == "Failure"
    sheet = load_workbook(io.BytesIO(table_xlsx(rows))).active
    assert sheet is not None
    assert [c.value for c in sheet[1]] == list(ROW_COLUMNS)
    assert sheet["D2"].value == pytest.approx(0.8765432109876543)
    assert sheet["E2"].value == 1
    assert not sheet["D3"].value
    assert not sheet["E3"].value


def test_cyrillic_commas_quotes_and_line_breaks_survive_a_round_trip() -> None:
    row = {"path_to_study": 'папка, "1"\nстрока', "reason": "Нет"}
    (back,) = csv.DictReader(io.StringIO(table_csv([row]).decode("utf-8"), newline=""))
    assert back["path_to_study"] == row["path_to_study"]


def test_control_characters_and_broken_names_do_not_break_the_workbook() -> None:
    row = {"path_to_study": "a\x00b\x1b\udcff", "reason": "\x07"}
    sheet = load_workbook(io.BytesIO(table_xlsx([row]))).active
    assert sheet is not None
    assert sheet["A2"].value == "a�b��"
    assert table_csv([row]).decode("utf-8").count("�") == 4


def test_negative_numbers_are_not_text() -> None:
    assert safe_cell(-5) == -5
    assert safe_cell(True) == 1
    assert safe_cell(None) == ""
