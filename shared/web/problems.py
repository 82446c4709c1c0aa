"""Every error of a request as RFC 9457 ``application/problem+json``, in the client's language.

Nothing of an exception's text reaches a client: only a code of `shared.errors.REASONS` and its words.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from typing import Any, TypeVar

import structlog
from flask import Flask, Response, abort, g, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared.errors import REASONS, CodedError, Lang, Notice, Problem
from shared.stores.protocols import StorageFull, StoreUnavailable, VersionConflict
from shared.web.language import request_lang

M = TypeVar("M", bound=BaseModel)
log = structlog.get_logger(__name__)

#: what an HTTP error raised by Flask itself means in our table
_BY_STATUS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 416: "range_not_satisfiable"}
_KEPT_HEADERS = ("Allow", "Retry-After", "Location", "Content-Range")


class ProblemOut(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    #: messages by field name
    errors: dict[str, str] = Field(default_factory=dict)


def problem_body(
    notice: Notice,
    *,
    status: int | None = None,
    fields: Mapping[str, str] | None = None,
    lang: Lang | None = None,
) -> dict[str, Any]:
    """The members of a problem document for a notice."""
    lang = lang or request_lang()
    body: dict[str, Any] = {
        "type": f"urn:ct-pathology:problem:{notice.code}",
        "title": notice.text(lang),
        "status": status or REASONS[notice.code].status,
        "detail": notice.words(lang),
        "code": notice.code,
        "request_id": g.get("request_id", ""),
    }
    if fields:
        body["errors"] = dict(fields)
    return body


def problem_response(
    notice: Notice,
    *,
    status: int | None = None,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """A problem as a response; ``extra`` members stand beside the standard ones."""
    body = {**(extra or {}), **problem_body(notice, status=status, fields=fields)}
    g.problem_code = notice.code
    return Response(
        json.dumps(body, ensure_ascii=False),
        status=body["status"],
        content_type="application/problem+json",
        headers=dict(headers or {}),
    )


def validation_response(error: ValidationError) -> Response:
    """What a pydantic error of a query, path or body means to the client.

    A query or path that makes no sense is 400. A body is 415 when it is not JSON at all, 400 when it
    does not parse, 422 with messages by field when its values are wrong.
    """
    fields = {
        ".".join(str(part) for part in item["loc"]) or "body": str(item["msg"]).removeprefix("Value error, ")
        for item in error.errors()
    }
    if error.title.endswith(("Query", "Path")):
        what = ", ".join(fields)
        return problem_response(Notice(code="bad_request", params={"what": what}), fields=fields)
    if not request.is_json:
        return problem_response(
            Notice(code="unsupported_media_type", params={"expected": "application/json"})
        )
    if request.get_json(silent=True) is None:
        return problem_response(Notice(code="bad_request", params={"what": "JSON"}))
    return problem_response(Notice(code="invalid_fields"), fields=fields)


def json_body(model: type[M]) -> M:
    """The JSON body as ``model``, for routes that take other bodies too; ends the request otherwise."""
    try:
        return model.model_validate(request.get_json(silent=True))
    except ValidationError as error:
        abort(validation_response(error))


def register_problems(app: Flask) -> None:
    """Turn every exception of the app into a problem document."""

    @app.errorhandler(CodedError)
    def coded(error: CodedError) -> Response:
        fields = error.fields if isinstance(error, Problem) else None
        retry = {"Retry-After": "5"} if REASONS[error.code].status in (429, 503) else None
        return problem_response(error.notice, fields=fields, headers=retry)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        if isinstance(error, RequestEntityTooLarge):
            limit = (request.max_content_length or 0) / 1e6
            return problem_response(Notice(code="too_large", params={"limit_mb": f"{limit:g}"}))
        code = _BY_STATUS.get(status, "internal" if status >= 500 else "bad_request")
        params: dict[str, str | int | float] = {"what": error.name} if code == "bad_request" else {}
        if status == 415:
            code, params = "unsupported_media_type", {"expected": "application/json"}
        kept = {k: v for k, v in error.get_headers() if k in _KEPT_HEADERS}
        return problem_response(Notice(code=code, params=params), status=status, headers=kept)

    @app.errorhandler(VersionConflict)
    def conflict(_: VersionConflict) -> Response:
        code = "precondition_failed" if request.if_match else "conflict"
        return problem_response(Notice(code=code))

    @app.errorhandler(StoreUnavailable)
    def unavailable(error: StoreUnavailable) -> Response:
        log.warning("store_unavailable", cause=type(error.__cause__ or error).__name__)
        return problem_response(Notice(code="store_unavailable"), headers={"Retry-After": "5"})

    @app.errorhandler(StorageFull)
    def full(_: StorageFull) -> Response:
        log.error("storage_full")
        return problem_response(Notice(code="storage_full"))

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        # The class and the places, not the message: a message can quote a file name or a value.
        frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        log.error("unexpected_error", error=type(error).__name__, frames=frames[-8:])
        return problem_response(Notice(code="internal"))
