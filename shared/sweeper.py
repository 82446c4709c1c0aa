"""Finishes what a crash left: half deletes, orphan blobs and documents, stale uploads, forgotten work.

Every worker sweeps now and then; two at once do no harm. Nothing younger than a grace period is touched:
a write goes blob first, document second, and the time in between is not an orphan.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import count, islice
from typing import TypeVar

import structlog

from shared import keys
from shared.documents import AnalysisDoc, Document, Job, Patient, Remembered, Scan, Upload, utc_now
from shared.errors import Problem
from shared.jobs import BUSY
from shared.lifecycle import Stores, each, remove_patient, remove_scan, remove_upload, submit_prepare
from shared.settings import Settings, scratch_folder

log = structlog.get_logger(__name__)
E = TypeVar("E", Upload, Remembered)

#: seconds between two notes of a living worker
WORKER_NOTE_S = 20.0
#: start of the name of a work folder in the scratch folder
WORK_PREFIX = "work-"
#: An attempt that leaves blobs behind belongs to a live job, and what becomes of that job changes the scan.
#: So analyses are looked through in scans that changed lately, not in all that there are.
CHANGED_LATELY = timedelta(days=1)
_BATCH = 500


@dataclass
class Swept:
    """How much was finished, by kind."""

    deletions: int = 0
    temporary: int = 0
    uploads: int = 0
    blobs: int = 0
    documents: int = 0
    requeued: int = 0
    folders: int = 0


def sweep(
    stores: Stores, settings: Settings, *, grace_s: float = 300.0, now: datetime | None = None
) -> Swept:
    """Finish everything that nobody else will; a second sweep right after it finds nothing.

    Parameters
    ----------
    grace_s
        What is younger is left alone, seconds.
    now
        The present moment in UTC, for tests.
    """
    return _Sweep(stores, settings, grace_s, now or utc_now()).run()


class _Sweep:
    """One sweep, in an order in which each step leaves work only for those after it."""

    def __init__(self, stores: Stores, settings: Settings, grace_s: float, now: datetime) -> None:
        self.stores = stores
        self.documents, self.blobs = stores.documents, stores.blobs
        self.settings = settings
        self.now = now
        #: what was written after this moment is left alone
        self.old = now - timedelta(seconds=grace_s)
        self.swept = Swept()

    def run(self) -> Swept:
        self._deletions()
        self._temporary()
        self._uploads()
        self._remembered()
        self._patientless_scans()
        self._scanless_documents()
        self._orphan_blobs()
        self._orphan_analyses()
        self._stale_objects()
        self._forgotten_scans()
        self._work_folders()
        counts = asdict(self.swept)
        if any(counts.values()):
            log.info("swept", **counts)
        return self.swept

    def _deletions(self) -> None:
        for patient in each(self.documents, Patient, {"deleting": True}):
            remove_patient(self.stores, patient.id)
            self.swept.deletions += 1
        for scan in each(self.documents, Scan, {"deleting": True}):
            remove_scan(self.stores, scan.id)
            self.swept.deletions += 1

    def _temporary(self) -> None:
        """Studies of /inference/predict whose request ended without removing them."""
        longest = timedelta(seconds=self.settings.analyze_wait_s + 60)
        for scan in each(self.documents, Scan, {"temporary": True}):
            if scan.created_at < self.now - longest:
                remove_scan(self.stores, scan.id)
                self.swept.temporary += 1

    def _uploads(self) -> None:
        for upload in self._expired(Upload, self.old):
            remove_upload(self.stores, upload.id)
            self.swept.uploads += 1

    def _remembered(self) -> None:
        for memory in self._expired(Remembered, self.now):
            self.documents.delete(Remembered, memory.id)
            self.swept.documents += 1

    def _patientless_scans(self) -> None:
        for patient_id in self._unknown(Patient, self.documents.values(Scan, "patient_id")):
            for scan in each(self.documents, Scan, {"patient_id": patient_id}):
                if scan.created_at < self.old:
                    remove_scan(self.stores, scan.id)
                    self.swept.documents += 1

    def _scanless_documents(self) -> None:
        for kind in (AnalysisDoc, Job):
            for scan_id in self._unknown(Scan, self.documents.values(kind, "scan_id")):
                for document in each(self.documents, kind, {"scan_id": scan_id}):
                    if document.created_at < self.old:
                        self.documents.delete(kind, document.id)
                        self.swept.documents += 1

    def _orphan_blobs(self) -> None:
        scanless = self._unknown(Scan, self.blobs.children(keys.SCANS))
        # a large upload that is being completed has its blob long before its scan
        for scan_id in self._unknown(Upload, scanless, field="scan_id"):
            self._remove_blobs(keys.scan_prefix(scan_id), self.old)
        for upload_id in self._unknown(Upload, self.blobs.children(keys.UPLOADS)):
            self._remove_blobs(keys.upload_prefix(upload_id), self.old)

    def _orphan_analyses(self) -> None:
        """Blobs of attempts that ended before their document was written."""
        written_before = min(self.old, self.now - timedelta(seconds=self.settings.lease_s))
        for scan in self._changed_lately():
            ids = self.blobs.children(keys.analyses_prefix(scan.id))
            for analysis_id in self._unknown(AnalysisDoc, ids):
                self._remove_blobs(keys.analysis_prefix(scan.id, analysis_id), written_before)

    def _stale_objects(self) -> None:
        for prefix, seconds in (
            (keys.INCOMING, float(self.settings.upload_ttl_s)),
            (keys.WORKERS, 10 * WORKER_NOTE_S),
        ):
            for info in list(self.blobs.list(prefix)):
                if info.modified < self.now.timestamp() - seconds:
                    self.blobs.delete(info.key)
                    self.swept.blobs += 1

    def _forgotten_scans(self) -> None:
        """Scans that wait for a job that is not there: the crash came between document and job."""
        jobs = self.stores.jobs
        for scan in each(self.documents, Scan, {"state": BUSY}):
            if scan.updated_at >= self.old or jobs.live_for_scan(scan.id):
                continue
            newest = jobs.newest_for_scan(scan.id)
            if newest is not None:
                self.swept.requeued += jobs.settle_scan(newest)
            elif not scan.temporary:
                with suppress(Problem):  # the queue is full: next time
                    submit_prepare(jobs, scan, request_id="sweep")
                    self.swept.requeued += 1

    def _work_folders(self) -> None:
        """Work folders of killed workers."""
        limit = self.now.timestamp() - 2 * self.settings.job_timeout_s - 60
        for path in scratch_folder(self.settings).glob(f"{WORK_PREFIX}*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < limit:
                    shutil.rmtree(path, ignore_errors=True)
                    self.swept.folders += 1

    def _expired(self, kind: type[E], before: datetime) -> Iterator[E]:
        """Documents that ran out; each has to be deleted before the next is asked for."""
        while True:
            oldest = self.documents.find(kind, sort=[("expires_at", "asc")], limit=_BATCH)
            expired = [document for document in oldest if document.expires_at < before]
            yield from expired
            if len(expired) < _BATCH:
                return

    def _unknown(self, kind: type[Document], ids: Iterable[str], field: str = "id") -> Iterator[str]:
        """Those ids that no document of this kind has."""
        remaining = iter(ids)
        while batch := list(islice(remaining, _BATCH)):
            known = self.documents.count_by(kind, field, batch)
            yield from (one for one in batch if not known[one])

    def _changed_lately(self) -> Iterator[Scan]:
        kept = {"deleting": False, "temporary": False}
        for offset in count(0, _BATCH):
            page = self.documents.find(Scan, kept, sort=[("updated_at", "desc")], limit=_BATCH, offset=offset)
            late = [scan for scan in page if scan.updated_at > self.now - CHANGED_LATELY]
            yield from late
            if len(late) < _BATCH:
                return

    def _remove_blobs(self, prefix: str, written_before: datetime) -> None:
        """Remove what lies under a prefix, unless something of it is younger."""
        moment = written_before.timestamp()
        if all(info.modified < moment for info in self.blobs.list(prefix)):
            self.swept.blobs += self.blobs.delete_prefix(prefix)
