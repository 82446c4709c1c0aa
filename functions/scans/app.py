"""The scans function: studies, their bytes, their volumes for the viewer, two-step uploads."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from functions.scans import events, routes, uploads, volume
from shared.settings import Settings
from shared.web.app import make_app


def create_app(settings: Settings | None = None) -> OpenAPI:
    """The WSGI app of this function."""
    app = make_app("scans", "Scans", settings)
    for module in (routes, volume, events, uploads):
        app.register_api(module.api)
    return app
