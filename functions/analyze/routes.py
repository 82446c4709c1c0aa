"""Routes of the analyze function: run an analysis, follow or cancel its job."""

from __future__ import annotations

import base64
import json
from typing import Any

from flask import Response, g
from flask_openapi3 import APIBlueprint, Tag

from functions.analyze.mask import mask_png
from functions.analyze.model_info import current_model
from functions.analyze.models import AnalysisOut, AnalyzeQuery, JobOut, JobPath, LangQuery, ScanPath
from functions.analyze.waiting import stored_answer, submit, wait_for
from shared import keys
from shared.context import Context
from shared.documents import AnalysisDoc, Job, Scan
from shared.errors import Lang, Notice, Problem
from shared.lifecycle import live_scan
from shared.reporting import report_json
from shared.web.app import ctx
from shared.web.idempotency import fingerprint_of, once
from shared.web.negotiation import prefers_async, wants_json
from shared.web.problems import problem_response

api = APIBlueprint("analyze", __name__, abp_tags=[Tag(name="analyses", description="Analyses and jobs.")])
_PICTURE = {"schema": {"type": "string", "format": "binary"}}
_JSON = {"schema": {"$ref": "#/components/schemas/AnalysisOut"}}


@api.post(
    "/api/scans/<scan_id>/analyze",
    responses={202: JobOut, 200: {"content": {"image/png": _PICTURE, "application/json": _JSON}}},
)
def analyze(path: ScanPath, query: AnalyzeQuery) -> Response:
    """Analyse a scan: the picture of the decisive slice, or JSON when Accept asks for it first.

    ``Prefer: respond-async`` answers 202 with the job at once. No result is a 422 problem.
    """
    context = ctx()
    scan = live_scan(context.documents, path.scan_id)
    model = current_model(context.settings)
    known = None if query.force else stored_answer(context, scan, model)
    if prefers_async():
        return once(
            context.documents,
            fingerprint_of(scan.id, query.force),
            lambda: (_accepted(context, scan, known, query.language), scan.id),
        )
    if known is None:
        job = submit(context.stores, context.settings, scan, request_id=g.request_id)
        g.job_id = job.id
        try:
            known = wait_for(context, job)
        except Problem as problem:
            where = {"Location": f"/api/jobs/{job.id}"} if problem.code == "analysis_timeout" else None
            return problem_response(problem.notice, headers=where)
    return _answer(context, live_scan(context.documents, scan.id), known, query.language)


@api.get("/api/jobs/<job_id>", responses={200: JobOut})
def get_job(path: JobPath, query: LangQuery) -> Response:
    """State, stage and progress of a job."""
    job = ctx().jobs.get(path.job_id)
    if job is None:
        raise Problem("job_not_found")
    return _job_response(job, query.language)


@api.delete("/api/jobs/<job_id>", responses={204: None})
def cancel_job(path: JobPath) -> Response:
    """Cancel a job that waits or runs."""
    ctx().jobs.cancel(path.job_id)
    return Response(status=204)


def _accepted(context: Context, scan: Scan, known: AnalysisDoc | None, lang: Lang) -> Response:
    """202 with a job: a new one, or the one that has done it already."""
    job = _finished_job(context, scan) if known is not None else None
    job = job or submit(context.stores, context.settings, scan, request_id=g.request_id)
    response = _job_response(job, lang, status=202)
    response.headers["Location"] = f"/api/jobs/{job.id}"
    response.headers["Preference-Applied"] = "respond-async"
    return response


def _finished_job(context: Context, scan: Scan) -> Job | None:
    where = {"scan_id": scan.id, "kind": "analyze", "state": "done"}
    found = context.documents.find(Job, where, sort=[("created_at", "desc")], limit=1)
    return found[0] if found else None


def _job_response(job: Job, lang: Lang, *, status: int = 200) -> Response:
    body = JobOut.of(job, lang).model_dump_json()
    return Response(body, status=status, content_type="application/json")


def _answer(context: Context, scan: Scan, analysis: AnalysisDoc, lang: Lang) -> Response:
    """The picture or the JSON of a verdict; a problem where there is none."""
    if analysis.verdict == "no_result":
        reason = analysis.reason or analysis.passport.refusal or Notice(code="internal")
        extra = {"scan_id": scan.id, "passport": analysis.passport.to_json(lang)}
        return problem_response(reason, status=422, extra=extra)
    picture = context.blobs.get(keys.heatmap(scan.id, analysis.id, lang))
    if not wants_json():
        response = Response(picture, content_type="image/png")
        response.headers["Vary"] = "Accept"
        return response
    body: dict[str, Any] = {
        "ok": True,
        "files_processed": analysis.passport.n_slices,
        "has_pathology_any": analysis.verdict == "pathology",
        "explain_heatmap_b64": base64.b64encode(picture).decode(),
        "explain_mask_b64": base64.b64encode(mask_png(context.blobs, scan.id, analysis)).decode(),
        **report_json(scan, analysis, lang),
    }
    response = Response(json.dumps(body, ensure_ascii=False), content_type="application/json")
    response.headers["Vary"] = "Accept"
    return response


#: named in the OpenAPI document by reference
api.components_schemas["AnalysisOut"] = AnalysisOut.model_json_schema()
