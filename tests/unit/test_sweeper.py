"""The sweeper: what each kind of crash leaves is finished, what is alive or young stays, twice is once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from shared import keys
from shared.ct.passport import Passport
from shared.documents import AnalysisDoc, Job, Patient, Remembered, Scan, Upload, utc_now
from shared.errors import Notice
from shared.jobs import Jobs
from shared.lifecycle import Stores
from shared.model.analysis import ModelInfo
from shared.settings import Settings, scratch_folder
from shared.stores import open_blobs, open_documents
from shared.sweeper import WORK_PREFIX, Swept, sweep

LATER = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, lease_s=30, max_attempts=3, analyze_wait_s=300)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    documents, blobs = open_documents(settings), open_blobs(settings)
    documents.ensure_schema()
    blobs.ensure_ready()
    yield Stores(documents, blobs, Jobs(documents, settings))
    documents.close()


@pytest.fixture
def patient(stores: Stores) -> Patient:
    patient = Patient(first_name="Анна", last_name="Иванова")
    stores.documents.insert(patient)
    return patient


@pytest.fixture
def scan(stores: Stores, patient: Patient) -> Scan:
    """A scan in order: source, volume, an analysis with its blobs."""
    scan = Scan(patient_id=patient.id, state="done", volume_ready=True)
    analysis = analysis_of(scan)
    for key in (
        keys.source(scan.id),
        keys.volume_geometry(scan.id),
        keys.heatmap(scan.id, analysis.id, "ru"),
    ):
        stores.blobs.put(key, b"x")
    scan.analysis_id = analysis.id
    stores.documents.insert(scan)
    stores.documents.insert(analysis)
    stores.documents.insert(Job(kind="analyze", scan_id=scan.id, key="k", state="done"))
    return scan


def analysis_of(scan: Scan) -> AnalysisDoc:
    return AnalysisDoc(
        scan_id=scan.id,
        verdict="normal",
        probability=0.1,
        model=ModelInfo(name="m", version="1", sha256="0"),
        passport=Passport(),
    )


def blobs_of(stores: Stores) -> list[str]:
    return [blob.key for blob in stores.blobs.list("")]


def sweep_later(stores: Stores, settings: Settings) -> Swept:
    """A sweep an hour from now; that a second one finds nothing is held here for every test."""
    swept = sweep(stores, settings, now=utc_now() + LATER)
    assert sweep(stores, settings, now=utc_now() + LATER) == Swept()
    return swept


def test_what_is_in_order_stays(stores: Stores, settings: Settings, scan: Scan) -> None:
    before = blobs_of(stores)
    assert sweep_later(stores, settings) == Swept()
    assert blobs_of(stores) == before
    assert stores.documents.get(Scan, scan.id) == scan


def test_a_deletion_that_broke_off_is_finished_at_once(
    stores: Stores, settings: Settings, patient: Patient, scan: Scan
) -> None:
    patient.deleting = True
    stores.documents.replace(patient)
    assert sweep(stores, settings).deletions == 1
    assert blobs_of(stores) == []
    for kind in (Patient, Scan, AnalysisDoc, Job):
        assert stores.documents.count(kind) == 0


def test_a_scan_whose_deletion_broke_off_goes_and_its_patient_stays(
    stores: Stores, settings: Settings, patient: Patient, scan: Scan
) -> None:
    scan.deleting = True
    stores.documents.replace(scan)
    assert sweep(stores, settings).deletions == 1
    assert blobs_of(stores) == []
    assert stores.documents.count(Scan) == 0
    assert stores.documents.get(Patient, patient.id) == patient


def test_blobs_without_a_document_go_once_they_are_not_young(
    stores: Stores, settings: Settings, scan: Scan
) -> None:
    kept = blobs_of(stores)
    stores.blobs.put(keys.source("nobody"), b"x")
    stores.blobs.put(keys.volume_block("nobody", 1), b"x")
    stores.blobs.put(keys.upload_part("nobody", 1), b"x")
    assert sweep(stores, settings) == Swept()
    assert sweep_later(stores, settings).blobs == 3
    assert blobs_of(stores) == kept


def test_blobs_of_an_attempt_without_an_analysis_go(stores: Stores, settings: Settings, scan: Scan) -> None:
    kept = blobs_of(stores)
    stores.blobs.put(keys.evidence(scan.id, "lost attempt"), b"x")
    assert sweep_later(stores, settings).blobs == 1
    assert blobs_of(stores) == kept


def test_the_blob_of_an_upload_that_is_being_completed_stays(stores: Stores, settings: Settings) -> None:
    stores.documents.insert(Upload(scan_id="coming", expires_at=utc_now() + 2 * LATER))
    stores.blobs.put(keys.source("coming"), b"x")
    assert sweep_later(stores, settings) == Swept()
    assert blobs_of(stores) == [keys.source("coming")]


def test_stale_uploads_and_remembered_answers_go(stores: Stores, settings: Settings) -> None:
    stale, fresh = Upload(expires_at=utc_now()), Upload(expires_at=utc_now() + 2 * LATER)
    for upload in (stale, fresh):
        stores.documents.insert(upload)
        stores.blobs.put(keys.upload_part(upload.id, 1), b"x")
    stores.documents.insert(Remembered(request_hash="h", expires_at=utc_now()))
    stores.documents.insert(Remembered(request_hash="i", expires_at=utc_now() + 2 * LATER))
    swept = sweep_later(stores, settings)
    assert (swept.uploads, swept.documents) == (1, 1)
    assert blobs_of(stores) == [keys.upload_part(fresh.id, 1)]
    assert stores.documents.count(Remembered) == 1


def test_more_stale_rows_than_one_batch_all_go(
    stores: Stores, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.sweeper._BATCH", 4)
    for _ in range(11):
        stores.documents.insert(Remembered(request_hash="h", expires_at=utc_now()))
    assert sweep_later(stores, settings).documents == 11


def test_temporary_scans_whose_request_is_over_go(stores: Stores, settings: Settings) -> None:
    scan = Scan(temporary=True, state="done")
    stores.documents.insert(scan)
    stores.blobs.put(keys.source(scan.id), b"x")
    assert sweep(stores, settings) == Swept()
    assert sweep_later(stores, settings).temporary == 1
    assert blobs_of(stores) == []


def test_documents_of_a_scan_or_patient_that_is_gone_go(stores: Stores, settings: Settings) -> None:
    stray = Scan(patient_id="gone", state="done")
    stores.documents.insert(stray)
    stores.blobs.put(keys.source(stray.id), b"x")
    stores.documents.insert(analysis_of(Scan()))
    stores.documents.insert(Job(kind="prepare", scan_id="gone", key="k"))
    assert sweep(stores, settings) == Swept()
    assert sweep_later(stores, settings).documents == 3
    assert blobs_of(stores) == []


def test_a_scan_without_a_job_is_prepared_after_all(
    stores: Stores, settings: Settings, patient: Patient
) -> None:
    scan = Scan(patient_id=patient.id)
    stores.documents.insert(scan)
    stores.blobs.put(keys.source(scan.id), b"x")
    assert sweep_later(stores, settings).requeued == 1
    job = stores.jobs.claim("w")
    assert job is not None
    assert (job.kind, job.scan_id) == ("prepare", scan.id)


def test_a_scan_whose_job_failed_unseen_comes_to_rest_with_the_reason(
    stores: Stores, settings: Settings, scan: Scan
) -> None:
    scan.state = "analysing"
    scan = stores.documents.replace(scan)
    job = stores.jobs.submit("analyze", scan.id, key="again", request_id="")
    job.state, job.error = "failed", Notice(code="processing_failed")
    stores.documents.replace(job)
    assert sweep_later(stores, settings).requeued == 1
    rested = stores.documents.get(Scan, scan.id)
    assert rested is not None
    assert (rested.state, rested.reason_code) == ("failed", "processing_failed")


def test_a_scan_whose_job_is_alive_is_left_alone(stores: Stores, settings: Settings, scan: Scan) -> None:
    scan.state = "queued"
    stores.documents.replace(scan)
    stores.jobs.submit("analyze", scan.id, key="again", request_id="")
    assert sweep_later(stores, settings) == Swept()


def test_old_work_folders_and_notes_of_dead_workers_go(stores: Stores, settings: Settings) -> None:
    folder = scratch_folder(settings) / f"{WORK_PREFIX}dead"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"x")
    stores.blobs.put(keys.worker_note("dead"), b"{}")
    stores.blobs.put(keys.incoming("fresh.zip"), b"x")
    swept = sweep_later(stores, settings)
    assert (swept.folders, swept.blobs) == (1, 1)
    assert not folder.exists()
    assert blobs_of(stores) == [keys.incoming("fresh.zip")]
