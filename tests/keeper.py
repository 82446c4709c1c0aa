"""Runs a server for as long as a test run lives, then stops it and removes its data.

``python tests/keeper.py OWNER_PID FOLDER COMMAND…``: a process of its own, so that it holds even when
the test run is killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def keep(owner: int, folder: Path, argv: Sequence[str]) -> int:
    """Answers the server's exit status."""
    server = subprocess.Popen(argv, cwd=folder)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    while server.poll() is None and _alive(owner):
        time.sleep(0.5)
    server.kill()
    server.wait()
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    return server.returncode


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
