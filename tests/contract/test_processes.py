"""Several processes at one store, some of them killed: nothing is done twice, lost or left half."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import keys
from shared.documents import Job, Scan, utc_now
from shared.jobs import Jobs
from shared.lifecycle import Stores
from shared.settings import Settings
from shared.stores import open_blobs, open_documents
from shared.stores.protocols import DocumentStore
from shared.sweeper import sweep
from tests import servers

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(environment: Callable[[Settings], dict[str, str]], request: pytest.FixtureRequest) -> Start:
    """Starts an actor with the settings of the test's stores."""

    def actor(settings: Settings, *argv: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.actor", *map(str, argv)],
            env={"PATH": "/usr/bin:/bin", **environment(settings)},
            cwd=servers.REPO,
            stdout=subprocess.PIPE,
            text=True,
        )

        def stop() -> None:
            process.kill()
            process.communicate()

        request.addfinalizer(stop)
        return process

    return actor


def test_two_processes_of_four_threads_claim_each_of_200_jobs_exactly_once(
    document_settings: Settings, documents: DocumentStore, start: Start
) -> None:
    jobs = Jobs(documents, document_settings)
    submitted = {jobs.submit("analyze", f"s{n}", key=f"k{n}", request_id="").id for n in range(200)}
    actors = [start(document_settings, "claim", 4) for _ in range(2)]
    lines = [line.split() for actor in actors for line in actor.communicate(timeout=120)[0].splitlines()]
    assert [actor.returncode for actor in actors] == [0, 0]
    assert Counter(word for word, *_ in lines) == {"claimed": 200}
    assert {line[1] for line in lines} == submitted
    assert {line[2] for line in lines} == {"1"}
    assert documents.count(Job, {"state": "done"}) == 200


def test_two_processes_that_change_one_document_lose_no_update(
    document_settings: Settings, documents: DocumentStore, start: Start
) -> None:
    scan = Scan()
    documents.insert(scan)
    actors = [start(document_settings, "add", scan.id, 50) for _ in range(2)]
    for actor in actors:
        actor.communicate(timeout=60)
    changed = documents.get(Scan, scan.id)
    assert changed is not None
    assert (changed.size, changed.version) == (100, 101)


def test_the_job_of_a_killed_worker_is_done_by_another_and_counted(
    document_settings: Settings, documents: DocumentStore, start: Start
) -> None:
    job = Jobs(documents, document_settings).submit("analyze", "s", key="k", request_id="")
    worker = start(document_settings, "hold")
    assert worker.stdout is not None
    assert worker.stdout.readline().split() == ["claimed", job.id]
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    early = Jobs(documents, document_settings)
    assert early.claim("next") is None
    late = Jobs(documents, document_settings, clock=lambda: utc_now() + timedelta(seconds=31))
    taken = late.claim("next")
    assert taken is not None
    assert (taken.id, taken.attempts) == (job.id, 2)


PAIRS = {"embedded": (None, None), "servers": ("mongo_database", "seaweedfs_bucket")}


@pytest.fixture(params=PAIRS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of both stores, as they are used together."""
    values: dict[str, Any] = {}
    for fixture in PAIRS[request.param]:
        values |= request.getfixturevalue(fixture) if fixture else {}
    return Settings(data_dir=tmp_path, **values)


def test_a_writer_killed_at_any_moment_leaves_whole_scans_and_what_the_sweeper_takes(
    both: Settings, start: Start
) -> None:
    documents, blobs = open_documents(both), open_blobs(both)
    documents.ensure_schema()
    blobs.ensure_ready()
    blobs.delete_prefix("")
    for scan in documents.find(Scan, limit=1000):
        documents.delete(Scan, scan.id)

    answered: list[str] = []
    for round_number in range(3):
        writer = start(both, "write")
        assert writer.stdout is not None
        answered += [writer.stdout.readline().strip() for _ in range(3 + 2 * round_number)]
        writer.send_signal(signal.SIGKILL)
        answered += writer.communicate(timeout=10)[0].split()

    present = {scan.id: scan for scan in documents.find(Scan, limit=10_000)}
    assert set(answered) <= set(present)
    for scan in present.values():
        assert blobs.get(keys.source(scan.id)) == scan.id.encode() * 40_000
    for info in blobs.list(keys.SCANS):
        assert info.size == 36 * 40_000

    stores = Stores(documents, blobs, Jobs(documents, both))
    sweep(stores, both, now=utc_now() + timedelta(hours=1))
    assert {info.key for info in blobs.list("")} == {keys.source(scan_id) for scan_id in present}
    assert documents.count(Scan) == len(present)
    documents.close()
