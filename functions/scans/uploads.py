"""Two-step uploads: parts go straight into the object store where it gives URLs, else through here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from functions.scans.models import (
    PartOut,
    PartPath,
    ScanDetail,
    UploadIn,
    UploadOut,
    UploadPath,
    part_sizes,
)
from shared import keys
from shared.context import Context
from shared.documents import Scan, Upload, new_id, utc_now
from shared.errors import Problem, Refusal
from shared.lifecycle import add_scan, change, live_patient, live_scan, remove_upload
from shared.stores.protocols import BlobMissing, BlobStore, Duplicate
from shared.web.accept import check_source, clean_name
from shared.web.app import ctx
from shared.web.blob_file import BlobFile
from shared.web.conditional import document_response
from shared.web.idempotency import fingerprint_of, once
from shared.web.intake import digest_of, receive_body
from shared.web.language import request_lang
from shared.web.metrics import UPLOADED_BYTES

api = APIBlueprint("uploads", __name__, abp_tags=[Tag(name="uploads", description="Two-step uploads.")])
_MAX_PARTS = 10_000


@api.post("/api/uploads", responses={201: UploadOut})
def begin(body: UploadIn) -> Response:
    """Begin an upload: the answer says how many parts there are and where each goes."""
    context = ctx()
    settings = context.settings
    if body.size > settings.max_upload_mb * 10**6:
        raise Problem("too_large", limit_mb=settings.max_upload_mb)
    live_patient(context.documents, body.patient_id)

    def make() -> tuple[Response, str]:
        part_size = max(settings.upload_part_mb * 10**6, -(-body.size // _MAX_PARTS))
        upload = Upload(
            patient_id=body.patient_id,
            description=body.description,
            file_name=clean_name(body.file_name),
            size=body.size,
            part_size=part_size,
            expires_at=utc_now() + timedelta(seconds=settings.upload_ttl_s),
        )
        context.documents.insert(upload)
        where = {"Location": f"/api/uploads/{upload.id}"}
        return document_response(_out(context, upload), upload, status=201, headers=where), upload.id

    return once(context.documents, fingerprint_of(body.model_dump()), make)


@api.get("/api/uploads/<upload_id>", responses={200: UploadOut})
def show(path: UploadPath) -> Response:
    """Which parts have come: an interrupted upload goes on with the others."""
    context = ctx()
    upload = _live_upload(context, path.upload_id)
    return document_response(_out(context, upload), upload)


@api.put(
    "/api/uploads/<upload_id>/parts/<int:number>",
    responses={204: None},
    openapi_extensions={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def put_part(path: PartPath) -> Response:
    """Store one part (where the object store gives no URLs of its own)."""
    context = ctx()
    upload = _live_upload(context, path.upload_id)
    if upload.scan_id is not None:
        raise Problem("conflict")
    sizes = part_sizes(upload)
    if path.number > len(sizes):
        raise Problem("bad_request", what=f"part {path.number} of {len(sizes)}")
    wanted = sizes[path.number - 1]
    with receive_body(context.scratch, max_bytes=wanted) as received:
        if received.parts[0].size != wanted:
            raise Problem("bad_request", what=f"{received.parts[0].size} bytes, {wanted} expected")
        context.blobs.put(keys.upload_part(upload.id, path.number), received.spool)
    return Response(status=204)


@api.post("/api/uploads/<upload_id>/complete", responses={201: ScanDetail})
def complete(path: UploadPath) -> Response:
    """Join the parts, check the file and make the scan. Safe to repeat: the same scan is answered."""
    context = ctx()
    upload = _live_upload(context, path.upload_id)
    if upload.scan_id is not None and context.documents.get(Scan, upload.scan_id) is not None:
        return _scan_response(live_scan(context.documents, upload.scan_id))
    part_keys = _received_parts(context, upload)
    if None in part_keys.values():
        missing = [number for number, size in part_keys.items() if size is None]
        raise Problem("upload_incomplete", fields={"parts": ", ".join(map(str, missing[:50]))})
    upload = _claim(context, upload)
    assert upload.scan_id is not None  # noqa: S101
    source = keys.source(upload.scan_id)
    stores = context.stores
    context.blobs.compose([keys.upload_part(upload.id, number) for number in part_keys], source)
    try:
        with _opened(context.blobs, source) as file:
            content_type = check_source(file, context.settings)
            sha256 = digest_of(file)
    except Refusal:
        context.blobs.delete_prefix(keys.scan_prefix(upload.scan_id))
        remove_upload(stores, upload.id)
        raise
    scan = Scan(
        id=upload.scan_id,
        patient_id=upload.patient_id,
        description=upload.description,
        file_name=upload.file_name,
        content_type=content_type,
        size=upload.size,
        sha256=sha256,
    )
    try:
        add_scan(stores, scan, request_id=g.request_id)
    except Duplicate:
        return _scan_response(live_scan(context.documents, scan.id))
    UPLOADED_BYTES.labels("scans").inc(scan.size)
    context.blobs.delete_prefix(keys.upload_prefix(upload.id))
    return _scan_response(scan)


@api.delete("/api/uploads/<upload_id>", responses={204: None})
def abort(path: UploadPath) -> Response:
    """Give up an upload: its parts are deleted. A scan that it became stays."""
    context = ctx()
    upload = _live_upload(context, path.upload_id)
    remove_upload(context.stores, upload.id)
    return Response(status=204)


def _live_upload(context: Context, upload_id: str) -> Upload:
    upload = context.documents.get(Upload, upload_id)
    if upload is None or upload.expires_at < utc_now():
        raise Problem("upload_not_found")
    return upload


def _received_parts(context: Context, upload: Upload) -> dict[int, int | None]:
    """Size of each part that came whole, None for the others, by number in order."""
    there = {info.key: info.size for info in context.blobs.list(keys.upload_prefix(upload.id))}
    return {
        number: size if there.get(keys.upload_part(upload.id, number)) == size else None
        for number, size in enumerate(part_sizes(upload), 1)
    }


def _out(context: Context, upload: Upload) -> UploadOut:
    done = upload.scan_id is not None
    received = {} if done else _received_parts(context, upload)
    left = max(1, round((upload.expires_at - utc_now()).total_seconds()))
    parts = []
    for number, size in enumerate(part_sizes(upload), 1):
        own = f"/api/uploads/{upload.id}/parts/{number}"
        url = context.blobs.presign_put(keys.upload_part(upload.id, number), seconds=left) or own
        came = done or received[number] is not None
        parts.append(PartOut(number=number, url=url, size=size, received=came))
    known = upload.model_dump(include={"id", "file_name", "size", "part_size", "expires_at", "scan_id"})
    return UploadOut(**known, parts=parts)


def _claim(context: Context, upload: Upload) -> Upload:
    """Give the upload its scan's id, once: a repeated or simultaneous call goes on with the same."""

    def edit(fresh: Upload) -> bool:
        if fresh.scan_id is not None:
            return False
        fresh.scan_id = new_id()
        return True

    claimed = change(context.documents, Upload, upload.id, edit)
    if claimed is None:
        raise Problem("upload_not_found")
    return claimed


def _scan_response(scan: Scan) -> Response:
    where = {"Location": f"/api/scans/{scan.id}"}
    return document_response(ScanDetail.of(scan, request_lang()), scan, status=201, headers=where)


@contextmanager
def _opened(blobs: BlobStore, key: str) -> Iterator[BinaryIO]:
    """A stored blob as a seekable file, whole in no memory."""
    try:
        path = blobs.local_path(key)
        with Path(path).open("rb") if path else BlobFile.opened(blobs, key) as file:
            yield file
    except BlobMissing:
        raise Problem("upload_not_found") from None
