"""``POST /inference/predict``: a verdict without a patient. The study is temporary, nothing is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flask import Response, g, request
from flask_openapi3 import APIBlueprint, Tag

from functions.analyze.model_info import current_model
from functions.analyze.models import BlobIn, LangQuery, ReportOut
from functions.analyze.waiting import submit, wait_for
from shared import keys
from shared.context import Context
from shared.ct.passport import Passport
from shared.documents import AnalysisDoc, Scan
from shared.errors import REASONS, Lang, Notice, Problem
from shared.lifecycle import add_scan, remove_scan
from shared.reporting import report_fields
from shared.stores.protocols import BlobMissing
from shared.web.accept import accept_study, check_source
from shared.web.app import ctx
from shared.web.blob_file import BlobFile
from shared.web.problems import json_body, problem_response

api = APIBlueprint(
    "predict", __name__, abp_tags=[Tag(name="predict", description="A verdict, nothing kept.")]
)
_FILE = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}


@api.post(
    "/inference/predict",
    responses={200: ReportOut},
    openapi_extensions={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _FILE},
                "application/json": {"schema": BlobIn.model_json_schema()},
            },
        }
    },
)
def predict(query: LangQuery) -> Response:
    """Judge a study: a file, or an object that was put into the bucket under ``incoming/``.

    The answer is the report, flat. No result is a 422 problem that carries the same fields.
    """
    context = ctx()
    stores = context.stores
    scan = Scan(temporary=True, state="queued")
    try:
        _store_source(context, scan)
        add_scan(stores, scan, request_id=g.request_id, prepare=False)
        return _judge(context, scan, query.language)
    finally:
        remove_scan(stores, scan.id)


def _store_source(context: Context, scan: Scan) -> None:
    """Put the study under the scan's key, from the form or from the bucket."""
    key = keys.source(scan.id)
    if request.is_json:
        with _object(context) as (blob_key, file):
            check_source(file, context.settings)
        try:
            context.blobs.copy(blob_key, key)
        except BlobMissing:
            raise Problem("blob_not_found") from None
        scan.file_name = blob_key
        return
    with accept_study(context, lambda _: None) as study:
        context.blobs.put(key, study.file, content_type=study.content_type)
        scan.file_name, scan.size, scan.sha256 = study.file_name, study.size, study.sha256


@contextmanager
def _object(context: Context) -> Iterator[tuple[str, BinaryIO]]:
    """The object that the JSON body names, opened."""
    blob_key = json_body(BlobIn).blob_key
    limit_mb = context.settings.max_upload_mb
    try:
        if context.blobs.info(blob_key).size > limit_mb * 10**6:
            raise Problem("too_large", limit_mb=limit_mb)
        path = context.blobs.local_path(blob_key)
        with Path(path).open("rb") if path else BlobFile.opened(context.blobs, blob_key) as file:
            yield blob_key, file
    except BlobMissing:
        raise Problem("blob_not_found") from None


def _judge(context: Context, scan: Scan, lang: Lang) -> Response:
    try:
        analysis = wait_for(context, submit(context.stores, context.settings, scan, request_id=g.request_id))
    except Problem as problem:
        if REASONS[problem.code].kind != "refusal":
            raise
        analysis = _without_verdict(context, scan, problem.notice)
    fields = report_fields(scan, analysis, lang) | {"scan_id": None}
    if analysis.verdict == "no_result":
        reason = analysis.reason or analysis.passport.refusal or Notice(code="internal")
        return problem_response(reason, status=422, extra=fields)
    return Response(json.dumps(fields, ensure_ascii=False), content_type="application/json")


def _without_verdict(context: Context, scan: Scan, notice: Notice) -> AnalysisDoc:
    """The record of a study whose job ended before there was an analysis."""
    return AnalysisDoc(
        scan_id=scan.id,
        verdict="no_result",
        reason=notice,
        model=current_model(context.settings),
        passport=Passport(refusal=notice),
    )
