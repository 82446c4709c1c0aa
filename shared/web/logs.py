"""JSON log lines on standard error: codes, ids and durations, never names, bodies or query strings."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure_logs(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers through one JSON renderer.

    Parameters
    ----------
    level
        Name of the lowest level that is written.
    stream
        Where lines go; standard error by default.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Libraries name URLs and keys at INFO: that is more than an operator needs.
    for name in ("urllib3", "botocore", "boto3", "pymongo", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)
