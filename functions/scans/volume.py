"""The packed volume for the viewer: geometry, and gzipped blocks of int16 HU slices as they are stored."""

from __future__ import annotations

import gzip

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from functions.scans.models import BlockPath, ScanPath
from shared import keys
from shared.documents import Scan
from shared.errors import Problem
from shared.lifecycle import live_scan
from shared.stores.protocols import BlobMissing
from shared.web.app import ctx
from shared.web.conditional import blob_response

api = APIBlueprint("volume", __name__, abp_tags=[Tag(name="scans", description="Studies.")])
_BINARY = {"schema": {"type": "string", "format": "binary"}}
#: A block never changes under its tag. Private: it is a patient's image.
_FOREVER = "private, max-age=31536000, immutable"


@api.get(
    "/api/scans/<scan_id>/volume",
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
)
def geometry(path: ScanPath) -> Response:
    """Shape, spacing, affine and blocks of the volume. There as soon as the study has been read."""
    scan = live_scan(ctx().documents, path.scan_id)
    try:
        body = ctx().blobs.get(keys.volume_geometry(scan.id))
    except BlobMissing:
        raise _why_missing(scan) from None
    response = Response(body, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


@api.get(
    "/api/scans/<scan_id>/volume/<int:block>",
    responses={200: {"content": {"application/octet-stream": _BINARY}}},
)
def block(path: BlockPath) -> Response:
    """One block: slices of int16 HU, little-endian, z y x. 409 until it has been packed."""
    context = ctx()
    scan = live_scan(context.documents, path.scan_id)
    key = keys.volume_block(scan.id, path.block)
    try:
        info = context.blobs.info(key)
        headers = {"Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        if request.accept_encodings.quality("gzip") > 0:
            headers["Content-Encoding"] = "gzip"
            return blob_response(
                context.blobs, key, content_type="application/octet-stream", etag=info.etag, headers=headers
            )
        plain = Response(gzip.decompress(context.blobs.get(key)), headers=headers)
        plain.content_type = "application/octet-stream"
        plain.set_etag(f"{info.etag}-plain")
        plain.make_conditional(request)
        return plain
    except BlobMissing:
        raise _why_missing(scan, past_the_end=scan.volume_ready) from None


def _why_missing(scan: Scan, *, past_the_end: bool = False) -> Problem:
    """Which words fit a volume that is not there."""
    if past_the_end:
        return Problem("not_found")
    if scan.state == "needs_choice":
        return Problem("several_studies", n=len(scan.choices))
    if scan.reason and not scan.volume_ready:
        return Problem.of(scan.reason)
    return Problem("not_prepared")
