"""The health check of a worker's container tells a living worker from none."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from functions.analyze.alive import alive
from shared import keys
from shared.settings import Settings
from shared.stores import open_blobs


def test_a_worker_is_alive_while_its_notes_are_fresh(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    blobs = open_blobs(settings)
    blobs.ensure_ready()
    assert not alive(settings)

    blobs.put(keys.worker_note("another-host-1-abc"), b"{}")
    assert not alive(settings), "the note of another host says nothing about this one"

    blobs.put(keys.worker_note(f"{socket.gethostname()[:40]}-1-abc"), b"{}")
    assert alive(settings)

    old = time.time() - settings.job_timeout_s - 120
    for path in tmp_path.rglob("*.json"):
        os.utime(path, (old, old))
    assert not alive(settings)
