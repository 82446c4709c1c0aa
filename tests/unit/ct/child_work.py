"""What the tests of `shared.ct.isolate` let a child do. A module of its own: a child imports it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import numpy as np

from shared.errors import Refusal


def double(value: int) -> int:
    return 2 * value


def eat(megabytes: int) -> int:
    return int(np.ones(megabytes << 20, np.uint8).sum())


def hang() -> None:
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise Refusal("too_few_slices", n=3)


def fault() -> None:
    raise ValueError("odd")


def talk(count: int, *, send: Callable[[int], None]) -> str:
    for k in range(count):
        send(k)
    return "done"
