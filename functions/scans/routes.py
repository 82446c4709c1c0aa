"""Scans: list, upload, read, edit, choose, delete, download. Parse, call one shared operation, answer."""

from __future__ import annotations

from typing import Any

from flask import Response, g, jsonify
from flask_openapi3 import APIBlueprint, Tag

from functions.scans.models import (
    ChoiceIn,
    LangQuery,
    LimitsOut,
    ScanDetail,
    ScanEdit,
    ScanForm,
    ScanOut,
    ScanPath,
    ScansQuery,
    Split,
)
from shared import keys
from shared.documents import Scan
from shared.errors import Problem
from shared.lifecycle import add_scan, change, live_patient, live_scan, remove_scan, submit_prepare
from shared.stores.protocols import BlobMissing
from shared.web.accept import accept_study
from shared.web.app import ctx
from shared.web.conditional import blob_response, check_if_match, content_disposition, document_response
from shared.web.idempotency import fingerprint_of, once
from shared.web.language import request_lang
from shared.web.metrics import UPLOADED_BYTES
from shared.web.paging import Page, parse_sort

api = APIBlueprint("scans", __name__, abp_tags=[Tag(name="scans", description="Studies.")])
_SORTS = ("created_at", "updated_at", "probability_of_pathology")
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@api.get("/api/limits", responses={200: LimitsOut})
def limits() -> Response:
    """What formats, sizes and counts are accepted."""
    settings = ctx().settings
    return jsonify(
        LimitsOut(
            formats=["zip (DICOM, NIfTI)", "tar.gz", "DICOM files", "nii", "nii.gz"],
            max_upload_bytes=settings.max_upload_mb * 10**6,
            max_unpacked_bytes=settings.max_unpacked_mb * 10**6,
            max_entries=settings.max_entries,
            upload_part_bytes=settings.upload_part_mb * 10**6,
            upload_ttl_s=settings.upload_ttl_s,
        ).model_dump()
    )


@api.get("/api/scans", responses={200: Page[ScanOut]})
def list_scans(query: ScansQuery) -> Response:
    """List scans, newest first."""
    documents = ctx().documents
    where: dict[str, Any] = {"deleting": False, "temporary": False}
    where |= {name: value for name in ("patient_id", "state", "verdict") if (value := getattr(query, name))}
    sort = parse_sort(query.sort, _SORTS)
    found = documents.find(Scan, where, sort=sort, limit=query.limit, offset=query.offset)
    lang = request_lang()
    page = Page[ScanOut](
        items=[ScanOut.of(scan, lang) for scan in found],
        total=documents.count(Scan, where),
        limit=query.limit,
        offset=query.offset,
    )
    return Response(page.model_dump_json(), content_type="application/json")


@api.post(
    "/api/scans",
    responses={201: ScanDetail},
    openapi_extensions={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": ScanForm.model_json_schema()}},
        }
    },
)
def create_scan() -> Response:
    """Upload a study: checked at once, read in the background."""
    context = ctx()

    def check(fields: dict[str, str]) -> None:
        if fields.get("patient_id"):
            live_patient(context.documents, fields["patient_id"])

    with accept_study(context, check) as study:
        if not study.fields.get("patient_id"):
            raise Problem("invalid_fields", fields={"patient_id": "required"})

        def make() -> tuple[Response, str]:
            edit = ScanEdit(description=study.fields.get("description", "")[:10_000])
            scan = Scan(
                patient_id=study.fields["patient_id"],
                description=edit.description,
                file_name=study.file_name,
                content_type=study.content_type,
                size=study.size,
                sha256=study.sha256,
            )
            context.blobs.put(keys.source(scan.id), study.file, content_type=study.content_type)
            stores = context.stores
            add_scan(stores, scan, request_id=g.request_id)
            UPLOADED_BYTES.labels("scans").inc(study.size)
            where = {"Location": f"/api/scans/{scan.id}"}
            body = ScanDetail.of(scan, request_lang())
            return document_response(body, scan, status=201, headers=where), scan.id

        return once(context.documents, fingerprint_of(study.fields, study.sha256), make)


@api.get("/api/scans/<scan_id>", responses={200: ScanDetail})
def get_scan(path: ScanPath, query: LangQuery) -> Response:
    """One scan with its input passport."""
    scan = live_scan(ctx().documents, path.scan_id)
    return document_response(ScanDetail.of(scan, query.language), scan)


@api.put("/api/scans/<scan_id>", responses={200: ScanDetail})
def edit_scan(path: ScanPath, body: ScanEdit) -> Response:
    """Change the description; with If-Match only the version that was read."""

    def edit(scan: Scan) -> bool:
        check_if_match(scan)
        if scan.deleting or "description" not in body.model_fields_set:
            return False
        scan.description = body.description
        return True

    scan = change(ctx().documents, Scan, path.scan_id, edit)
    if scan is None or scan.deleting:
        raise Problem("scan_not_found")
    return document_response(ScanDetail.of(scan, request_lang()), scan)


@api.delete("/api/scans/<scan_id>", responses={204: None})
def delete_scan(path: ScanPath) -> Response:
    """Delete a scan with its analyses and files; its jobs are cancelled."""
    context = ctx()
    scan = context.documents.get(Scan, path.scan_id)
    if scan is None:
        raise Problem("scan_not_found")
    check_if_match(scan)
    remove_scan(context.stores, scan.id)
    return Response(status=204)


@api.get(
    "/api/scans/<scan_id>/file",
    responses={200: {"content": {"application/octet-stream": _BINARY}}},
)
def download(path: ScanPath) -> Response:
    """The uploaded bytes, as they came. Takes Range and If-None-Match."""
    context = ctx()
    scan = live_scan(context.documents, path.scan_id)
    headers = {
        "Content-Disposition": content_disposition(scan.file_name),
        "Cache-Control": "private, no-cache",
    }
    try:
        return blob_response(
            context.blobs,
            keys.source(scan.id),
            content_type=scan.content_type,
            etag=scan.sha256,
            headers=headers,
        )
    except BlobMissing:
        raise Problem("blob_not_found") from None


@api.put("/api/scans/<scan_id>/choose", responses={200: ScanDetail, 201: Split})
def choose(path: ScanPath, body: ChoiceIn) -> Response:
    """Say which of several studies the scan is about, or make one scan of each."""
    return _choose(path.scan_id, body)


@api.post("/api/scans/<scan_id>/choose", responses={200: ScanDetail, 201: Split})
def choose_by_post(path: ScanPath, body: ChoiceIn) -> Response:
    """The same for clients that cannot PUT."""
    return _choose(path.scan_id, body)


def _choose(scan_id: str, body: ChoiceIn) -> Response:
    scan = live_scan(ctx().documents, scan_id)
    uids = [choice.study_uid for choice in scan.choices]
    if scan.state != "needs_choice":
        raise Problem("conflict")
    if body.split:
        return _split(scan, uids)
    if body.study_uid not in uids:
        raise Problem("invalid_fields", fields={"study_uid": ", ".join(uids)})
    chosen = _pick(scan.id, body.study_uid)
    return document_response(ScanDetail.of(chosen, request_lang()), chosen)


def _pick(scan_id: str, study_uid: str) -> Scan:
    def edit(scan: Scan) -> bool:
        if scan.state != "needs_choice":
            return False
        scan.chosen_study_uid = study_uid
        scan.choices = []
        scan.state = "uploaded"
        scan.reason = None
        return True

    context = ctx()
    scan = change(context.documents, Scan, scan_id, edit)
    if scan is None or scan.chosen_study_uid != study_uid:
        raise Problem("conflict")
    submit_prepare(context.jobs, scan, request_id=g.request_id)
    return scan


def _split(scan: Scan, uids: list[str]) -> Response:
    """One more scan for each study but the first, which the scan itself becomes."""
    context = ctx()
    stores = context.stores
    copied = {"patient_id", "description", "file_name", "content_type", "size", "sha256"}
    parts: list[Scan] = []
    try:
        for uid in uids[1:]:
            part = Scan(**scan.model_dump(include=copied), chosen_study_uid=uid)
            context.blobs.copy(keys.source(scan.id), keys.source(part.id))
            parts.append(add_scan(stores, part, request_id=g.request_id))
        first = _pick(scan.id, uids[0])
    except BaseException:
        for part in parts:
            remove_scan(stores, part.id)
        raise
    lang = request_lang()
    body = Split(items=[ScanOut.of(one, lang) for one in (first, *parts)])
    return Response(body.model_dump_json(), status=201, content_type="application/json")
