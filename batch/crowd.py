"""Some things at a time, each in a thread; the caller hears of every end and may add more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from batch.progress import Stop

T = TypeVar("T")
R = TypeVar("R")


class Stopped(Exception):
    """The user asked for an end."""


def crowd(work: Callable[[T], R], items: deque[T], at_a_time: int, stop: Stop) -> Iterator[tuple[T, R]]:
    """Do ``work`` for every item and yield (item, result) in the order in which they end.

    Parameters
    ----------
    work : callable
        Runs in a thread and looks at ``stop`` while it waits. `Stopped` ends an item quietly;
        anything else halts what is under way and is raised here.
    items : deque
        What is to be done; the consumer may append while it iterates.
    at_a_time : int
        Threads.
    stop : Stop
        Looked at before each new item.
    """
    with ThreadPoolExecutor(at_a_time) as threads:
        running: dict[Future[R], T] = {}
        while True:
            while items and len(running) < at_a_time and not stop():
                item = items.popleft()
                running[threads.submit(work, item)] = item
            if not running:
                return
            ended, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in ended:
                item = running.pop(future)
                try:
                    result = future.result()
                except Stopped:
                    continue
                except Exception:
                    stop.halt()
                    raise
                yield item, result
