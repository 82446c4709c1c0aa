"""The analyze function: takes requests for analyses, waits for workers, answers pictures and reports."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from flask_openapi3 import OpenAPI

from functions.analyze import predict, routes
from functions.analyze.model_info import current_model
from shared import keys
from shared.context import Context, context_of
from shared.errors import Problem
from shared.settings import Settings
from shared.settings import settings as process_settings
from shared.stores.protocols import StoreUnavailable
from shared.sweeper import WORKER_NOTE_S
from shared.web.app import make_app
from shared.web.metrics import LIVE_JOBS


def create_app(settings: Settings | None = None) -> OpenAPI:
    """The WSGI app of this function."""
    settings = settings or process_settings()
    context = context_of(settings)
    app = make_app("analyze", "Analyses", settings, checks=[lambda: _readiness(context)])
    for module in (routes, predict):
        app.register_api(module.api)
    LIVE_JOBS.set_function(lambda: _live_jobs(context))
    return app


def _live_jobs(context: Context) -> float:
    try:
        return context.jobs.depth()
    except StoreUnavailable:
        return math.nan


def _readiness(context: Context) -> dict[str, Any]:
    """The model, and on what hardware the living workers really run it.

    Raises `Problem` ``model_unavailable`` where CUDA is demanded and a living worker has none: ONNX
    Runtime falls back to the CPU silently. No worker at all is no fault: they scale to zero.
    """
    living = time.time() - 3 * WORKER_NOTE_S
    notes = [info.key for info in context.blobs.list(keys.WORKERS) if info.modified > living]
    workers = [json.loads(context.blobs.get(key)) for key in notes]
    providers = sorted({worker["model"]["provider"] for worker in workers})
    if context.settings.provider == "cuda" and any("CUDA" not in name for name in providers):
        raise Problem("model_unavailable", what="CUDA")
    model = current_model(context.settings)
    known = {"name": model.name, "version": model.version}
    return {"model": known, "workers": len(workers), "providers": providers}
