"""What every document store promises."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from shared.documents import DOCUMENTS, Job, Patient, Remembered, Scan, StudyChoice, Upload
from shared.errors import Notice
from shared.settings import Settings
from shared.stores import open_documents
from shared.stores.protocols import DocumentStore, Duplicate, StoreUnavailable, VersionConflict

START = datetime(2026, 1, 1, tzinfo=UTC)


def patient(first: str = "Анна", last: str = "Иванова", **fields: Any) -> Patient:
    return Patient(first_name=first, last_name=last, **fields)


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def test_a_document_comes_back_equal_with_all_its_kinds_of_values(documents: DocumentStore) -> None:
    scan = Scan(
        patient_id=None,
        description='кавычки " и \\ и \n, $set, {"a": 1}',
        size=5_000_000_000,
        progress=0.1,
        choices=[StudyChoice(study_uid="1.2", n_series=3)],
        probability_of_pathology=1e-9,
        temporary=True,
    )
    job = Job(kind="prepare", scan_id=scan.id, key="k", error=Notice(code="not_ct", params={"what": "MR"}))
    remembered = Remembered(request_hash="h", status=201, body={"a": [1, 2.5, None, {"b": "в"}]})
    for document in (scan, job, remembered):
        documents.insert(document)
        assert documents.get(type(document), document.id) == document


def test_moments_keep_their_microseconds(documents: DocumentStore) -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
    upload = Upload(expires_at=moment)
    documents.insert(upload)
    stored = documents.get(Upload, upload.id)
    assert stored is not None
    assert stored.expires_at == moment


def test_what_is_not_there_is_none(documents: DocumentStore) -> None:
    for kind in DOCUMENTS:
        assert documents.get(kind, "no such id") is None
        assert documents.delete(kind, "no such id") is False


def test_an_id_is_taken_once(documents: DocumentStore) -> None:
    first = patient()
    documents.insert(first)
    with pytest.raises(Duplicate):
        documents.insert(patient("Другая", id=first.id))
    assert documents.get(Patient, first.id) == first


def test_deleted_is_gone(documents: DocumentStore) -> None:
    one = patient()
    documents.insert(one)
    assert documents.delete(Patient, one.id) is True
    assert documents.get(Patient, one.id) is None
    assert documents.count(Patient) == 0


def test_a_replace_raises_the_version_and_the_time_of_change(documents: DocumentStore) -> None:
    one = patient(created_at=START, updated_at=START)
    documents.insert(one)
    one.description = "новое"
    written = documents.replace(one)
    assert (written.version, written.description, written.created_at) == (2, "новое", START)
    assert written.updated_at > START
    assert one.version == 1
    assert documents.get(Patient, one.id) == written


def test_a_replace_of_a_version_that_is_past_or_gone_is_refused(documents: DocumentStore) -> None:
    one = patient()
    documents.insert(one)
    documents.replace(one)
    with pytest.raises(VersionConflict):
        documents.replace(one)
    documents.delete(Patient, one.id)
    with pytest.raises(VersionConflict):
        documents.replace(one)
    assert documents.get(Patient, one.id) is None


def test_threads_that_write_one_document_lose_no_update(documents: DocumentStore) -> None:
    scan = Scan()
    documents.insert(scan)
    faults: list[BaseException] = []

    def add(times: int) -> None:
        try:
            while times:
                seen = documents.get(Scan, scan.id)
                assert seen is not None
                seen.size += 1
                try:
                    documents.replace(seen)
                except VersionConflict:
                    continue
                times -= 1
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=add, args=(10,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    counted = documents.get(Scan, scan.id)
    assert counted is not None
    assert (counted.size, counted.version) == (60, 61)


def test_one_live_job_per_key_and_a_new_one_once_it_ended(documents: DocumentStore) -> None:
    first = Job(kind="analyze", scan_id="s", key="s:analyze")
    documents.insert(first)
    with pytest.raises(Duplicate):
        documents.insert(Job(kind="analyze", scan_id="s", key="s:analyze"))
    documents.insert(Job(kind="analyze", scan_id="t", key="t:analyze"))
    first.state = "done"
    documents.replace(first)
    documents.insert(Job(kind="analyze", scan_id="s", key="s:analyze"))
    first.state, first.version = "queued", 2
    with pytest.raises(Duplicate):
        documents.replace(first)
    assert documents.count(Job, {"key": "s:analyze"}) == 2


@pytest.fixture
def scans(documents: DocumentStore) -> list[Scan]:
    """Ten scans of three patients, in an order of arrival that is not that of their times."""
    made = [
        Scan(
            id=f"scan-{number}",
            patient_id=f"p{number % 3}" if number else None,
            state="done" if number % 2 else "ready",
            probability_of_pathology=None if number % 4 == 0 else number / 10,
            created_at=at(number // 2),
            deleting=number == 9,
        )
        for number in (7, 2, 9, 4, 1, 0, 3, 8, 5, 6)
    ]
    for scan in made:
        documents.insert(scan)
    return made


def ids(found: list[Scan]) -> str:
    return "".join(scan.id.removeprefix("scan-") for scan in found)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, "0123456789"),
        ({"patient_id": "p1"}, "147"),
        ({"patient_id": None}, "0"),
        ({"patient_id": ["p1", "p2"]}, "124578"),
        ({"patient_id": []}, ""),
        ({"state": ("done",), "patient_id": "p1"}, "17"),
        ({"deleting": False, "patient_id": "p0"}, "36"),
        ({"deleting": True}, "9"),
        ({"created_at": at(2)}, "45"),
        ({"id": ["scan-3", "scan-1", "none"]}, "13"),
        ({"probability_of_pathology": 0.5}, "5"),
    ],
)
def test_filters_by_equality_and_by_one_of_several(
    documents: DocumentStore, scans: list[Scan], where: dict[str, Any], expected: str
) -> None:
    assert ids(documents.find(Scan, where)) == expected
    assert documents.count(Scan, where) == len(expected)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ([], "0123456789"),
        ([("created_at", "asc")], "0123456789"),
        ([("created_at", "desc")], "9876543210"),
        ([("state", "asc"), ("created_at", "desc")], "9753186420"),
        ([("probability_of_pathology", "asc")], "0481235679"),
        ([("patient_id", "desc"), ("created_at", "asc")], "2581473690"),
    ],
)
def test_the_order_is_total(documents: DocumentStore, scans: list[Scan], sort: Any, expected: str) -> None:
    assert ids(documents.find(Scan, sort=sort)) == expected


def test_pages_hold_every_document_once(documents: DocumentStore, scans: list[Scan]) -> None:
    pages = [
        documents.find(Scan, sort=[("created_at", "desc")], limit=3, offset=offset)
        for offset in range(0, 12, 3)
    ]
    assert [len(page) for page in pages] == [3, 3, 3, 1]
    assert "".join(map(ids, pages)) == "9876543210"
    assert documents.find(Scan, limit=0) == []


def test_counts_by_value_name_every_value(documents: DocumentStore, scans: list[Scan]) -> None:
    assert documents.count_by(Scan, "patient_id", ["p0", "p1", "p7"]) == {"p0": 3, "p1": 3, "p7": 0}
    assert documents.count_by(Scan, "patient_id", ["p0"], {"deleting": False}) == {"p0": 2}
    assert documents.count_by(Scan, "patient_id", []) == {}


def test_a_name_that_is_no_field_is_refused(documents: DocumentStore) -> None:
    hostile = "id; DROP TABLE scans"
    with pytest.raises(ValueError, match="no field"):
        documents.find(Scan, {hostile: 1})
    with pytest.raises(ValueError, match="no field"):
        documents.find(Scan, sort=[(hostile, "asc")])
    with pytest.raises(ValueError, match="no field"):
        documents.count_by(Scan, hostile, ["x"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "СРJO"),
        ("семён", "С"),
        ("СЕМЕНОВ", "С"),
        ("иван", "СР"),
        ("Иван семенов", "С"),
        ("ova", ""),
        ("mc-17", "JO"),
        ("o'b", "O"),
        ("100%", "J"),
        ("_", ""),
        ("после", "Р"),
        (".*", ""),
        ("straße", "O"),
    ],
)
def test_text_finds_parts_of_names_in_any_case_and_alphabet(
    documents: DocumentStore, text: str, found: str
) -> None:
    documents.insert(patient("Иван", "Семёнов", id="С"))
    documents.insert(patient("Пётр", "Иваненко", id="Р", description="ПОСЛЕ операции"))
    documents.insert(patient("John", "Smith", id="J", external_id="MC-170", description="100% cover"))
    documents.insert(patient("Ann", "O'Brien", id="O", external_id="mc-171", description="Hauptstrasse 5"))
    assert {one.id for one in documents.find(Patient, text=text)} == set(found)
    assert documents.count(Patient, text=text) == len(found)


def test_text_and_filter_hold_together_and_follow_an_edit(documents: DocumentStore) -> None:
    one = patient(last="Петрова")
    documents.insert(one)
    documents.insert(patient(last="Петрова", deleting=True))
    assert documents.count(Patient, {"deleting": False}, text="петр") == 1
    one.last_name = "Сидорова"
    documents.replace(one)
    assert documents.count(Patient, {"deleting": False}, text="петр") == 0
    assert documents.find(Patient, text="сидор")[0].id == one.id


def test_the_schema_can_be_ensured_again_and_by_many_at_once(document_settings: Settings) -> None:
    faults: list[BaseException] = []

    def ensure() -> None:
        store = open_documents(document_settings)
        try:
            store.ensure_schema()
            store.ensure_schema()
            store.ping()
        except BaseException as fault:
            faults.append(fault)
        finally:
            store.close()

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_closed_store_opens_again_with_everything_in_it(document_settings: Settings) -> None:
    store = open_documents(document_settings)
    store.ensure_schema()
    one = patient()
    store.insert(one)
    store.close()
    assert store.get(Patient, one.id) == one
    store.close()


def test_a_mongo_that_is_away_is_reported_in_time() -> None:
    store = open_documents(
        Settings(
            documents="mongo",
            mongo_url=SecretStr("mongodb://127.0.0.1:1/"),
            store_timeout_s=0.3,
        )
    )
    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable):
        store.ensure_schema()
    with pytest.raises(StoreUnavailable):
        store.get(Patient, "x")
    store.close()


def test_the_values_of_a_field_come_once_and_in_order_across_pages(
    documents: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite", "mongo"):
        monkeypatch.setattr(f"shared.stores.{module}.PAGE", 3)
    expected = [f"p{number}" for number in range(7)]
    for number in (5, 1, 6, 0, 2, 4, 3, 1, 1, 1, 1, 6):
        documents.insert(Scan(patient_id=f"p{number}"))
    documents.insert(Scan(patient_id=None))
    assert list(documents.values(Scan, "patient_id")) == expected
    assert list(documents.values(Job, "scan_id")) == []
