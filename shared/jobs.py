"""Work for the workers: a job's life as one table, and a queue over any document store.

A worker owns a job through a lease that it renews. Every change names the version that was seen, so
of two workers that reach for one job only one gets it, with any store that can compare and set.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal

from shared.documents import Job, JobKind, JobState, Scan, ScanState, utc_now
from shared.errors import Notice, Problem
from shared.settings import Settings
from shared.stores.protocols import DocumentStore, Duplicate, VersionConflict

Event = Literal["claim", "take_over", "renew", "release", "finish", "fail", "give_up", "cancel"]

#: the whole life of a job; a pair that is not here is forbidden
TRANSITIONS: Mapping[tuple[JobState, Event], JobState] = {
    ("queued", "claim"): "running",
    ("queued", "cancel"): "cancelled",
    ("queued", "give_up"): "failed",
    ("running", "renew"): "running",
    ("running", "take_over"): "running",
    ("running", "release"): "queued",
    ("running", "finish"): "done",
    ("running", "fail"): "failed",
    ("running", "give_up"): "failed",
    ("running", "cancel"): "cancelled",
}
_LIVE: tuple[JobState, ...] = ("queued", "running")
#: a scan in one of these waits for a job
BUSY: tuple[ScanState, ...] = ("uploaded", "preparing", "queued", "analysing")
#: how many jobs are looked at in one search for work
_CANDIDATES = 16
#: a submit or cancel meets another writer at most a few times: each try means that the other got on
_TRIES = 100


class ForbiddenTransition(Exception):
    """An event came to a job whose state does not allow it."""

    def __init__(self, state: JobState, event: Event) -> None:
        super().__init__(f"a job that is {state} cannot {event.replace('_', ' ')}")
        self.state = state
        self.event = event


class JobLost(Exception):
    """The job is no longer this worker's: cancelled, deleted, or taken over. Stop, and write nothing."""


def after(state: JobState, event: Event) -> JobState:
    """The state that follows; raises `ForbiddenTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ForbiddenTransition(state, event) from None


def resting_state(scan: Scan, job: Job) -> ScanState:
    """Where a scan comes to rest once its newest job ended and no worker is there to say so."""
    if job.state == "failed":
        return "failed"
    if job.kind == "prepare" and not scan.volume_ready:
        return "uploaded"
    return "done" if scan.analysis_id else "ready"


class Jobs:
    """The queue.

    Parameters
    ----------
    documents : DocumentStore
    settings : Settings
        ``lease_s``, ``max_attempts`` and ``max_queue`` are used.
    clock : callable, optional
        The present moment in UTC.
    """

    def __init__(
        self, documents: DocumentStore, settings: Settings, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._documents = documents
        self._lease = timedelta(seconds=settings.lease_s)
        self._max_attempts = settings.max_attempts
        self._max_queue = settings.max_queue
        self._clock = clock

    def submit(self, kind: JobKind, scan_id: str, *, key: str, request_id: str) -> Job:
        """Add a job, or join the live one with the same key.

        Raises
        ------
        Problem
            ``queue_full``, when there is none to join and ``max_queue`` jobs are live.
        """
        for _ in range(_TRIES):
            live = self._documents.find(Job, {"key": key, "live": True}, limit=1)
            if live:
                return live[0]
            self.check_room()
            now = self._clock()
            job = Job(kind=kind, scan_id=scan_id, key=key, request_id=request_id, created_at=now)
            try:
                self._documents.insert(job)
            except Duplicate:
                continue  # somebody submitted the same at the same moment: join it
            return job
        raise RuntimeError(f"job {key} is submitted and ended by others all the time")

    def check_room(self) -> None:
        """Raise `Problem` ``queue_full`` when no more work is accepted."""
        if self.depth() >= self._max_queue:
            raise Problem("queue_full")

    def depth(self) -> int:
        """How many jobs wait or run."""
        return self._documents.count(Job, {"state": _LIVE})

    def get(self, job_id: str) -> Job | None:
        """One job, or None."""
        return self._documents.get(Job, job_id)

    def live_for_scan(self, scan_id: str) -> list[Job]:
        """The scan's jobs that wait or run."""
        return self._documents.find(Job, {"scan_id": scan_id, "state": _LIVE}, limit=_CANDIDATES)

    def newest_for_scan(self, scan_id: str) -> Job | None:
        """The scan's last job, ended or not."""
        found = self._documents.find(Job, {"scan_id": scan_id}, sort=[("created_at", "desc")], limit=1)
        return found[0] if found else None

    def claim(self, worker_id: str) -> Job | None:
        """A job for this worker, counted as an attempt; None when there is no work.

        Jobs whose worker fell silent come first. One that used up its attempts is failed here with
        ``processing_failed``, and its scan with it.
        """
        while True:
            candidates = list(self._candidates())
            if not candidates:
                return None
            while candidates:
                job = candidates.pop(0)
                try:
                    if job.attempts < self._max_attempts:
                        return self._take(job, worker_id)
                    self._give_up(job)
                except VersionConflict:
                    # another worker was quicker: go apart, instead of racing it for the next one, too
                    random.shuffle(candidates)

    def renew(self, job: Job, *, stage: str, progress: float) -> Job:
        """Keep the lease and say how far the work is (0..1). Raises `JobLost`."""
        return self._owned(
            job, "renew", stage=stage, progress=progress, lease_until=self._clock() + self._lease
        )

    def release(self, job: Job) -> Job:
        """Give the job back untried, as a worker does that is told to stop. Raises `JobLost`."""
        return self._owned(
            job,
            "release",
            stage="",
            progress=0.0,
            attempts=job.attempts - 1,
            worker_id=None,
            lease_until=None,
        )

    def abandon(self, job: Job) -> Job:
        """End this attempt without an answer: the job can be taken over at once. Raises `JobLost`."""
        return self._owned(job, "renew", lease_until=self._clock())

    def finish(self, job: Job, state: Literal["done", "failed"], error: Notice | None = None) -> Job:
        """End the job; write the scan before, so that an ended job has nothing left to say.

        Raises `JobLost`.
        """
        if state == "done":
            return self._owned(job, "finish", stage="", progress=1.0, lease_until=None)
        return self._owned(job, "fail", error=error, lease_until=None)

    def cancel(self, job_id: str) -> Job:
        """End a live job; its worker notices at the next renewal, and its scan comes to rest.

        Raises
        ------
        Problem
            ``job_not_found``, or ``job_not_cancellable`` when it has ended.
        """
        for _ in range(_TRIES):
            job = self.get(job_id)
            if job is None:
                raise Problem("job_not_found")
            try:
                cancelled = self._change(job, "cancel", lease_until=None)
            except ForbiddenTransition:
                raise Problem("job_not_cancellable") from None
            except VersionConflict:
                continue  # its worker renewed or ended it
            self.settle_scan(cancelled)
            return cancelled
        raise RuntimeError(f"job {job_id} is changed by others all the time")

    def cancel_for_scan(self, scan_id: str) -> int:
        """Cancel whatever waits or runs for a scan; answers how many."""
        cancelled = 0
        for job in self.live_for_scan(scan_id):
            try:
                self.cancel(job.id)
            except Problem:
                continue  # it ended by itself
            cancelled += 1
        return cancelled

    def settle_scan(self, job: Job) -> bool:
        """Bring the scan of an ended job to rest where no worker does it; False when there is no need."""
        for _ in range(_TRIES):
            scan = self._documents.get(Scan, job.scan_id)
            if scan is None or scan.deleting or scan.state not in BUSY or self.live_for_scan(scan.id):
                return False
            rest = resting_state(scan, job)
            if scan.state == rest:
                return False
            scan.state = rest
            scan.stage, scan.progress = "", 0.0
            scan.reason = job.error or scan.reason
            try:
                self._documents.replace(scan)
            except VersionConflict:
                continue
            return True
        raise RuntimeError(f"scan {job.scan_id} is changed by others all the time")

    def _candidates(self) -> Iterator[Job]:
        """Jobs that can be claimed now: silent ones, longest first, then waiting ones, oldest first."""
        now = self._clock()
        running = self._documents.find(
            Job, {"state": "running"}, sort=[("lease_until", "asc")], limit=_CANDIDATES
        )
        yield from (job for job in running if job.lease_until is None or job.lease_until <= now)
        yield from self._documents.find(
            Job, {"state": "queued"}, sort=[("created_at", "asc")], limit=_CANDIDATES
        )

    def _take(self, job: Job, worker_id: str) -> Job:
        return self._change(
            job,
            "claim" if job.state == "queued" else "take_over",
            worker_id=worker_id,
            attempts=job.attempts + 1,
            lease_until=self._clock() + self._lease,
        )

    def _give_up(self, job: Job) -> None:
        error = Notice(code="processing_failed", params={"attempts": job.attempts})
        self.settle_scan(self._change(job, "give_up", error=error, lease_until=None))

    def _owned(self, job: Job, event: Event, **fields: object) -> Job:
        """A change by the worker that holds the job."""
        try:
            return self._change(job, event, **fields)
        except VersionConflict as conflict:
            now = self.get(job.id)
            fate = "deleted" if now is None else f"{now.state}, worker {now.worker_id}"
            raise JobLost(f"job {job.id} is {fate}") from conflict

    def _change(self, job: Job, event: Event, **fields: object) -> Job:
        """The one place that writes a job's state; raises `VersionConflict`, `ForbiddenTransition`."""
        return self._documents.replace(job.model_copy(update={**fields, "state": after(job.state, event)}))
