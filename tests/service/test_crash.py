"""Processes that are killed in the middle: nothing is lost, nothing is done twice, nothing is left lying."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.documents import AnalysisDoc, Job, Scan
from shared.lifecycle import Stores
from shared.sweeper import sweep
from tests.service.conftest import quick
from tests.service.harness import Service, problem, running

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Service]:
    """A service of its own, without a worker."""
    values = {**quick(model_dir), "lease_s": 2, "sweep_s": 3600}
    with running(tmp_path_factory.mktemp("lone"), values, workers=0) as one:
        yield one


@pytest.fixture
def lone(gate: Service) -> Iterator[Service]:
    """The same with an empty queue: the test starts and kills workers."""
    yield gate
    gate.kill_workers()
    if gate.gateway is None:
        gate.start_gateway()
    for patient in gate.get("/api/patients?limit=200").json()["items"]:
        gate.call("DELETE", f"/api/patients/{patient['id']}")


def busy(service: Service, kind: str) -> dict[str, Any]:
    """Wait until a worker has begun a job of this kind."""

    def look() -> Job | None:
        with service.stores() as stores:
            found = stores.documents.find(Job, {"kind": kind, "state": "running"}, limit=1)
        return found[0] if found and found[0].stage not in ("", "starting") else None

    job = service.wait(look)
    assert job is not None
    return job.model_dump()


def answer_of(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what differs from run to run."""
    own = {"created_at", "time_of_processing", "scan_id", "patient_id"}
    row = {name: value for name, value in report["rows"][0].items() if name not in own}
    return {**{name: value for name, value in report.items() if name not in own}, "rows": [row]}


def test_another_worker_finishes_what_a_killed_one_began_with_the_same_answer(
    lone: Service, chest: Path
) -> None:
    patient = lone.new_patient()
    scan = lone.upload(patient, chest)["id"]
    asked = lone.post(f"/api/scans/{scan}/analyze", headers={"Prefer": "respond-async"})
    lone.start_worker()
    job = busy(lone, "analyze")
    lone.kill_workers()
    assert lone.get(asked.headers["Location"]).json()["state"] == "running"
    lone.start_worker()
    lone.wait_for_state(scan, "done")
    ended = lone.get(asked.headers["Location"]).json()
    assert (ended["id"], ended["state"], ended["attempts"]) == (job["id"], "done", 2)
    other = lone.upload(patient, chest)["id"]
    calm = lone.post(f"/api/scans/{other}/analyze", headers=JSON).json()
    assert answer_of(lone.get(f"/api/scans/{scan}/report").json()) == answer_of(
        {name: calm[name] for name in lone.get(f"/api/scans/{other}/report").json()}
    )


def test_a_worker_that_is_told_to_stop_gives_its_job_back_untried(lone: Service, chest: Path) -> None:
    scan = lone.upload(lone.new_patient(), chest)["id"]
    worker = lone.start_worker()
    job = busy(lone, "prepare")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    back = lone.get(f"/api/jobs/{job['id']}").json()
    assert (back["state"], back["attempts"]) == ("queued", 0)
    lone.start_worker()
    assert lone.wait_for_state(scan, "ready")["volume_ready"]


def test_no_process_outlives_a_killed_worker(lone: Service, chest: Path) -> None:
    lone.upload(lone.new_patient(), chest)
    worker = lone.start_worker()
    busy(lone, "prepare")
    family = descendants(worker.pid)
    assert family
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(10)
    lone.wait(lambda: not [pid for pid in family if alive(pid)])


def test_after_everything_was_killed_nothing_is_lost_and_the_sweep_leaves_no_orphan(
    lone: Service, chest: Path
) -> None:
    patient = lone.new_patient()
    kept = [lone.upload(patient, chest)["id"] for _ in range(2)]
    gone = lone.upload(lone.new_patient(), chest)
    lone.post(f"/api/scans/{kept[0]}/analyze", headers={"Prefer": "respond-async"})
    lone.start_worker()
    busy(lone, "prepare")
    lone.kill_all()

    with lone.stores() as stores:
        _leave_half_done_work(stores, gone["id"], kept[1])
        lone.start_gateway()
        lone.start_worker()
        lone.wait_for_state(kept[0], "done")
        lone.wait_for_state(kept[1], "ready")
        sweep(stores, lone.settings, grace_s=0.0)
        assert not any(vars(sweep(stores, lone.settings, grace_s=0.0)).values())
        problem(lone.get(f"/api/scans/{gone['id']}"), 404, "scan_not_found")
        assert {scan.id for scan in stores.documents.find(Scan, limit=100)} == set(kept)
        analyses = {one.id for one in stores.documents.find(AnalysisDoc, limit=100)}
        for info in stores.blobs.list("scans/"):
            _, scan_id, *rest = info.key.split("/")
            assert scan_id in kept, info.key
            assert rest[0] != "analyses" or rest[1] in analyses, info.key
    lone.kill_all()
    scratch = lone.settings.data_dir / "tmp"
    assert [path for path in scratch.iterdir() if not path.name.startswith("work-")] == []


def _leave_half_done_work(stores: Stores, deleted: str, analysed: str) -> None:
    """What a crash leaves between two steps of a write or of a deletion."""
    stores.blobs.put("scans/01a21344-0000-7000-8000-000000000000/source", b"no document")
    stores.documents.insert(Scan(id="01a21344-0000-7000-8000-000000000001", patient_id="nobody"))
    marked = stores.documents.get(Scan, deleted)
    assert marked is not None
    stores.documents.replace(marked.model_copy(update={"deleting": True}))
    stores.blobs.put(f"scans/{analysed}/analyses/lost/evidence.npz", b"no document")


def test_a_scan_that_is_deleted_while_it_is_read_leaves_nothing(lone: Service, chest: Path) -> None:
    scan = lone.upload(lone.new_patient(), chest)["id"]
    lone.start_worker()
    busy(lone, "prepare")
    assert lone.call("DELETE", f"/api/scans/{scan}").status_code == 204
    other = lone.upload(lone.new_patient(), chest)["id"]
    lone.wait_for_state(other, "ready")
    with lone.stores() as stores:
        assert [info.key for info in stores.blobs.list(f"scans/{scan}/")] == []
        assert stores.documents.count(Job, {"scan_id": scan}) == 0


def test_a_cancelled_analysis_stops_and_the_scan_can_be_analysed_again(lone: Service, chest: Path) -> None:
    scan = lone.upload(lone.new_patient(), chest)["id"]
    lone.start_worker()
    lone.wait_for_state(scan, "ready")
    asked = lone.post(f"/api/scans/{scan}/analyze", headers={"Prefer": "respond-async"})
    busy(lone, "analyze")
    assert lone.call("DELETE", asked.headers["Location"]).status_code == 204
    assert lone.get(asked.headers["Location"]).json()["state"] == "cancelled"
    assert lone.scan(scan)["state"] == "ready"
    assert lone.post(f"/api/scans/{scan}/analyze", headers=JSON).json()["ok"] is True


def test_double_submits_join_one_job(lone: Service, chest: Path) -> None:
    scan = lone.upload(lone.new_patient(), chest)["id"]
    jobs = {
        lone.post(f"/api/scans/{scan}/analyze", headers={"Prefer": "respond-async"}).json()["id"]
        for _ in range(3)
    }
    assert len(jobs) == 1
    with lone.stores() as stores:
        assert stores.documents.count(Job, {"scan_id": scan, "kind": "analyze"}) == 1


def descendants(pid: int) -> list[int]:
    """Process ids below ``pid``; of Linux's /proc."""
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc")
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                stat = (path / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(path.name))
    found, look = [], [pid]
    while look:
        children = parents.get(look.pop(), [])
        found += children
        look += children
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
