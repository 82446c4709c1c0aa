"""Reading CT: archive → series → geometry → hounsfield → chest → `Study` and `Passport`.

Knows no web and no store. Import what you need from here; numpy and pydicom are loaded on
first use, so that a light function can use the passport's data types alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.ct.passport import Passport
    from shared.ct.study import Series, Study, read_studies, read_study
    from shared.ct.volume import Volume

__all__ = ["Passport", "Series", "Study", "Volume", "read_studies", "read_study"]

_HOME = {
    "Passport": "passport",
    "Series": "study",
    "Study": "study",
    "Volume": "volume",
    "read_studies": "study",
    "read_study": "study",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"shared.ct.{_HOME[name]}"), name)
