"""Prometheus metrics that every function shares; the label ``function`` tells them apart in one process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("ct_http_requests_total", "Requests answered.", ["function", "method", "route", "status"])
SECONDS = Histogram(
    "ct_http_request_seconds",
    "Seconds until the answer's first byte.",
    ["function", "route"],
    buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300),
)
#: what autoscaling of workers looks at
LIVE_JOBS = Gauge("ct_jobs_live", "Jobs that wait or run.")
UPLOADED_BYTES = Counter("ct_uploaded_bytes_total", "Bytes of studies received.", ["function"])
