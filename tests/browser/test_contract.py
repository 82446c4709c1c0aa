"""The page's client is generated from the document that the service really has."""

from __future__ import annotations

import json

from localstack.gateway import create_apps, merged_openapi
from shared.settings import Settings
from tests.servers import REPO


def test_the_pages_openapi_document_is_the_services_own() -> None:
    committed = json.loads((REPO / "frontend" / "openapi.json").read_text(encoding="utf-8"))
    fresh = json.loads(json.dumps(merged_openapi(create_apps(Settings()))))
    assert committed == fresh, "run frontend/scripts/export_openapi.py, then npm run api in frontend"
