"""The JSON report and the table row: order, completeness, and silence about failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import Notice
from shared.reporting import report_fields, report_json, report_row
from shared.reporting.report import CONTEST_COLUMNS, ROW_COLUMNS
from tests.unit.reporting import made

CONTEST = [
    "path_to_study",
    "study_uid",
    "series_uid",
    "probability_of_pathology",
    "pathology",
    "processing_status",
    "time_of_processing",
    "most_dangerous_pathology_type",
    "pathology_localization",
]
OURS = [
    "verdict",
    "reason_code",
    "reason",
    "threshold",
    "model",
    "decisive_slice",
    "findings",
    "passport",
    "warnings",
    "created_at",
    "scan_id",
    "patient_id",
    "disclaimer",
]


def test_report_has_every_field_of_the_design_in_its_order() -> None:
    report = report_json(made.scan(), made.document(), "en")
    assert list(report) == ["rows", "summary", *CONTEST, *OURS]
    assert json.loads(json.dumps(report)) == report


def test_row_begins_with_the_nine_contest_columns_then_verdict_reason_and_model() -> None:
    row = report_row(made.scan(), made.document(), "ru")
    assert list(row) == [*CONTEST, "verdict", "reason_code", "reason", "model_version"]
    assert list(CONTEST_COLUMNS) == CONTEST
    assert list(ROW_COLUMNS) == list(row)
    assert row["model_version"] == "0.1.0"


def test_pathology_says_probability_in_full_appearance_and_box_of_the_first_finding() -> None:
    report = report_json(made.scan(), made.document(), "en")
    assert report["probability_of_pathology"] == 0.8765432109876543
    assert report["pathology"] == 1
    assert report["processing_status"] == "Success"
    assert report["time_of_processing"] == 2.5
    assert report["most_dangerous_pathology_type"] == "solid"
    assert report["pathology_localization"] == "111,129,63,77,21,27"
    assert report["summary"] == {"has_pathology_any": True}
    assert report["findings"][0]["text"] == "solid; lung, left, middle third"
    assert report["decisive_slice"] == {"index": 24, "z_mm": -240.0, "share": 0.5}
    assert report["created_at"] == "2026-03-04T05:06:07Z"


def test_normal_is_zero_and_names_no_pathology() -> None:
    report = report_json(made.scan(), made.document(verdict="normal", probability=0.03), "ru")
    assert (report["pathology"], report["processing_status"]) == (0, "Success")
    assert report["most_dangerous_pathology_type"] == ""
    assert report["pathology_localization"] == ""
    assert report["summary"] == {"has_pathology_any": False}


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_failure_carries_no_probability_no_verdict_bit_and_no_heat_anywhere(lang: Any) -> None:
    report = report_json(made.scan(), made.refused(), lang)
    row = report["rows"][0]
    for part in (report, row):
        assert part["probability_of_pathology"] is None
        assert part["pathology"] is None
        assert part["processing_status"] == "Failure"
        assert part["verdict"] == "no_result"
        assert part["reason_code"] == "too_thick_slices"
        assert part["pathology_localization"] == part["most_dangerous_pathology_type"] == ""
    assert report["summary"] == {"has_pathology_any": None}
    assert report["findings"] == []
    assert report["decisive_slice"] is None
    assert report["threshold"] is None
    assert "0.876" not in json.dumps(report)


def test_refusal_while_reading_takes_its_reason_from_the_passport() -> None:
    passport = made.passport(refusal=Notice(code="localizer_only"))
    report = report_fields(
        made.scan(), made.refused(passport=passport).model_copy(update={"reason": None}), "en"
    )
    assert report["reason_code"] == "localizer_only"
    assert report["reason"] == "The study holds localizers only. Add the axial series"


def test_words_follow_the_language_and_nothing_else_does() -> None:
    ru = report_fields(made.scan(), made.document(), "ru")
    en = report_fields(made.scan(), made.document(), "en")
    assert ru["disclaimer"] == "Только для исследовательских целей. Не является диагнозом."
    assert en["disclaimer"] == "Research use only. Not a diagnosis."
    differing = {name for name in ru if ru[name] != en[name]}
    assert differing == {"findings", "passport", "warnings", "disclaimer"}
    assert ru["findings"][0]["text"] == "солидная плотность; лёгкое, слева, средняя треть"


def test_warnings_of_reading_and_of_analysis_stand_once_each() -> None:
    twice = [Notice(code="contrast"), Notice(code="thick_slices", params={"mm": 2.5})]
    report = report_fields(made.scan(), made.document(warnings=twice), "en")
    assert [w["code"] for w in report["warnings"]] == ["thick_slices", "contrast"]
