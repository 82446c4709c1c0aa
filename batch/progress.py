"""A progress bar where somebody looks, silence in a pipe, and a calm answer to Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Counter:
    """Studies done of all, on standard error, when that is a terminal."""

    def __init__(self, total: int) -> None:
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task("studies", total=total)

    def __enter__(self) -> Counter:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, studies: int) -> None:
        """So many more are done."""
        if self._bar:
            self._bar.advance(self._task, studies)

    def grow(self, studies: int) -> None:
        """So many more have been found."""
        if self._bar:
            total = self._bar.tasks[0].total or 0
            self._bar.update(self._task, total=total + studies)


class Stop:
    """Whether to end: called, it answers True once the user or `halt` asked for it."""

    def __init__(self) -> None:
        #: by Ctrl-C or SIGTERM
        self.asked = False
        self._halted = False

    def __call__(self) -> bool:
        """True once there is to be an end."""
        return self.asked or self._halted

    def halt(self) -> None:
        """End what is under way because of a failure."""
        self._halted = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM ask for an end, so that the table is finished first; twice ends at once."""
    stop = Stop()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
