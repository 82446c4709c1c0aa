# ruff: noqa: N999
"""gunicorn for every function and for the gateway: threads, because requests wait for stores and workers.

One process per container (or per embedded service): metrics live in it, and functions scale by replicas.
The access log is written by the apps themselves (`shared.web.app`): JSON, without query strings, names
or addresses of clients.
"""

from __future__ import annotations

from pathlib import Path

from shared.settings import settings
from shared.web.logs import configure_logs

_settings = settings()

worker_class = "gthread"
workers = 1
threads = _settings.web_threads
# A thread that waits for an analysis does not block the worker's heartbeat.
timeout = 120
graceful_timeout = 30
keepalive = 30
# Long names of headers and of query strings are no use to this API.
limit_request_line = 4094
limit_request_fields = 60
accesslog = None
loglevel = _settings.log_level.lower()
# Heartbeat files on a disk can block a worker: memory where there is one.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
control_socket_disable = True

configure_logs(_settings.log_level)
