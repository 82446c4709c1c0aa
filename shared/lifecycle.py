"""How scans and patients come and go, so that no crash loses or orphans anything.

Writes go blob, then document, then job; deletions go mark, then jobs and blobs, then the document. What
a crash leaves between two steps is finished by `shared.sweeper`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from shared import keys
from shared.documents import AnalysisDoc, Document, Job, Patient, Remembered, Scan, Upload
from shared.errors import Problem
from shared.jobs import Jobs
from shared.stores.protocols import BlobStore, DocumentStore, Duplicate, Filter, VersionConflict

D = TypeVar("D", bound=Document)
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Stores:
    """The three things that a scan's life needs."""

    documents: DocumentStore
    blobs: BlobStore
    jobs: Jobs


def change(
    documents: DocumentStore, kind: type[D], doc_id: str, edit: Callable[[D], bool | None]
) -> D | None:
    """Read, edit, write; again when somebody else wrote in between.

    ``edit`` changes the document in place and may answer False to leave it as it is. Answers the stored
    document, or None when there is none.
    """
    while True:
        document = documents.get(kind, doc_id)
        if document is None or edit(document) is False:
            return document
        try:
            return documents.replace(document)
        except VersionConflict:
            continue


def each(documents: DocumentStore, kind: type[D], where: Filter | None = None) -> list[D]:
    """Every document that matches, read a page at a time."""
    found: dict[str, D] = {}
    for offset in itertools.count(0, _PAGE):
        page = documents.find(kind, where, limit=_PAGE, offset=offset)
        found.update((document.id, document) for document in page)
        if len(page) < _PAGE:
            break
    return list(found.values())


def live_patient(documents: DocumentStore, patient_id: str) -> Patient:
    """The patient; raises `Problem` ``patient_not_found`` when there is none, or its deletion has begun."""
    patient = documents.get(Patient, patient_id)
    if patient is None or patient.deleting:
        raise Problem("patient_not_found")
    return patient


def live_scan(documents: DocumentStore, scan_id: str) -> Scan:
    """The scan; raises `Problem` ``scan_not_found`` when there is none, or its deletion has begun."""
    scan = documents.get(Scan, scan_id)
    if scan is None or scan.deleting:
        raise Problem("scan_not_found")
    return scan


def add_scan(stores: Stores, scan: Scan, *, request_id: str, prepare: bool = True) -> Scan:
    """Insert the document of a scan whose source blob is stored, and queue its preparation.

    Raises
    ------
    Problem
        ``patient_not_found`` when the patient was deleted in the meantime: nothing of the scan remains.
        ``queue_full``: nor then.
    Duplicate
        The scan is there already; it stays.
    """
    try:
        if scan.patient_id is not None:
            live_patient(stores.documents, scan.patient_id)
        stores.jobs.check_room()
        stores.documents.insert(scan)
        if prepare:
            submit_prepare(stores.jobs, scan, request_id=request_id)
        if scan.patient_id is not None:
            live_patient(stores.documents, scan.patient_id)
    except Duplicate:
        raise
    except BaseException:
        remove_scan(stores, scan.id)
        raise
    return scan


def submit_prepare(jobs: Jobs, scan: Scan, *, request_id: str) -> Job:
    """Queue the reading of a scan; joins a preparation that waits or runs already."""
    return jobs.submit("prepare", scan.id, key=f"{scan.id}:prepare", request_id=request_id)


def remove_scan(stores: Stores, scan_id: str) -> None:
    """Delete a scan with its jobs, analyses and blobs. Safe to repeat, whatever is still there."""

    def mark(scan: Scan) -> bool:
        if scan.deleting:
            return False
        scan.deleting = True
        return True

    documents = stores.documents
    change(documents, Scan, scan_id, mark)
    stores.jobs.cancel_for_scan(scan_id)
    stores.blobs.delete_prefix(keys.scan_prefix(scan_id))
    for kind in (AnalysisDoc, Job, Upload):
        for document in each(documents, kind, {"scan_id": scan_id}):
            if isinstance(document, Upload):
                stores.blobs.delete_prefix(keys.upload_prefix(document.id))
            documents.delete(kind, document.id)
    _forget(documents, scan_id)
    documents.delete(Scan, scan_id)


def remove_patient(stores: Stores, patient_id: str) -> None:
    """Delete a patient with everything that hangs on it. Safe to repeat."""

    def mark(patient: Patient) -> bool:
        if patient.deleting:
            return False
        patient.deleting = True
        return True

    documents = stores.documents
    change(documents, Patient, patient_id, mark)
    for scan in each(documents, Scan, {"patient_id": patient_id}):
        remove_scan(stores, scan.id)
    for upload in each(documents, Upload, {"patient_id": patient_id}):
        remove_upload(stores, upload.id)
    _forget(documents, patient_id)
    documents.delete(Patient, patient_id)


def remove_upload(stores: Stores, upload_id: str) -> None:
    """Delete a two-step upload and its parts."""
    stores.blobs.delete_prefix(keys.upload_prefix(upload_id))
    _forget(stores.documents, upload_id)
    stores.documents.delete(Upload, upload_id)


def _forget(documents: DocumentStore, subject_id: str) -> None:
    for memory in each(documents, Remembered, {"subject_id": subject_id}):
        documents.delete(Remembered, memory.id)
