"""The report as JSON and as a table row: every field of the design, in its order.

A failure carries no probability and no 0/1 anywhere, so that it can never be read as healthy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from shared.ct.passport import Passport
from shared.errors import Lang, Notice
from shared.model.analysis import DecisiveSlice, Finding, ModelInfo, Verdict
from shared.reporting.words import appearance_words, place_words, say

#: the contest's columns, then ours; the order is part of the interface
CONTEST_COLUMNS = (
    "path_to_study",
    "study_uid",
    "series_uid",
    "probability_of_pathology",
    "pathology",
    "processing_status",
    "time_of_processing",
    "most_dangerous_pathology_type",
    "pathology_localization",
)
ROW_COLUMNS = (*CONTEST_COLUMNS, "verdict", "reason_code", "reason", "model_version")


class ScanRecord(Protocol):
    """What a report needs of a scan (`shared.documents.Scan` is one)."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def patient_id(self) -> str | None: ...  # noqa: D102
    @property
    def file_name(self) -> str: ...  # noqa: D102


class AnalysisRecord(Protocol):
    """What a report needs of a finished analysis (`shared.documents.AnalysisDoc` is one)."""

    @property
    def verdict(self) -> Verdict: ...  # noqa: D102
    @property
    def probability(self) -> float | None: ...  # noqa: D102
    @property
    def threshold(self) -> float | None: ...  # noqa: D102
    @property
    def reason(self) -> Notice | None: ...  # noqa: D102
    @property
    def model(self) -> ModelInfo: ...  # noqa: D102
    @property
    def decisive_slice(self) -> DecisiveSlice | None: ...  # noqa: D102
    @property
    def findings(self) -> list[Finding]: ...  # noqa: D102
    @property
    def passport(self) -> Passport: ...  # noqa: D102
    @property
    def warnings(self) -> list[Notice]: ...  # noqa: D102
    @property
    def time_of_processing(self) -> float: ...  # noqa: D102
    @property
    def created_at(self) -> datetime: ...  # noqa: D102


def all_warnings(passport: Passport | None, warnings: Sequence[Notice]) -> list[Notice]:
    """Warnings of the reading, then of the analysis, each once."""
    out: list[Notice] = []
    for notice in [*(passport.warnings if passport else []), *warnings]:
        if notice not in out:
            out.append(notice)
    return out


def report_fields(scan: ScanRecord, analysis: AnalysisRecord, lang: Lang) -> dict[str, Any]:
    """The flat report: the contest's nine fields first, then ours.

    Parameters
    ----------
    scan, analysis
        The documents, or anything of their shape.
    lang : {"ru", "en"}
        Language of ``reason``, ``text`` and ``disclaimer``; every other value is the same in both.
    """
    judged = analysis.verdict != "no_result"
    reason = None if judged else analysis.reason or analysis.passport.refusal
    sick = analysis.verdict == "pathology"
    first = analysis.findings[0] if sick and analysis.findings else None
    model = analysis.model
    decisive = analysis.decisive_slice if judged else None
    findings = analysis.findings if judged else []
    return {
        "path_to_study": scan.file_name,
        "study_uid": analysis.passport.study_uid,
        "series_uid": analysis.passport.series_uid,
        "probability_of_pathology": analysis.probability if judged else None,
        "pathology": int(sick) if judged else None,
        "processing_status": "Success" if judged else "Failure",
        "time_of_processing": round(analysis.time_of_processing, 3),
        "most_dangerous_pathology_type": (first.appearance if first else None) or "",
        "pathology_localization": ",".join(str(v) for v in first.box_voxel) if first else "",
        "verdict": analysis.verdict,
        "reason_code": reason.code if reason else None,
        "reason": reason.words(lang) if reason else None,
        "threshold": analysis.threshold if judged else None,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "decisive_slice": decisive.model_dump(mode="json") if decisive else None,
        "findings": [finding_json(f, lang) for f in findings],
        "passport": analysis.passport.to_json(lang),
        "warnings": [
            {"code": w.code, "text": w.text(lang)} for w in all_warnings(analysis.passport, analysis.warnings)
        ],
        "created_at": analysis.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "scan_id": scan.id,
        "patient_id": scan.patient_id,
        "disclaimer": say("disclaimer", lang),
    }


def report_json(scan: ScanRecord, analysis: AnalysisRecord, lang: Lang) -> dict[str, Any]:
    """What ``GET /api/scans/{id}/report`` answers: the seed's rows and summary, then `report_fields`."""
    fields = report_fields(scan, analysis, lang)
    pathology = fields["pathology"]
    return {
        "rows": [_row(fields)],
        "summary": {"has_pathology_any": None if pathology is None else bool(pathology)},
        **fields,
    }


def report_row(scan: ScanRecord, analysis: AnalysisRecord, lang: Lang) -> dict[str, Any]:
    """One row of a table, keys in the order of `ROW_COLUMNS`."""
    return _row(report_fields(scan, analysis, lang))


def _row(fields: dict[str, Any]) -> dict[str, Any]:
    return {**{name: fields.get(name) for name in ROW_COLUMNS}, "model_version": fields["model"]["version"]}


def finding_json(finding: Finding, lang: Lang) -> dict[str, Any]:
    """A finding with its place and look in words beside the tokens."""
    place = place_words(finding.side, finding.third, finding.place, lang)
    return {
        **finding.model_dump(mode="json"),
        "text": f"{appearance_words(finding.appearance, lang)}; {place}",
    }
