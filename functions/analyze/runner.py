"""One job from claim to end: a child process does the work, this side writes blobs and documents.

Order of writes: blobs, then the analysis, then the scan, then the job. Whoever lost the job (cancelled,
deleted, taken over) writes nothing more and removes what it wrote.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from functions.analyze.messages import Analysed, Broken, FileReady, Outcome, Prepared, Progress, Refused
from functions.analyze.model_info import current_model
from functions.analyze.process import AttemptFailed, run_work
from functions.analyze.record import record_analysis, record_prepared, record_unread
from functions.analyze.waiting import submit
from functions.analyze.work import Work, blob_of
from shared import keys
from shared.documents import Job, Scan, ScanState, new_id
from shared.errors import Notice, Problem
from shared.jobs import JobLost
from shared.lifecycle import Stores, change
from shared.settings import Settings, scratch_folder
from shared.stores.protocols import BlobMissing, BlobStore
from shared.sweeper import WORK_PREFIX

log = structlog.get_logger(__name__)

_PROGRESS_S = 0.5


def run_job(job: Job, stores: Stores, settings: Settings, stopping: Callable[[], bool]) -> None:
    """Run a claimed job to its end.

    Raises
    ------
    JobLost
        The job is no longer ours; nothing of it remains.
    StoppedError
        ``stopping`` became true; the job is still ours.
    AttemptFailed
        The attempt is lost; the job is still ours.
    """
    scan = stores.documents.get(Scan, job.scan_id)
    if scan is None or scan.deleting:
        raise JobLost(f"scan {job.scan_id} is gone")
    attempt = _Attempt(job, scan, stores, settings, stopping)
    try:
        attempt.run()
    except JobLost:
        attempt.undo()
        raise


class _Attempt:
    """The state of one try."""

    def __init__(
        self, job: Job, scan: Scan, stores: Stores, settings: Settings, stopping: Callable[[], bool]
    ) -> None:
        self.job = job
        self.scan = scan
        self.stores = stores
        self.settings = settings
        self.stopping = stopping
        self.analysis_id = new_id()
        self.started = time.monotonic()
        self._renewed = 0.0
        self._shown = ("", -1.0)

    def run(self) -> None:
        self._show("starting", 0.0)
        outcome = self._outcome()
        seconds = time.monotonic() - self.started
        scan_id, stores = self.scan.id, self.stores
        self.job = stores.jobs.renew(self.job, stage="writing", progress=1.0)
        if isinstance(outcome, Broken):
            log.error("attempt_broken", error=outcome.error, frames=outcome.frames, job_id=self.job.id)
            raise AttemptFailed(outcome.error)
        error: Notice | None = None
        if isinstance(outcome, Prepared):
            kept = record_prepared(stores, scan_id, outcome)
            if kept and self.settings.analyse_on_upload:
                self._analyse_next()
        elif isinstance(outcome, Analysed):
            kept = record_analysis(stores, scan_id, self.analysis_id, outcome, seconds)
        elif isinstance(outcome, Refused):
            error = outcome.notice if outcome.choices else None
            if self.job.kind == "prepare" or outcome.choices:
                kept = record_unread(stores, scan_id, outcome)
            else:
                refused = Analysed(
                    passport=outcome.passport,
                    verdict="no_result",
                    reason=outcome.notice,
                    model=current_model(self.settings),
                )
                kept = record_analysis(stores, scan_id, self.analysis_id, refused, seconds)
        else:
            raise AttemptFailed(type(outcome).__name__)
        if not kept:
            raise JobLost(f"scan {scan_id} is gone")
        stores.jobs.finish(self.job, "failed" if error else "done", error)

    def _analyse_next(self) -> None:
        """Queue the analysis of a scan that has just been read, unless it has one or the queue is full."""
        scan = self.stores.documents.get(Scan, self.scan.id)
        if scan is not None and scan.state == "ready" and scan.analysis_id is None:
            with suppress(Problem):
                submit(self.stores, self.settings, scan, request_id=self.job.request_id)

    def undo(self) -> None:
        """Remove what a lost attempt wrote; a scan that is gone leaves nothing at all."""
        stores, scan_id = self.stores, self.scan.id
        ended = stores.jobs.get(self.job.id)
        if ended is not None and not ended.live:
            # a cancel can come between a renewal and the scan's own progress
            stores.jobs.settle_scan(ended)
        scan = stores.documents.get(Scan, scan_id)
        if scan is None or scan.deleting:
            stores.blobs.delete_prefix(keys.scan_prefix(scan_id))
        elif self.job.kind == "analyze" and scan.analysis_id != self.analysis_id:
            stores.blobs.delete_prefix(keys.analysis_prefix(scan_id, self.analysis_id))

    def _outcome(self) -> Outcome:
        """Run the child and take over its files as they come."""
        with _work_folder(self.settings) as folder:
            try:
                source = _source_path(self.stores.blobs, self.scan.id, folder)
            except BlobMissing:
                raise JobLost(f"the source of scan {self.scan.id} is gone") from None
            work = Work.of(
                self.settings,
                self.job.kind,
                source=source,
                folder=folder,
                study_uid=self.scan.chosen_study_uid,
            )
            return run_work(
                work, self.settings, lambda message: self._hear(message, folder), self._stop_or_go_on
            )

    def _hear(self, message: Progress | FileReady, folder: Path) -> None:
        if isinstance(message, Progress):
            self._show(message.stage, message.progress)
        else:
            self._take(folder, message.name)

    def _stop_or_go_on(self) -> bool:
        """Asked some times a second: keeps the lease, and says whether to stop."""
        if time.monotonic() - self._renewed > self.settings.lease_s / 3:
            self._renew()
        return self.stopping()

    def _show(self, stage: str, progress: float) -> None:
        """Write stage and progress to the job and the scan, not more often than anybody looks."""
        fresh = time.monotonic() - self._renewed < _PROGRESS_S
        if (stage == self._shown[0] and fresh) or (stage, progress) == self._shown:
            return
        self._shown = (stage, progress)
        self._renew()
        state: ScanState = "preparing" if self.job.kind == "prepare" else "analysing"

        def edit(scan: Scan) -> bool:
            # A preparation that runs beside an analysis has nothing to say about the scan's progress.
            if scan.deleting or (state == "preparing" and scan.state not in ("uploaded", "preparing")):
                return False
            scan.state, scan.stage, scan.progress = state, stage, progress
            return True

        if change(self.stores.documents, Scan, self.scan.id, edit) is None:
            raise JobLost(f"scan {self.scan.id} is gone")

    def _renew(self) -> None:
        stage, progress = self._shown
        self.job = self.stores.jobs.renew(self.job, stage=stage, progress=max(0.0, progress))
        self._renewed = time.monotonic()

    def _take(self, folder: Path, name: str) -> None:
        """Store a finished file under its key, and give back its room."""
        path = folder / name
        try:
            key, content_type = blob_of(name, self.scan.id, self.analysis_id)
        except ValueError:
            raise AttemptFailed("unexpected file") from None
        with path.open("rb") as file:
            self.stores.blobs.put(key, file, content_type=content_type)
        path.unlink()


@contextmanager
def _work_folder(settings: Settings) -> Iterator[Path]:
    """A folder for the child's files, gone afterwards."""
    scratch = scratch_folder(settings)
    scratch.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _source_path(blobs: BlobStore, scan_id: str, folder: Path) -> str:
    """Where the child can read the source: the blob itself, or a copy in its folder."""
    key = keys.source(scan_id)
    local = blobs.local_path(key)
    if local is not None:
        return local
    copy = folder / "source"
    with copy.open("wb") as file:
        for piece in blobs.open(key):
            file.write(piece)
    return str(copy)
