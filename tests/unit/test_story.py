"""Random days of the service, with a kill at any call to a store: what DESIGN promises holds after each step.

A kill is raised out of a store call, and every later call of the same operation is refused, so that no
cleaning up of ours runs either: that is what kill -9 leaves.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast
from unittest import mock
from uuid import UUID

from hypothesis import settings as run_with
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared import keys
from shared.ct.passport import Passport
from shared.documents import AnalysisDoc, Job, Patient, Scan, utc_now
from shared.errors import Problem
from shared.jobs import BUSY, JobLost, Jobs
from shared.lifecycle import Stores, add_scan, each, remove_patient, remove_scan
from shared.model.analysis import ModelInfo
from shared.settings import Settings
from shared.stores.folder import FolderBlobs
from shared.stores.protocols import BlobInfo, BlobStore, DocumentStore, VersionConflict
from shared.stores.sqlite import SqliteDocuments
from shared.sweeper import Swept, sweep

#: after how many store calls an operation is killed; None: not at all
KILLS = st.none() | st.integers(0, 14)
PICKS = st.integers(0, 99)


class Killed(BaseException):
    """The process is gone."""


class Mortal:
    """A store that counts calls and dies."""

    def __init__(self, store: Any, fate: Fate) -> None:
        self._store = store
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.step()
            return method(*args, **kwargs)

        return call


@dataclass
class Fate:
    """How many calls are left."""

    left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        if self.left <= 0:
            raise Killed
        self.left -= 1


class QuickDocuments(SqliteDocuments):
    """SQLite that does not wait for the disk."""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA synchronous = OFF")
        return connection


class DatedBlobs(FolderBlobs):
    """A folder whose files bear the time of the story's clock."""

    def __init__(self, root: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(root)
        self._clock = clock

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str = "") -> BlobInfo:
        info = super().put(key, data)
        path = self.local_path(key)
        assert path is not None
        os.utime(path, (self._clock().timestamp(),) * 2)
        return info


@dataclass
class Worker:
    """A worker in the middle of a job."""

    job: Job
    analysis_id: str


class Story(RuleBasedStateMachine):
    """Users, workers and sweepers at one pair of stores."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="story-"))
        self.now = utc_now()
        self.settings = Settings(data_dir=self.folder, lease_s=30, max_attempts=2)
        self.documents: DocumentStore = QuickDocuments(self.folder / "documents.sqlite3")
        self.blobs: BlobStore = DatedBlobs(self.folder / "blobs", lambda: self.now)
        self.documents.ensure_schema()
        self.blobs.ensure_ready()
        self.fate = Fate()
        mortal = cast(DocumentStore, Mortal(self.documents, self.fate))
        self.stores = Stores(
            mortal,
            cast(BlobStore, Mortal(self.blobs, self.fate)),
            Jobs(mortal, self.settings, clock=lambda: self.now),
        )
        self.workers: list[Worker] = []
        ids = count(1)
        self.patches = ExitStack()
        for target, stand_in in (
            ("shared.stores.sqlite.utc_now", lambda: self.now),
            ("shared.documents.uuid7", lambda: UUID(int=next(ids))),
            # no power cuts in this story, so nothing waits for the disk
            ("os.fsync", lambda handle: None),
        ):
            self.patches.enter_context(mock.patch(target, stand_in))

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.patches.close()
            self.documents.close()
            shutil.rmtree(self.folder)

    # ── what happens ────────────────────────────────────────────────────────────────────

    @initialize()
    def a_study_that_two_workers_have_begun(self) -> None:
        self.register_a_patient()
        self.upload(0, None)
        self.ask_for_an_analysis(0, None)
        self.claim(None)
        self.claim(None)

    @rule()
    def register_a_patient(self) -> None:
        self.documents.insert(
            Patient(first_name="a", last_name="b", created_at=self.now, updated_at=self.now)
        )

    @precondition(lambda self: self.patients())
    @rule(pick=PICKS, kill=KILLS)
    def upload(self, pick: int, kill: int | None) -> None:
        scan = Scan(patient_id=self.pick(self.patients(), pick).id, created_at=self.now, updated_at=self.now)
        with self.mortal(kill):
            self.stores.blobs.put(keys.source(scan.id), b"source")
            add_scan(self.stores, scan, request_id="r")

    @precondition(lambda self: self.scans())
    @rule(pick=PICKS, kill=KILLS)
    def ask_for_an_analysis(self, pick: int, kill: int | None) -> None:
        scan = self.pick(self.scans(), pick)
        with self.mortal(kill):
            job = self.stores.jobs.submit("analyze", scan.id, key=f"{scan.id}:m", request_id="r")
            if job.state == "queued":
                scan.state = "queued"
                self.stores.documents.replace(scan)

    @rule(kill=KILLS)
    def claim(self, kill: int | None) -> None:
        with self.mortal(kill):
            job = self.stores.jobs.claim(f"w{len(self.workers)}")
            if job is not None:
                self.workers.append(Worker(job, f"{job.id}-{job.attempts}"))

    @precondition(lambda self: self.workers)
    @rule(pick=PICKS, kill=KILLS)
    def work(self, pick: int, kill: int | None) -> None:
        """Write the blobs, then document, scan and job, as a worker does that still holds its job."""
        worker = self.pick(self.workers, pick)
        self.workers.remove(worker)
        with self.mortal(kill):
            job = self.stores.jobs.renew(worker.job, stage="s", progress=0.5)
            for key in self.blobs_of(worker):
                self.stores.blobs.put(key, b"result")
            job = self.stores.jobs.renew(job, stage="writing", progress=1.0)
            scan = self.stores.documents.get(Scan, job.scan_id)
            if scan is None or scan.deleting:
                raise JobLost("the scan is gone")
            if job.kind == "analyze":
                self.stores.documents.insert(self.analysis(worker))
                scan.analysis_id, scan.state = worker.analysis_id, "done"
            else:
                scan.volume_ready = True
                scan.state = "ready" if scan.state in ("uploaded", "preparing") else scan.state
            self.stores.documents.replace(scan)
            self.stores.jobs.finish(job, "done")

    @precondition(lambda self: self.workers)
    @rule(pick=PICKS)
    def kill_a_worker(self, pick: int) -> None:
        self.workers.remove(self.pick(self.workers, pick))

    @precondition(lambda self: self.scans())
    @rule(pick=PICKS, kill=KILLS)
    def delete_a_scan(self, pick: int, kill: int | None) -> None:
        with self.mortal(kill):
            remove_scan(self.stores, self.pick(self.scans(), pick).id)

    @precondition(lambda self: self.patients())
    @rule(pick=PICKS, kill=KILLS)
    def delete_a_patient(self, pick: int, kill: int | None) -> None:
        with self.mortal(kill):
            remove_patient(self.stores, self.pick(self.patients(), pick).id)

    @precondition(lambda self: self.live_jobs())
    @rule(pick=PICKS, kill=KILLS)
    def cancel(self, pick: int, kill: int | None) -> None:
        with self.mortal(kill):
            self.stores.jobs.cancel(self.pick(self.live_jobs(), pick).id)

    @rule(seconds=st.sampled_from([1, 40, 400, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(kill=KILLS)
    def sweep(self, kill: int | None) -> None:
        with self.mortal(kill):
            sweep(self.stores, self.settings, now=self.now)

    # ── what holds after each of them ───────────────────────────────────────────────────

    @invariant()
    def the_blobs_of_every_document_exist(self) -> None:
        present = {info.key for info in self.blobs.list("")}
        for scan in self.scans():
            assert keys.source(scan.id) in present
            assert not scan.volume_ready or keys.volume_geometry(scan.id) in present
            for analysis in each(self.documents, AnalysisDoc, {"scan_id": scan.id}):
                assert keys.evidence(scan.id, analysis.id) in present
            if scan.analysis_id:
                assert self.documents.get(AnalysisDoc, scan.analysis_id)

    @invariant()
    def no_job_is_tried_more_often_than_allowed(self) -> None:
        assert all(job.attempts <= 2 for job in each(self.documents, Job))

    def settle(self) -> None:
        """All that was under way dies; then workers and sweepers get the time they need."""
        self.workers.clear()
        for _ in range(6):
            self.now += timedelta(hours=1)
            sweep(self.stores, self.settings, now=self.now)
            self.claim(None)
            while self.workers:
                self.work(0, None)
                self.claim(None)
        self.now += timedelta(hours=1)
        sweep(self.stores, self.settings, now=self.now)

        assert not self.live_jobs()
        scans = self.scans()
        assert each(self.documents, Scan) == scans
        assert not [scan for scan in scans if scan.state in BUSY and not self.was_cancelled(scan)]
        assert {scan.patient_id for scan in scans} <= {patient.id for patient in self.patients()}
        known = {scan.id for scan in scans}
        assert set(self.documents.values(AnalysisDoc, "scan_id")) <= known
        assert set(self.documents.values(Job, "scan_id")) <= known
        analyses = {analysis.id for analysis in each(self.documents, AnalysisDoc)}
        for info in self.blobs.list(""):
            parts = info.key.split("/")
            assert parts[1] in known, info.key
            assert parts[2] != "analyses" or parts[3] in analyses, info.key
        self.the_blobs_of_every_document_exist()
        assert sweep(self.stores, self.settings, now=self.now) == Swept()

    # ── helpers ─────────────────────────────────────────────────────────────────────────

    @contextmanager
    def mortal(self, kill: int | None) -> Iterator[None]:
        """Run an operation that is killed after so many calls; a refusal is an answer, not a fault."""
        self.fate.left = kill
        try:
            yield
        except (Killed, JobLost, VersionConflict, Problem):
            pass
        finally:
            self.fate.left = None

    def pick(self, things: list[Any], number: int) -> Any:
        return things[number % len(things)]

    def patients(self) -> list[Patient]:
        return each(self.documents, Patient, {"deleting": False})

    def scans(self) -> list[Scan]:
        return each(self.documents, Scan, {"deleting": False})

    def live_jobs(self) -> list[Job]:
        return each(self.documents, Job, {"live": True})

    def was_cancelled(self, scan: Scan) -> bool:
        newest = Jobs(self.documents, self.settings).newest_for_scan(scan.id)
        return newest is not None and newest.state == "cancelled"

    def blobs_of(self, worker: Worker) -> list[str]:
        scan_id = worker.job.scan_id
        if worker.job.kind == "prepare":
            return [keys.volume_block(scan_id, 0), keys.volume_geometry(scan_id)]
        return [keys.evidence(scan_id, worker.analysis_id), keys.heatmap(scan_id, worker.analysis_id, "ru")]

    def analysis(self, worker: Worker) -> AnalysisDoc:
        return AnalysisDoc(
            id=worker.analysis_id,
            scan_id=worker.job.scan_id,
            verdict="normal",
            model=ModelInfo(name="m", version="1", sha256="0"),
            passport=Passport(),
            created_at=self.now,
        )


TestStory = Story.TestCase
TestStory.settings = run_with(max_examples=50, stateful_step_count=40, deadline=None, derandomize=True)
