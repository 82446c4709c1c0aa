"""What is particular to SQLite: its query plans, a full disk, and a schema that grew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.documents import Document, Job, Patient, Scan
from shared.stores.protocols import StorageFull, StoreUnavailable
from shared.stores.sqlite import SqliteDocuments


class Watched(SqliteDocuments):
    """A store that keeps the statements it runs, with their values filled in."""

    statements: list[str]

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self.statements.append)
        return connection


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path / "documents.sqlite3")
    watched.statements = []
    watched.ensure_schema()
    yield watched
    watched.close()


LISTED = {"deleting": False}
SCANS = {"deleting": False, "temporary": False}
NEWEST: Any = [("created_at", "desc")]


@pytest.mark.parametrize(
    ("kind", "where", "text", "sort"),
    [
        (Patient, LISTED, "", NEWEST),
        (Patient, LISTED, "иванов", NEWEST),
        (Patient, LISTED, "", [("last_name", "asc")]),
        (Patient, LISTED, "", [("updated_at", "desc")]),
        (Scan, SCANS, "", NEWEST),
        (Scan, SCANS, "", [("probability_of_pathology", "desc")]),
        (Scan, SCANS, "", [("updated_at", "desc")]),
        (Scan, {**SCANS, "patient_id": "p"}, "", NEWEST),
        (Scan, {**SCANS, "verdict": "pathology"}, "", NEWEST),
        (Scan, {**SCANS, "state": "done"}, "", NEWEST),
        (Scan, {**SCANS, "state": "done", "verdict": "normal"}, "", NEWEST),
        (Job, {"state": "queued"}, "", [("created_at", "asc")]),
        (Job, {"state": "running"}, "", [("lease_until", "asc")]),
    ],
)
def test_a_list_is_read_in_order_from_an_index_and_counted_without_the_bodies(
    store: Watched, kind: type[Document], where: dict[str, Any], text: str, sort: Any
) -> None:
    page = plan(store, lambda: store.find(kind, where, text=text, sort=sort))
    assert f"SEARCH {kind.collection} USING" in page[1]
    assert page[2] == "SCAN page"  # nothing is sorted before the page is cut
    counted = plan(store, lambda: store.count(kind, where, text=text))
    assert len(counted) == 1
    assert "USING COVERING INDEX" in counted[0]


@pytest.mark.parametrize("where", [{"key": "k", "live": True}, {"scan_id": "s"}, {"id": ["a", "b"]}])
def test_a_job_is_looked_up_and_not_searched_for(store: Watched, where: dict[str, Any]) -> None:
    assert "SEARCH jobs USING" in plan(store, lambda: store.find(Job, where))[1]


def plan(store: Watched, call: Any) -> list[str]:
    """The query plan of the statement that a call runs, line by line."""
    store.statements.clear()
    call()
    (statement,) = store.statements
    with sqlite3.connect(store._path) as db:
        lines = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
    db.close()
    return lines


def test_a_full_disk_is_told_apart_and_what_was_written_stays(tmp_path: Path) -> None:
    class Small(SqliteDocuments):
        def _connect(self) -> sqlite3.Connection:
            connection = super()._connect()
            connection.execute("PRAGMA max_page_count = 300")
            return connection

    store = Small(tmp_path / "documents.sqlite3")
    store.ensure_schema()
    written: list[str] = []
    with pytest.raises(StorageFull):
        while True:
            scan = Scan(description="x" * 20_000)
            store.insert(scan)
            written.append(scan.id)
    assert written
    assert [scan.id for scan in store.find(Scan, limit=1000)] == sorted(written)
    store.delete(Scan, written[0])
    store.insert(Scan(description="x" * 10_000))
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite3"
    path.write_bytes(b"this is not a database, it is a text" * 100)
    store = SqliteDocuments(path)
    with pytest.raises(StoreUnavailable, match=r"documents\.sqlite3"):
        store.ensure_schema()
    store.close()


def test_a_column_that_an_older_file_lacks_is_added_and_filled(tmp_path: Path) -> None:
    path = tmp_path / "documents.sqlite3"
    store = SqliteDocuments(path)
    store.ensure_schema()
    store.insert(Scan(id="old", study_uid="1.2.3"))
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX scans_study_uid_id")
        db.execute("ALTER TABLE scans DROP COLUMN study_uid")
    db.close()
    store.ensure_schema()
    assert [scan.id for scan in store.find(Scan, {"study_uid": "1.2.3"})] == ["old"]
    store.close()
