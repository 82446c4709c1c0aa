"""The patients function: records of patients, and what is known of their studies."""

from __future__ import annotations

from flask_openapi3 import OpenAPI

from functions.patients.routes import api
from shared.settings import Settings
from shared.web.app import make_app


def create_app(settings: Settings | None = None) -> OpenAPI:
    """The WSGI app of this function."""
    app = make_app("patients", "Patients", settings)
    app.register_api(api)
    return app
