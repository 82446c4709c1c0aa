"""Routes of the report function. Nothing here touches a source file: only what the worker stored.

What draws and prints loads at its first use (`shared.reporting` is lazy): the function starts at once.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from shared import keys, reporting
from shared.documents import AnalysisDoc, Patient, Scan
from shared.errors import Lang, Notice, Problem
from shared.lifecycle import each, live_patient, live_scan
from shared.stores.protocols import BlobMissing
from shared.web.app import ctx
from shared.web.conditional import content_disposition
from shared.web.language import request_lang

api = APIBlueprint("report", __name__, abp_tags=[Tag(name="reports", description="Reports.")])
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class ScanPath(BaseModel):
    """Which scan."""

    scan_id: str = Field(max_length=64)


class LangQuery(BaseModel):
    """Language of the words in an answer."""

    lang: str = Field("", max_length=10, description="ru or en; Accept-Language decides without it.")

    @property
    def language(self) -> Lang:
        """The language of the answer."""
        return request_lang()


class SliceQuery(LangQuery):
    """Which slice is drawn."""

    slice: int | None = Field(None, ge=0, le=100_000, description="From the feet; the decisive one without.")


class TableQuery(LangQuery):
    """Which studies are in the table."""

    patient_id: str = Field("", max_length=64, description="Only studies of this patient.")


@api.get(
    "/api/scans/<scan_id>/report",
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def report(path: ScanPath, query: LangQuery) -> Response:
    """The report as JSON: rows and summary, then every field. 409 until the scan is analysed."""
    scan, analysis = _analysed(path.scan_id)
    body = reporting.report_json(scan, analysis, query.language)
    return _tagged(json.dumps(body, ensure_ascii=False).encode(), "application/json")


@api.get("/api/scans/<scan_id>/report.pdf", responses={200: {"content": {"application/pdf": _BINARY}}})
def pdf(path: ScanPath, query: LangQuery) -> Response:
    """The report as PDF."""
    scan, analysis = _analysed(path.scan_id)
    picture = _stored_picture(scan, analysis, query.language) if analysis.has_picture else None
    patient = ctx().documents.get(Patient, scan.patient_id) if scan.patient_id else None
    name = f"{patient.last_name} {patient.first_name}" if patient else ""
    data = reporting.report_pdf(
        reporting.report_json(scan, analysis, query.language),
        lang=query.language,
        picture=picture,
        patient=name,
    )
    response = _tagged(data, "application/pdf")
    response.headers["Content-Disposition"] = content_disposition(f"report-{scan.id}.pdf", inline=True)
    return response


@api.get("/api/scans/<scan_id>/heatmap.png", responses={200: {"content": {"image/png": _BINARY}}})
def heatmap(path: ScanPath, query: SliceQuery) -> Response:
    """The key picture, or any slice with its heat. A scan without a verdict has none: 422 with words."""
    scan, analysis = _analysed(path.scan_id)
    if not analysis.has_picture:
        raise Problem.of(analysis.reason or analysis.passport.refusal or Notice(code="not_analysed"))
    if query.slice is None:
        return _tagged(_stored_picture(scan, analysis, query.language), "image/png")
    return _tagged(_slice_picture(scan, analysis, query.language, query.slice), "image/png")


@api.get("/api/reports.csv", responses={200: {"content": {"text/csv": _BINARY}}})
def csv_table(query: TableQuery) -> Response:
    """All reports, or those of one patient, as CSV."""
    data = reporting.table_csv(_rows(query))
    return _download(data, "text/csv; charset=utf-8", "reports.csv")


@api.get("/api/reports.xlsx", responses={200: {"content": {_XLSX: _BINARY}}})
def xlsx_table(query: TableQuery) -> Response:
    """The same as a workbook."""
    return _download(reporting.table_xlsx(_rows(query)), _XLSX, "reports.xlsx")


def _analysed(scan_id: str) -> tuple[Scan, AnalysisDoc]:
    documents = ctx().documents
    scan = live_scan(documents, scan_id)
    analysis = documents.get(AnalysisDoc, scan.analysis_id) if scan.analysis_id else None
    if analysis is None:
        raise Problem("not_analysed")
    return scan, analysis


def _stored_picture(scan: Scan, analysis: AnalysisDoc, lang: Lang) -> bytes:
    try:
        return ctx().blobs.get(keys.heatmap(scan.id, analysis.id, lang))
    except BlobMissing:
        raise Problem("blob_not_found") from None


def _slice_picture(scan: Scan, analysis: AnalysisDoc, lang: Lang, index: int) -> bytes:
    """Drawn from the viewer's blocks, which a preparation may still be packing."""
    from shared.reporting import evidence_file

    blobs = ctx().blobs
    try:
        geometry = json.loads(blobs.get(keys.volume_geometry(scan.id)))
        if index >= geometry["shape"][0]:
            raise Problem("bad_request", what=f"slice {index} of {geometry['shape'][0]}")
        picture = reporting.picture_from_blocks(
            geometry,
            lambda block: blobs.get(keys.volume_block(scan.id, block)),
            evidence_file.unpack(blobs.get(keys.evidence(scan.id, analysis.id))),
            analysis,
            lang=lang,
            index=index,
        )
    except BlobMissing:
        raise Problem("not_prepared") from None
    return reporting.png_bytes(picture)


def _rows(query: TableQuery) -> list[dict[str, Any]]:
    """A row per analysed scan, oldest first."""
    documents = ctx().documents
    where: dict[str, Any] = {"deleting": False, "temporary": False}
    if query.patient_id:
        live_patient(documents, query.patient_id)
        where["patient_id"] = query.patient_id
    rows = []
    for scan in sorted(each(documents, Scan, where), key=lambda scan: (scan.created_at, scan.id)):
        analysis = documents.get(AnalysisDoc, scan.analysis_id) if scan.analysis_id else None
        if analysis is not None:
            rows.append(reporting.report_row(scan, analysis, query.language))
    return rows


def _tagged(data: bytes, content_type: str) -> Response:
    """Bytes that change only with the analysis: the client asks again, and mostly hears 304."""
    response = Response(data, content_type=content_type)
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def _download(data: bytes, content_type: str, name: str) -> Response:
    headers = {"Content-Disposition": content_disposition(name)}
    return Response(data, content_type=content_type, headers=headers)
