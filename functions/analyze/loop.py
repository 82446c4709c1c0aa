"""The worker's loop: claim, run, sweep, tell that it lives; stop in order on SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field

import structlog

from functions.analyze.messages import ModelReady
from functions.analyze.process import AttemptFailed, run_work, warm_up
from functions.analyze.runner import run_job
from functions.analyze.work import Work
from shared import keys
from shared.context import context_of
from shared.ct.isolate import StoppedError
from shared.documents import Job, new_id
from shared.jobs import JobLost
from shared.lifecycle import Stores
from shared.model.analysis import ModelInfo
from shared.settings import Settings
from shared.stores.protocols import StorageFull, StoreUnavailable
from shared.sweeper import WORKER_NOTE_S, sweep

log = structlog.get_logger(__name__)


@dataclass
class Worker:
    """One worker: its stores, its settings and whether it goes on."""

    settings: Settings
    stores: Stores
    worker_id: str = field(
        default_factory=lambda: f"{socket.gethostname()[:40]}-{os.getpid()}-{new_id()[-8:]}"
    )
    stop: threading.Event = field(default_factory=threading.Event)
    _model: ModelInfo | None = None
    _noted: float = -1e9
    _swept: float = -1e9

    def run(self) -> int:
        """Until `stop` is set; the exit code."""
        warm_up()
        model = self._model = self._load_model()
        if model is None:
            return 1
        log.info("worker_ready", worker_id=self.worker_id, model=model.version, provider=model.provider)
        while not self.stop.is_set():
            try:
                self._note()
                self._sweep()
                job = self.stores.jobs.claim(self.worker_id)
                if job is None:
                    self.stop.wait(self.settings.poll_s)
                    continue
                self._run(job)
            except StoreUnavailable:
                log.warning("store_unavailable")
                self.stop.wait(2.0)
            except StorageFull:
                log.error("storage_full")
                self.stop.wait(10.0)
        self.stores.blobs.delete(keys.worker_note(self.worker_id))
        log.info("worker_stopped", worker_id=self.worker_id)
        return 0

    def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(request_id=job.request_id, job_id=job.id, scan_id=job.scan_id)
        begun = time.monotonic()
        try:
            end = self._end_of(job)
        finally:
            structlog.contextvars.clear_contextvars()
        log.info(
            "job",
            job_id=job.id,
            scan_id=job.scan_id,
            kind=job.kind,
            end=end,
            attempt=job.attempts,
            ms=round((time.monotonic() - begun) * 1000),
        )

    def _end_of(self, job: Job) -> str:
        """Run the job and leave it in a state that somebody goes on from."""
        jobs = self.stores.jobs
        try:
            run_job(job, self.stores, self.settings, self._stopping)
        except JobLost:
            return "lost"
        except (StoppedError, AttemptFailed) as reason:
            stopped = isinstance(reason, StoppedError)
            held = jobs.get(job.id)
            if held is None or held.worker_id != self.worker_id or held.state != "running":
                return "lost"
            try:
                if stopped:
                    jobs.release(held)
                else:
                    jobs.abandon(held)
            except JobLost:
                return "lost"
            return "released" if stopped else "failed_attempt"
        return "done"

    def _stopping(self) -> bool:
        """Asked some times a second during a job, which may be long: this worker lives meanwhile."""
        self._note()
        return self.stop.is_set()

    def _note(self) -> None:
        """Say that this worker lives, and where its model runs: `/readyz` of analyze reads it."""
        if self._model is None or time.monotonic() - self._noted < WORKER_NOTE_S:
            return
        self._noted = time.monotonic()
        note = {"worker_id": self.worker_id, "model": self._model.model_dump()}
        self.stores.blobs.put(keys.worker_note(self.worker_id), json.dumps(note).encode())

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < self.settings.sweep_s:
            return
        self._swept = time.monotonic()
        sweep(self.stores, self.settings)

    def _load_model(self) -> ModelInfo | None:
        """Load the model once in a child: a worker whose model does not run must not take jobs."""
        work = Work.of(self.settings, "model")
        try:
            outcome = run_work(work, self.settings, lambda _: None, self.stop.is_set)
        except StoppedError:
            return None
        if isinstance(outcome, ModelReady):
            return outcome.model
        log.error("model_does_not_load", **outcome.model_dump(include={"error", "detail", "notice"}))
        return None


def run_worker(settings: Settings) -> int:
    """Run one worker in this process until SIGTERM or SIGINT; the exit code."""
    worker = Worker(settings, context_of(settings).stores)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop.set())
    return worker.run()
