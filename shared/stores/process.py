"""A connection that must not be shared with a forked child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Makes a value when it is first asked for in a process; a forked child gets its own."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._pid = 0
        self._value: T | None = None
        # a parent's connection stays referenced in the child: closing it there would harm the parent
        self._inherited: list[T] = []

    def get(self) -> T:
        """The value of this process."""
        if self._value is None or self._pid != os.getpid():
            self._renew()
        assert self._value is not None  # noqa: S101
        return self._value

    def _renew(self) -> None:
        if self._pid not in (0, os.getpid()):
            self._lock = threading.Lock()  # a thread of the parent may have held the old one
        with self._lock:
            if self._value is not None and self._pid != os.getpid():
                self._inherited.append(self._value)
                self._value = None
            if self._value is None:
                self._pid = os.getpid()
                self._value = self._make()

    def take(self) -> T | None:
        """Hand out the value for closing, if this process has one."""
        value = self._value if self._pid == os.getpid() else None
        if value is not None:
            self._value = None
        return value
