"""A real nginx with the router's own configuration, in front of servers that say who they are."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.router import running_nginx

FUNCTIONS = ("patients", "scans", "analyze", "report")
MAX_UPLOAD_MB = 3


class Echo(BaseHTTPRequestHandler):
    """Answers with its function's name, and what it received."""

    protocol_version = "HTTP/1.1"
    function = ""

    def answer(self) -> None:
        received = 0
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                received += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            received = len(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        body = json.dumps(
            {
                "function": self.function,
                "path": self.path,
                "received": received,
                "headers": dict(self.headers),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def echo_server(name: str) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (Echo,), {"function": name}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Answer:
    """Status, headers and body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Answer]


def asker(port: int) -> Ask:
    def ask(method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            link.request(method, path, body, headers or {})
            return Answer(link.getresponse())
        finally:
            link.close()

    return ask


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Asks an nginx in front of four echo servers."""
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "page" / "assets").mkdir(parents=True)
    (folder / "page" / "index.html").write_text("<!doctype html>the page")
    (folder / "page" / "assets" / "app-abc123.js").write_text("export {}")
    (folder / "docs" / "docs").mkdir(parents=True)
    (folder / "docs" / "docs" / "index.html").write_text("the docs")
    (folder / "docs" / "openapi.json").write_text('{"openapi": "3.1.0"}')
    with ExitStack() as stack:
        ports = {name: stack.enter_context(echo_server(name)) for name in FUNCTIONS}
        api = stack.enter_context(
            running_nginx(
                folder,
                ports,
                CT_MAX_UPLOAD_MB=str(MAX_UPLOAD_MB),
                CT_ROUTER_WWW=str(folder / "page"),
                CT_ROUTER_DOCS=str(folder / "docs"),
            )
        )
        yield asker(api)
