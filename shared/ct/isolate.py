"""Runs a function in a child process under a memory limit and a wall clock.

Whatever a hostile file does to the child, the caller gets a result or a `Refusal`.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from shared.errors import Refusal

T = TypeVar("T")
#: seconds between looks at the clock and at ``should_stop``
TICK_S = 0.2
_CONTEXT: Any = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")


class ChildError(Exception):
    """The function raised something that is no `Refusal`; the text is the child's traceback."""


class StoppedError(Exception):
    """``should_stop`` said so; the child is dead."""


def preload(modules: Sequence[str]) -> None:
    """Import ``modules`` once, before the first call, so that a child starts in some 20 ms."""
    if sys.platform != "win32":
        _CONTEXT.set_forkserver_preload(list(modules))


def run_limited(
    func: Callable[..., T],
    args: Sequence[Any] = (),
    *,
    memory_mb: int,
    seconds: float,
    on_message: Callable[[Any], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> T:
    """Call ``func(*args)`` in a child process and return its result.

    Parameters
    ----------
    func : callable
        Importable by name. With ``on_message`` it also gets a keyword ``send``: a function whose
        argument arrives at ``on_message`` in the caller.
    memory_mb : int
        Memory that the child may write to, MB; 0 for no limit. Reserved addresses do not count on
        Linux: CUDA reserves more than there is.
    seconds : float
        Wall clock.
    should_stop : callable, optional
        Looked at some times a second; True ends the child.

    Raises
    ------
    Refusal
        That of ``func``, or ``memory_limit``, ``decode_timeout``, ``unreadable_pixels`` when the
        child was killed, took too long or crashed.
    ChildError
        ``func`` raised something else.
    StoppedError
        ``should_stop`` said so.
    """
    receive, send = _CONTEXT.Pipe()
    process = _CONTEXT.Process(
        target=_child, args=(send, func, tuple(args), memory_mb, on_message is not None), daemon=False
    )
    process.start()
    send.close()
    deadline = time.monotonic() + seconds
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Refusal("decode_timeout", seconds=round(seconds))
            if should_stop is not None and should_stop():
                raise StoppedError
            if not receive.poll(min(TICK_S, left)):
                continue
            try:
                kind, value = receive.recv()
            except EOFError:
                process.join(5)
                raise _death(process.exitcode) from None
            if kind == "message" and on_message is not None:
                on_message(value)
            elif kind == "result":
                result: T = value
                return result
            elif kind == "refusal":
                raise Refusal(value[0], **value[1])
            elif kind == "memory":
                raise Refusal("memory_limit")
            elif kind == "error":
                raise ChildError(value)
    finally:
        _kill(process.pid)
        process.join()
        receive.close()
        process.close()


def _death(code: int | None) -> Refusal:
    """What the end of a child without an answer means."""
    if code is not None and -code in (signal.SIGKILL, signal.SIGABRT):
        return Refusal("memory_limit")
    return Refusal("unreadable_pixels", what="the decoder crashed")


def _kill(pid: int | None) -> None:
    """End the child and the processes that it started."""
    if pid is not None:
        # the child leads a group of its own once it runs
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(pid, signal.SIGKILL)


def _child(
    send: Connection, func: Callable[..., Any], args: tuple[Any, ...], memory_mb: int, talks: bool
) -> None:
    os.setpgid(0, 0)
    threading.Thread(target=_end_with_caller, args=(send,), daemon=True).start()
    _limit(memory_mb)
    extra = {"send": lambda value: send.send(("message", value))} if talks else {}
    try:
        answer: tuple[str, Any] = ("result", func(*args, **extra))
    except Refusal as refusal:
        answer = ("refusal", (refusal.code, dict(refusal.notice.params)))
    except MemoryError:
        answer = ("memory", None)
    except Exception:  # noqa: BLE001 - the caller gets all of it
        answer = ("error", traceback.format_exc())
    send.send(answer)


def _limit(memory_mb: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        resource = importlib.import_module("resource")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if memory_mb:
            kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
            resource.setrlimit(kind, (memory_mb << 20, memory_mb << 20))


def _end_with_caller(pipe: Connection) -> None:
    """A child whose caller was killed must not go on.

    The caller never speaks, so all there is to hear is its end. The signal of a parent's death is no
    help: the parent is the server that forks the children.
    """
    with contextlib.suppress(EOFError, OSError):
        pipe.recv_bytes()
    os.killpg(0, signal.SIGKILL)
