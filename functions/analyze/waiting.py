"""Asking for an analysis and waiting for its end. The work itself is done by a worker."""

from __future__ import annotations

import time

from functions.analyze.model_info import current_model
from shared.context import Context
from shared.documents import AnalysisDoc, Job, Scan
from shared.errors import Problem
from shared.lifecycle import Stores, change, live_scan
from shared.model.analysis import ModelInfo
from shared.settings import Settings

#: reasons that another try may overcome: such an answer is not kept for good
TRANSIENT = frozenset({"decode_timeout", "memory_limit", "processing_failed"})
_FIRST_LOOK_S, _LAST_LOOK_S = 0.05, 0.5


def stored_answer(context: Context, scan: Scan, model: ModelInfo) -> AnalysisDoc | None:
    """The analysis that this very model made of the scan before; None where it has to run."""
    if scan.analysis_id is None:
        return None
    analysis = context.documents.get(AnalysisDoc, scan.analysis_id)
    if analysis is None or analysis.model.sha256 != model.sha256 or analysis.model.version != model.version:
        return None
    if analysis.reason is not None and analysis.reason.code in TRANSIENT:
        return None
    return analysis


def submit(stores: Stores, settings: Settings, scan: Scan, *, request_id: str) -> Job:
    """Queue the analysis of a scan, or join the one that waits or runs with the same model.

    Raises
    ------
    Problem
        ``several_studies`` while somebody has to choose; ``queue_full``.
    """
    if scan.state == "needs_choice":
        raise Problem("several_studies", n=len(scan.choices))
    model = current_model(settings)
    key = f"{scan.id}:analyze:{model.version}:{model.sha256[:12]}"
    job = stores.jobs.submit("analyze", scan.id, key=key, request_id=request_id)

    def edit(fresh: Scan) -> bool:
        if fresh.deleting or fresh.state in ("queued", "analysing"):
            return False
        now = stores.jobs.get(job.id)
        if now is None or now.state != "queued":
            return False
        fresh.state, fresh.stage, fresh.progress = "queued", "", 0.0
        return True

    change(stores.documents, Scan, scan.id, edit)
    return job


def wait_for(context: Context, job: Job) -> AnalysisDoc:
    """Wait until the job has ended; answers the scan's analysis.

    Raises
    ------
    Problem
        ``analysis_timeout`` after ``analyze_wait_s``; the job's own error; ``scan_not_found`` when the
        scan was deleted meanwhile; ``job_cancelled``.
    """
    deadline = time.monotonic() + context.settings.analyze_wait_s
    pause = _FIRST_LOOK_S
    while job.live:
        if time.monotonic() > deadline:
            raise Problem("analysis_timeout", job_id=job.id)
        time.sleep(pause)
        pause = min(_LAST_LOOK_S, pause * 1.3)
        now = context.jobs.get(job.id)
        if now is None:
            raise Problem("scan_not_found")
        job = now
    scan = live_scan(context.documents, job.scan_id)
    if job.error is not None:
        raise Problem.of(job.error)
    if job.state == "cancelled":
        raise Problem("job_cancelled")
    analysis = context.documents.get(AnalysisDoc, scan.analysis_id) if scan.analysis_id else None
    if analysis is None:
        raise Problem("not_analysed")
    return analysis
