"""``/openapi.json`` and ``/docs``: the OpenAPI document and a page for it, without a CDN.

Swagger UI's files come with the package flask-openapi3-swagger. The page has no inline script, so that
a strict Content-Security-Policy holds.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from flask import Flask, Response, jsonify, send_from_directory
from flask.typing import ResponseReturnValue

#: what the docs page may load: its own files; Swagger UI writes style attributes and draws data: icons
CSP = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
#: the files of the page, under the folder of Swagger UI
ASSETS = ("css/swagger-ui.css", "js/swagger-ui-bundle.js")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}/css/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="{base}/js/swagger-ui-bundle.js"></script>
<script src="{base}/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true});\n"""


def swagger_folder() -> str:
    """Where Swagger UI's files lie."""
    return str(files("flask_openapi3_swagger").joinpath("templates", "swagger"))


def docs_page(title: str, base: str = "/docs") -> str:
    """The HTML of the page; its files are served under ``base``."""
    return _PAGE.format(title=title, base=base)


def docs_start() -> str:
    """The script that starts the page."""
    return _START


def register_docs(app: Flask, title: str, document: Callable[[], dict[str, Any]]) -> None:
    """Serve the document that ``document`` makes, and the page."""

    def openapi_json() -> ResponseReturnValue:
        return jsonify(document())

    def docs() -> ResponseReturnValue:
        return Response(docs_page(title), content_type="text/html; charset=utf-8", headers=_headers())

    def docs_start_js() -> ResponseReturnValue:
        return Response(docs_start(), content_type="text/javascript; charset=utf-8")

    def docs_file(name: str) -> ResponseReturnValue:
        return send_from_directory(swagger_folder(), name, max_age=86400)

    app.add_url_rule("/openapi.json", view_func=openapi_json)
    app.add_url_rule("/docs", view_func=docs)
    app.add_url_rule("/docs/start.js", view_func=docs_start_js)
    app.add_url_rule("/docs/<path:name>", view_func=docs_file)


def _headers() -> dict[str, str]:
    return {"Content-Security-Policy": CSP}
