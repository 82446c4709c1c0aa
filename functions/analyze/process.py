"""A process that does one piece of work under a memory limit, heard through a pipe, killed at will.

Processes are forked from a small server process that has the heavy modules loaded already and holds no
connection, thread or secret of the worker's stores. The memory limit counts what is written to
(RLIMIT_DATA), not what is reserved: CUDA reserves more addresses than any limit would allow.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import TYPE_CHECKING

from pydantic import ValidationError

from functions.analyze.messages import MESSAGES, Broken, FileReady, Outcome, Progress

if TYPE_CHECKING:
    from functions.analyze.work import Work

#: longest message of a child, bytes: a passport of a huge study has a row per series and gap
_MESSAGE_LIMIT = 32 << 20

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["functions.analyze.tasks"])


class Child:
    """One running piece of work. Use `started`, which kills it at the end of the block."""

    def __init__(self, process: ForkServerProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; asked after `messages` answered None."""
        self._process.join(5)
        return self._process.exitcode

    def messages(self, seconds: float) -> list[Progress | FileReady | Outcome] | None:
        """What it said within ``seconds``, maybe nothing; None once it has ended and said all."""
        wait([self._pipe], timeout=seconds)
        heard: list[Progress | FileReady | Outcome] = []
        while self._pipe.poll(0):
            try:
                heard.append(MESSAGES.validate_json(self._pipe.recv_bytes(_MESSAGE_LIMIT)))
            except EOFError:
                return heard or None
            except (OSError, ValidationError) as error:
                return [*heard, Broken(error=type(error).__name__)]
        return heard


@contextmanager
def started(work: Work, *, memory_mb: int) -> Iterator[Child]:
    """Start the work; at the end of the block the process is gone, whatever it was doing."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_main, args=(work, theirs, memory_mb), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(process, ours)
    finally:
        ours.close()
        process.join(0.2)
        if process.is_alive():
            process.kill()
        process.join()
        process.close()


def _main(work: Work, pipe: Connection, memory_mb: int) -> None:
    """The body of the process."""
    from functions.analyze.tasks import run

    threading.Thread(target=_end_with_worker, args=(pipe,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):
        limit = memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        # A core file of a patient's study is not wanted anywhere.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)

    def send(message: Progress | FileReady | Outcome) -> None:
        pipe.send_bytes(message.model_dump_json().encode())

    with contextlib.suppress(BrokenPipeError):
        run(work, send)


def _end_with_worker(pipe: Connection) -> None:
    """End when the worker is gone: it never sends anything, so all that can be heard is its end."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv_bytes(1)
    os._exit(1)
