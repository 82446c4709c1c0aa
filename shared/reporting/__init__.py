"""What people and programs read of an analysis: JSON, key picture, PDF and table rows.

The names below load on first use, so that the JSON alone needs neither numpy nor Pillow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.reporting.pdf import report_pdf
    from shared.reporting.picture import key_picture, picture_from_blocks, png_bytes
    from shared.reporting.report import report_fields, report_json, report_row
    from shared.reporting.tables import table_csv, table_xlsx

_HOMES = {
    "key_picture": "picture",
    "picture_from_blocks": "picture",
    "png_bytes": "picture",
    "report_fields": "report",
    "report_json": "report",
    "report_pdf": "pdf",
    "report_row": "report",
    "table_csv": "tables",
    "table_xlsx": "tables",
}
__all__ = [
    "key_picture",
    "picture_from_blocks",
    "png_bytes",
    "report_fields",
    "report_json",
    "report_pdf",
    "report_row",
    "table_csv",
    "table_xlsx",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
