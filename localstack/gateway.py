"""The embedded router: all functions in one process, the merged OpenAPI document, and the page's files.

It stands where nginx stands in the containers, and follows the same table (`localstack.routes`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from flask import Response, send_from_directory
from flask.typing import ResponseReturnValue
from flask_openapi3 import OpenAPI
from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join

from localstack.routes import API_ONLY, Function, function_of
from shared.settings import Settings
from shared.settings import settings as process_settings
from shared.web.app import make_app, single_slashes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: where the page's build lies
DIST = Path(__file__).resolve().parent.parent / "frontend" / "dist"
TITLE = "CT pathology service"


def create_gateway(settings: Settings | None = None, dist: Path = DIST) -> WSGIApplication:
    """The WSGI app that ``./ct up`` serves."""
    settings = settings or process_settings()
    apps = create_apps(settings)
    own = make_app("gateway", TITLE, settings, document=lambda: merged_openapi(apps), checks=_checks(apps))
    _register_page(own, dist, page_csp(settings))

    def dispatch(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        function = function_of(environ["PATH_INFO"])
        app = own if function is None else apps[function]
        return app.wsgi_app(environ, start_response)

    return single_slashes(dispatch)


def create_apps(settings: Settings) -> dict[Function, OpenAPI]:
    """Every function's app, by name."""
    return {
        name: cast(OpenAPI, import_module(f"functions.{name}.app").create_app(settings))
        for name in get_args(Function)
    }


def merged_openapi(apps: dict[Function, OpenAPI]) -> dict[str, Any]:
    """One OpenAPI document of all functions."""
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": "1",
            "description": "Chest-CT triage. Research use, not a diagnosis.",
        },
        "paths": {},
        "components": {"schemas": {}},
        "tags": [],
    }
    for app in apps.values():
        document = app.api_doc
        merged["paths"] |= document["paths"]
        merged["components"]["schemas"] |= document["components"].get("schemas", {})
        merged["tags"] += [tag for tag in document.get("tags", []) if tag not in merged["tags"]]
    return merged


def page_csp(settings: Settings) -> str:
    """What the page may load and whom it may talk to: only this origin, and the object store's uploads."""
    connect = " ".join(filter(None, ("'self'", settings.s3_public_endpoint)))
    return (
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        f"connect-src {connect}; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def _checks(apps: dict[Function, OpenAPI]) -> list[Callable[[], dict[str, Any]]]:
    """What the functions themselves ask before they say that they are ready."""
    return [check for app in apps.values() for check in app.extensions["ct_checks"]]


def _register_page(app: OpenAPI, dist: Path, csp: str) -> None:
    def page(path: str = "") -> ResponseReturnValue:
        if API_ONLY.match(f"/{path}"):
            raise NotFound
        wanted = safe_join(str(dist), path)
        if path and wanted is not None and Path(wanted).is_file():
            response = send_from_directory(dist, path)
            # Vite puts a hash of the content into the names below assets/.
            hashed = path.startswith("assets/")
            response.headers["Cache-Control"] = (
                "public, max-age=31536000, immutable" if hashed else "no-cache"
            )
        elif path.startswith("assets/") or not (dist / "index.html").is_file():
            raise NotFound
        else:
            response = send_from_directory(dist, "index.html")
            response.headers["Cache-Control"] = "no-cache"
        return _guarded(response, csp)

    app.add_url_rule("/", "page", page)
    app.add_url_rule("/<path:path>", "page", page)


def _guarded(response: Response, csp: str) -> Response:
    response.headers["Content-Security-Policy"] = csp
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["X-Frame-Options"] = "DENY"
    return response
