"""``python -m functions.analyze.worker``: takes jobs from the queue until it is told to stop.

The process that reads a study is a child of its own (`functions.analyze.process`) and imports this file
as its main module: nothing heavy is imported here outside `main`.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run a worker; the exit code."""
    from functions.analyze.loop import run_worker
    from shared.settings import settings
    from shared.web.logs import configure_logs

    configure_logs(settings().log_level)
    return run_worker(settings())


if __name__ == "__main__":
    sys.exit(main())
