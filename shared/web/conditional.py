"""Conditional requests: ETag and If-Match of documents, ranges and safe names of files."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from urllib.parse import quote

from flask import Response, request
from pydantic import BaseModel
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from shared.documents import Document
from shared.errors import Problem
from shared.stores.protocols import BlobStore


def document_etag(document: Document) -> str:
    """The tag of a document: it changes with each write."""
    return f"v{document.version}"


def check_if_match(document: Document) -> None:
    """Raise `Problem` ``precondition_failed`` when the client edits a version that is not the present one."""
    if request.if_match and not request.if_match.contains(document_etag(document)):
        raise Problem("precondition_failed")


def document_response(
    body: BaseModel, document: Document, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A document's public form with its ETag. Patients' data is never kept by a cache."""
    response = Response(
        body.model_dump_json(), status=status, content_type="application/json", headers=dict(headers or {})
    )
    response.set_etag(document_etag(document))
    response.headers["Cache-Control"] = "no-store"
    return response


def content_disposition(file_name: str, *, inline: bool = False) -> str:
    """RFC 6266: an ASCII name for old clients, the real one as RFC 5987 UTF-8.

    Path separators, quotes and control characters never reach the header.
    """
    base = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    clean = "".join(c for c in base if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*').strip(" .")
    clean = clean[-150:] or "study"
    plain = unicodedata.normalize("NFKD", clean).encode("ascii", "ignore").decode().strip(" .;,%'") or "study"
    kind = "inline" if inline else "attachment"
    header = f'{kind}; filename="{plain}"'
    return header if plain == clean else f"{header}; filename*=UTF-8''{quote(clean, safe='')}"


def blob_response(
    blobs: BlobStore,
    key: str,
    *,
    content_type: str,
    etag: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Stream a blob: 304 for a known tag, 206 for one byte range, 416 outside it.

    Raises `shared.stores.protocols.BlobMissing` before the first byte.
    """
    info = blobs.info(key)
    response = Response(content_type=content_type, headers=dict(headers or {}))
    response.set_etag(etag)
    response.headers["Accept-Ranges"] = "bytes"
    if request.if_none_match.contains(etag):
        response.status_code = 304
        return response
    start, stop = 0, info.size
    # A range with a stale If-Range is answered with the whole file.
    fresh = request.if_range.etag is None or request.if_range.etag == etag
    wanted = request.range if fresh and request.if_range.date is None else None
    if wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1:
        span = wanted.range_for_length(info.size)
        if span is None:
            raise RequestedRangeNotSatisfiable(info.size)
        start, stop = span
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{info.size}"
    response.content_length = stop - start
    if request.method != "HEAD":
        response.response = blobs.open(key, start=start, length=stop - start)
    return response
