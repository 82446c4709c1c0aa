"""The factory of every function's app: stores, request id, language, problems, metrics, docs, probes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import structlog
from flask import Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from flask_openapi3 import Info, OpenAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from uuid_utils.compat import uuid7

from shared.context import Context, context_of
from shared.errors import Notice
from shared.settings import Settings
from shared.settings import settings as process_settings
from shared.stores.protocols import StoreUnavailable
from shared.web.docs import register_docs
from shared.web.language import request_lang
from shared.web.logs import configure_logs
from shared.web.metrics import REQUESTS, SECONDS
from shared.web.problems import ProblemOut, problem_response, register_problems, validation_response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger(__name__)

#: a body that is no upload is never longer than this, bytes
MAX_JSON_BYTES = 1_000_000
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

#: asked by ``/readyz``: facts to show, or a raised `StoreUnavailable` when not ready
Check = Callable[[], dict[str, Any]]


def ctx() -> Context:
    """The context of the app that answers the present request."""
    context = current_app.extensions["ct"]
    assert isinstance(context, Context)  # noqa: S101
    return context


def make_app(
    name: str,
    title: str,
    settings: Settings | None = None,
    *,
    checks: Iterable[Check] = (),
    document: Callable[[], dict[str, Any]] | None = None,
) -> OpenAPI:
    """An app with everything that all functions share; the caller registers its routes.

    Parameters
    ----------
    name
        Name of the function, as metrics and logs show it.
    title
        Title of its OpenAPI document.
    settings
        Taken from the environment when None.
    checks
        More that ``/readyz`` asks, beside both stores.
    document
        Makes the OpenAPI document; the app's own by default.
    """
    settings = settings or process_settings()
    configure_logs(settings.log_level)
    app = OpenAPI(
        f"ct_{name}",
        info=Info(title=title, version="1"),
        doc_ui=False,
        validation_error_model=ProblemOut,
        validation_error_callback=validation_response,
        responses={"default": {"description": "RFC 9457 problem", "content": _PROBLEM_CONTENT}},
        static_folder=None,
    )
    app.config.update(MAX_CONTENT_LENGTH=MAX_JSON_BYTES, DEFAULT_LANG=settings.default_lang)
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    context = app.extensions["ct"] = context_of(settings)
    app.extensions["ct_checks"] = list(checks)
    app.wsgi_app = single_slashes(app.wsgi_app)  # type: ignore[method-assign, assignment]
    register_problems(app)
    _register_request_hooks(app, name)
    _register_probes(app, name, context, app.extensions["ct_checks"])
    register_docs(app, title, document or (lambda: app.api_doc))
    return app


_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}


def single_slashes(inner: WSGIApplication) -> WSGIApplication:
    """Collapse ``//`` in paths, as nginx does: a client's base URL may end with a slash."""

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = re.sub("/{2,}", "/", environ.get("PATH_INFO", "") or "/")
        return inner(environ, start_response)

    return outer


def _register_request_hooks(app: OpenAPI, name: str) -> None:
    @app.before_request
    def begin() -> None:
        sent = request.headers.get("X-Request-Id", "")
        g.request_id = sent if _CLIENT_ID.fullmatch(sent) else str(uuid7())
        g.started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id, function=name)

    @app.after_request
    def end(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "-"
        seconds = time.perf_counter() - g.get("started", time.perf_counter())
        REQUESTS.labels(name, request.method, route, str(response.status_code)).inc()
        SECONDS.labels(name, route).observe(seconds)
        response.headers["X-Request-Id"] = g.get("request_id", "")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Content-Language", request_lang())
        response.vary.add("Accept-Language")
        if request.path not in _PROBES:
            log.info(
                "request",
                method=request.method,
                route=route,
                **(request.view_args or {}),
                status=response.status_code,
                code=g.get("problem_code"),
                ms=round(seconds * 1000, 1),
            )
        return response


def _register_probes(app: OpenAPI, name: str, context: Context, checks: list[Check]) -> None:
    def healthz() -> ResponseReturnValue:
        return jsonify(status="ok", function=name)

    def readyz() -> ResponseReturnValue:
        facts: dict[str, Any] = {}
        try:
            context.documents.ping()
            context.blobs.ping()
            for check in checks:
                facts |= check()
        except StoreUnavailable:
            return problem_response(Notice(code="store_unavailable"), headers={"Retry-After": "5"})
        return jsonify(status="ready", function=name, **facts)

    def metrics() -> ResponseReturnValue:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    for view in (healthz, readyz, metrics):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
