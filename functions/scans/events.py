"""Progress of a scan as server-sent events; polling the scan shows the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from functions.scans.models import ScanOut, ScanPath
from shared.documents import Scan
from shared.errors import Lang
from shared.lifecycle import live_scan
from shared.stores.protocols import DocumentStore, StoreUnavailable
from shared.web.app import ctx
from shared.web.language import request_lang

api = APIBlueprint("events", __name__, abp_tags=[Tag(name="scans", description="Studies.")])
#: states in which nothing more happens by itself
FINAL = frozenset({"needs_choice", "ready", "done", "refused", "failed"})
_STEP_S = 0.5
_HEARTBEAT_S = 10.0
#: a connection holds a thread: after this long the browser is asked to come again
_LONGEST_S = 600.0


@api.get(
    "/api/scans/<scan_id>/events",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
def events(path: ScanPath) -> Response:
    """Server-sent events: ``scan`` with the scan's JSON at each change, ``end`` when it is final."""
    context = ctx()
    scan = live_scan(context.documents, path.scan_id)
    # An EventSource connects again after the end: 204 tells it that there is nothing more to come.
    if scan.state in FINAL and request.headers.get("Last-Event-ID") == str(scan.version):
        return Response(status=204)
    return Response(
        _follow(context.documents, scan, request_lang()),
        content_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _follow(documents: DocumentStore, scan: Scan, lang: Lang) -> Iterator[str]:
    started = spoken = time.monotonic()
    yield "retry: 2000\n\n" + _event("scan", scan, lang)
    while scan.state not in FINAL and time.monotonic() - started < _LONGEST_S:
        time.sleep(_STEP_S)
        try:
            now = documents.get(Scan, scan.id)
        except StoreUnavailable:
            now = scan
        if now is None or now.deleting:
            yield "event: gone\ndata: {}\n\n"
            return
        if now.version != scan.version:
            scan, spoken = now, time.monotonic()
            yield _event("scan", scan, lang)
        elif time.monotonic() - spoken > _HEARTBEAT_S:
            spoken = time.monotonic()
            yield ": still here\n\n"
    if scan.state in FINAL:
        yield _event("end", scan, lang)


def _event(name: str, scan: Scan, lang: Lang) -> str:
    body = json.dumps(ScanOut.of(scan, lang).model_dump(mode="json"), ensure_ascii=False)
    return f"id: {scan.version}\nevent: {name}\ndata: {body}\n\n"
