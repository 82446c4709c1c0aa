"""``Idempotency-Key``: a second identical POST answers as the first did, and does nothing."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Response, request

from shared.documents import Remembered, utc_now
from shared.errors import Problem
from shared.stores.protocols import DocumentStore, Duplicate

#: how long an answer is remembered
_KEPT = timedelta(hours=24)
#: how long a request that never finished blocks its key (its process may have died)
_CLAIMED = timedelta(minutes=10)
#: how long the second of two simultaneous requests waits for the first, seconds
_WAIT_S = 30.0


def once(documents: DocumentStore, fingerprint: str, make: Callable[[], tuple[Response, str]]) -> Response:
    """Run ``make`` unless this request's key has been answered before.

    Parameters
    ----------
    fingerprint
        What makes two requests the same: any text over the parsed request.
    make
        Does the work and answers the response (JSON) and the id of the patient or scan that it is about:
        the memory of an answer goes when that document goes.

    Raises
    ------
    Problem
        ``idempotency_mismatch`` when the key came with another request; ``conflict`` while the first one
        is still at work.
    """
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return make()[0]
    name = hashlib.sha256(f"{request.method} {request.path.rstrip('/')}\n{key}".encode()).hexdigest()
    wanted = hashlib.sha256(fingerprint.encode()).hexdigest()
    claim = Remembered(id=name, request_hash=wanted, expires_at=utc_now() + _CLAIMED)
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            documents.insert(claim)
            break
        except Duplicate:
            known = documents.get(Remembered, name)
        if known is None:
            continue
        if known.expires_at < utc_now():
            documents.delete(Remembered, name)
            continue
        if known.request_hash != wanted:
            raise Problem("idempotency_mismatch")
        if known.status:
            return _replay(known)
        if time.monotonic() > deadline:
            raise Problem("conflict")
        time.sleep(0.1)
    try:
        response, subject = make()
    except BaseException:
        documents.delete(Remembered, name)
        raise
    claim.status = response.status_code
    claim.body = {"json": response.get_json(), "headers": _kept_headers(response)}
    claim.subject_id = subject
    claim.expires_at = utc_now() + _KEPT
    documents.replace(claim)
    return response


def fingerprint_of(*values: Any) -> str:
    """A stable text over JSON-able values."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)


def _kept_headers(response: Response) -> dict[str, str]:
    names = ("Location", "ETag", "Preference-Applied", "Cache-Control")
    return {name: response.headers[name] for name in names if name in response.headers}


def _replay(known: Remembered) -> Response:
    headers = {**known.body["headers"], "Idempotent-Replayed": "true"}
    body = json.dumps(known.body["json"], ensure_ascii=False)
    return Response(body, status=known.status, content_type="application/json", headers=headers)
