"""The table of many studies as CSV and XLSX. No cell can start a formula in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared.reporting.report import ROW_COLUMNS

Row = Mapping[str, Any]

#: what a spreadsheet may take for a formula (OWASP, CSV injection), full-width forms included
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: XML 1.0 has no place for these; they are of no use in a CSV either
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def safe_cell(value: Any) -> str | int | float:
    """A cell's value: numbers as they are, None as empty, text that cannot act as a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = _CONTROLS.sub("�", str(value))
    return "'" + text if text.lstrip(" ").startswith(_FORMULA_STARTS) else text


def csv_text(rows: Iterable[Row], columns: Sequence[str] = ROW_COLUMNS, *, header: bool = True) -> str:
    """Rows as CSV text (RFC 4180 quoting, lines end in LF)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([safe_cell(row.get(name)) for name in columns])
    return out.getvalue()


def table_csv(rows: Iterable[Row], columns: Sequence[str] = ROW_COLUMNS) -> bytes:
    """Rows as a CSV file in UTF-8."""
    return csv_text(rows, columns).encode("utf-8")


def table_xlsx(rows: Iterable[Row], columns: Sequence[str] = ROW_COLUMNS) -> bytes:
    """Rows as an XLSX workbook of one sheet, first line frozen and filterable."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    sheet = book.create_sheet("report")
    sheet.freeze_panes = "A2"
    for number, name in enumerate(columns, start=1):
        sheet.column_dimensions[get_column_letter(number)].width = max(14, len(name) + 2)

    def cell(value: str | int | float) -> Any:
        made = WriteOnlyCell(sheet, value=value)
        if isinstance(value, str):
            made.data_type = "s"  # never a formula, whatever it begins with
        return made

    head = [cell(name) for name in columns]
    for one in head:
        one.font = Font(bold=True)
    sheet.append(head)
    count = 1
    for row in rows:
        sheet.append([cell(safe_cell(row.get(name))) for name in columns])
        count += 1
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{count}"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
