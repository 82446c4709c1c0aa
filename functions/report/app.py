"""The report function: JSON, pictures, PDF and tables from stored documents and blobs."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from functions.report.routes import api
from shared.settings import Settings
from shared.web.app import make_app


def create_app(settings: Settings | None = None) -> OpenAPI:
    """The WSGI app of this function."""
    app = make_app("report", "Reports", settings)
    app.register_api(api)
    return app
