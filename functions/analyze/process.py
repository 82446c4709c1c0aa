"""Runs a task of `functions.analyze.tasks` in a process of its own, under the worker's limits."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from functions.analyze.messages import MESSAGES, Broken, FileReady, Outcome, Progress, Refused
from functions.analyze.work import Work
from shared.ct.isolate import ChildError, preload, run_limited
from shared.ct.passport import Passport
from shared.errors import Refusal
from shared.settings import Settings

_TASKS = "functions.analyze.tasks"


class AttemptFailed(Exception):
    """The process met an error of ours: the job may be tried again."""


def warm_up() -> None:
    """Have the heavy modules loaded once, so that each piece of work starts in some 20 ms."""
    preload([_TASKS])


def run_work(
    work: Work,
    settings: Settings,
    hear: Callable[[Progress | FileReady], None],
    should_stop: Callable[[], bool],
) -> Outcome:
    """Run the work to its outcome. A process that is killed, hangs or crashes is an outcome too.

    Raises
    ------
    AttemptFailed
        The process did not keep to the messages.
    shared.ct.isolate.StoppedError
        ``should_stop`` said so.
    """
    try:
        answer = run_limited(
            _run,
            (work,),
            memory_mb=settings.worker_memory_mb,
            seconds=settings.job_timeout_s,
            on_message=lambda text: hear(_message(text)),
            should_stop=should_stop,
        )
        outcome = MESSAGES.validate_json(answer)
    except Refusal as refusal:
        return Refused(notice=refusal.notice, passport=Passport(refusal=refusal.notice))
    except (ChildError, ValidationError) as error:
        return Broken(error=type(error).__name__)
    if isinstance(outcome, Progress | FileReady):
        raise AttemptFailed("no outcome")
    return outcome


def _run(work: Work, send: Callable[[str], None]) -> str:
    """Runs in the child, which has `functions.analyze.tasks` loaded; this process never loads it."""
    from functions.analyze.tasks import run

    return run(work, send)


def _message(text: str) -> Progress | FileReady:
    message = MESSAGES.validate_json(text)
    if not isinstance(message, Progress | FileReady):
        raise AttemptFailed(type(message).__name__)
    return message
