"""``python -m functions.analyze.alive``: the health check of a worker's container.

A worker serves no HTTP. It leaves a note in the blob store between jobs, and a job ends within its
time limit: a note that is older than both means that the worker of this host hangs.
"""

from __future__ import annotations

import socket
import sys
import time

from shared import keys
from shared.settings import Settings, settings
from shared.stores import open_blobs
from shared.sweeper import WORKER_NOTE_S


def alive(settings: Settings) -> bool:
    """Whether a worker of this host left a note lately."""
    oldest = time.time() - settings.job_timeout_s - 3 * WORKER_NOTE_S
    own = keys.worker_note(f"{socket.gethostname()[:40]}-").removesuffix(".json")
    return any(info.modified > oldest for info in open_blobs(settings).list(own))


if __name__ == "__main__":
    sys.exit(0 if alive(settings()) else 1)
