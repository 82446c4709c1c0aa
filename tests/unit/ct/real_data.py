"""Finds the studies and cases beside the project; tests over them are skipped where they are absent."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def cases() -> list[Any]:
    """One parameter for each case, or a single skipped one."""
    found = sorted((DATA / "cases").glob("*/case.json"))
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"no cases in {DATA.name}/cases"))]
    return [pytest.param(path, id=path.parent.name) for path in found]


def read_case(path: Path) -> dict[str, Any]:
    """The case's description."""
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def studies() -> list[Any]:
    """One parameter (path, expected) for each study, or a single skipped one."""
    index = DATA / "studies" / "index.csv"
    if not index.exists():
        return [pytest.param(None, "", marks=pytest.mark.skip(reason=f"no {index.name} in {DATA.name}"))]
    with index.open() as lines:
        rows = list(csv.DictReader(lines))
    return [pytest.param(DATA / "studies" / r["file"], r["expected"], id=r["file"]) for r in rows]
