"""Threads of the batch: who is served, what may be added, and how a failure ends the rest."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import pytest

from batch.crowd import Stopped, crowd
from batch.progress import Stop

ROOT = Path(__file__).parents[3]


def test_every_item_is_done_also_those_added_on_the_way() -> None:
    items = deque(range(5))
    seen = []
    for item, result in crowd(lambda n: n * n, items, 2, Stop()):
        seen.append((item, result))
        if item == 3:
            items.append(10)
    assert sorted(seen) == [(n, n * n) for n in (0, 1, 2, 3, 4, 10)]


def test_no_more_than_asked_run_at_a_time() -> None:
    gate = threading.Barrier(3, timeout=60)  # three must meet, a fourth would break the count
    running, most = 0, 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait()
        with lock:
            running -= 1

    assert len(list(crowd(work, deque(range(6)), 3, Stop()))) == 6
    assert most == 3


def test_stop_begins_nothing_new_and_what_runs_may_end_quietly() -> None:
    stop = Stop()

    def work(n: int) -> int:
        if n == 1:
            stop.asked = True
            raise Stopped
        return n

    assert list(crowd(work, deque(range(5)), 1, stop)) == [(0, 0)]


def test_failure_halts_the_others_and_is_raised() -> None:
    stop = Stop()

    def work(n: int) -> None:
        if n == 0:
            raise ValueError("no model")
        while not stop():
            threading.Event().wait(0.01)
        raise Stopped

    with pytest.raises(ValueError, match="no model"):
        list(crowd(work, deque(range(3)), 3, stop))
    assert stop()
    assert not stop.asked


def test_bar_is_drawn_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    code = "from batch.progress import Counter\nwith Counter(7) as bar: bar.advance(7)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        timeout=120,
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert done.stdout == b""
    assert "7/7" in shown


def test_help_lists_every_verb_and_loads_none() -> None:
    code = (
        "import sys\nfrom batch.cli import main, VERBS\n"
        "main(['--help'], standalone_mode=False)\n"
        "assert not {m for m, _, _ in VERBS.values()} & set(sys.modules), 'a verb was loaded'\n"
        "assert 'numpy' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for verb in ("predict", "submit", "inspect", "train", "evaluate", "demo"):
        assert verb in done.stdout
