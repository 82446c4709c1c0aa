"""The life of a job: every pair of state and event, and the queue on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from shared.documents import Job, JobState, Scan
from shared.errors import Notice, Problem
from shared.jobs import TRANSITIONS, Event, ForbiddenTransition, JobLost, Jobs, after
from shared.settings import Settings
from shared.stores.sqlite import SqliteDocuments

PAIRS = list(product(get_args(JobState), get_args(Event)))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 25, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[SqliteDocuments]:
    store = SqliteDocuments(tmp_path / "documents.sqlite3")
    store.ensure_schema()
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(documents: SqliteDocuments, clock: Clock) -> Jobs:
    return Jobs(documents, Settings(lease_s=30, max_attempts=3, max_queue=5), clock=clock)


def submit(jobs: Jobs, scan_id: str = "scan", kind: str = "analyze") -> Job:
    return jobs.submit(kind, scan_id, key=f"{scan_id}:{kind}", request_id="r")  # type: ignore[arg-type]


def claim(jobs: Jobs, worker: str = "w") -> Job:
    job = jobs.claim(worker)
    assert job is not None
    return job


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in TRANSITIONS])
def test_an_allowed_event_leads_to_the_tables_state(state: JobState, event: Event) -> None:
    assert after(state, event) == TRANSITIONS[state, event]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TRANSITIONS])
def test_a_forbidden_event_is_refused_and_names_state_and_event(state: JobState, event: Event) -> None:
    with pytest.raises(ForbiddenTransition) as raised:
        after(state, event)
    assert state in str(raised.value)
    assert event.replace("_", " ") in str(raised.value)


def test_what_has_ended_stays_ended() -> None:
    assert {state for state, _ in TRANSITIONS} == {"queued", "running"}
    assert len(TRANSITIONS) == 10


def test_a_second_submit_joins_the_live_job_and_a_later_one_starts_anew(jobs: Jobs) -> None:
    first = submit(jobs)
    assert submit(jobs).id == first.id
    running = claim(jobs)
    assert submit(jobs).id == first.id
    jobs.finish(running, "done")
    assert submit(jobs).id != first.id


def test_jobs_are_claimed_in_the_order_of_their_submission(jobs: Jobs, clock: Clock) -> None:
    submitted = []
    for name in ("b", "a", "c"):
        submitted.append(submit(jobs, name).id)
        clock.wait(1)
    assert [claim(jobs).id for _ in submitted] == submitted
    assert jobs.claim("w") is None


def test_a_full_queue_refuses_new_work_but_still_joins(jobs: Jobs) -> None:
    for number in range(5):
        submit(jobs, str(number))
    with pytest.raises(Problem, match="queue_full"):
        submit(jobs, "one more")
    assert submit(jobs, "3").scan_id == "3"


def test_a_renewed_lease_is_kept_and_shows_stage_and_progress(jobs: Jobs, clock: Clock) -> None:
    submit(jobs)
    job = claim(jobs)
    for step in range(1, 5):
        clock.wait(29)
        job = jobs.renew(job, stage="evidence", progress=step / 10)
        assert jobs.claim("another") is None
    assert (job.stage, job.progress, job.attempts) == ("evidence", 0.4, 1)


def test_the_job_of_a_silent_worker_goes_to_another_and_the_first_may_write_no_more(
    jobs: Jobs, clock: Clock
) -> None:
    submit(jobs)
    first = claim(jobs, "first")
    clock.wait(30)
    second = claim(jobs, "second")
    assert (second.id, second.attempts, second.worker_id) == (first.id, 2, "second")
    with pytest.raises(JobLost, match="second"):
        jobs.renew(first, stage="late", progress=0.9)
    with pytest.raises(JobLost):
        jobs.finish(first, "done")
    assert jobs.finish(second, "done").state == "done"


def test_after_the_last_attempt_job_and_scan_fail_with_a_reason(
    jobs: Jobs, documents: SqliteDocuments, clock: Clock
) -> None:
    scan = Scan(id="scan", state="analysing", volume_ready=True)
    documents.insert(scan)
    job = submit(jobs)
    for attempt in range(1, 4):
        assert claim(jobs).attempts == attempt
        clock.wait(31)
    assert jobs.claim("w") is None
    ended = jobs.get(job.id)
    assert ended is not None
    assert ended.state == "failed"
    assert ended.error == Notice(code="processing_failed", params={"attempts": 3})
    settled = documents.get(Scan, "scan")
    assert settled is not None
    assert (settled.state, settled.reason_code) == ("failed", "processing_failed")


def test_a_worker_that_is_told_to_stop_gives_its_job_back_without_using_up_an_attempt(jobs: Jobs) -> None:
    submit(jobs)
    given_back = jobs.release(claim(jobs))
    assert (given_back.state, given_back.attempts, given_back.worker_id) == ("queued", 0, None)
    assert claim(jobs, "next").attempts == 1


def test_an_abandoned_attempt_counts_and_the_job_can_be_taken_over_at_once(jobs: Jobs) -> None:
    submit(jobs)
    jobs.abandon(claim(jobs, "first"))
    assert (claim(jobs, "second").attempts, jobs.claim("third")) == (2, None)


def test_a_lowered_limit_of_attempts_fails_a_waiting_job_instead_of_stopping_the_queue(
    documents: SqliteDocuments, jobs: Jobs
) -> None:
    documents.insert(Job(kind="prepare", scan_id="s", key="k", attempts=3))
    assert jobs.claim("w") is None
    assert documents.count(Job, {"state": "failed"}) == 1


def test_a_failed_job_keeps_its_reason(jobs: Jobs) -> None:
    submit(jobs)
    failed = jobs.finish(claim(jobs), "failed", Notice(code="memory_limit"))
    assert failed.error is not None
    assert failed.error.code == "memory_limit"
    with pytest.raises(ForbiddenTransition, match="failed cannot finish"):
        jobs.finish(failed, "done")


def test_a_cancelled_job_is_lost_to_its_worker_and_its_scan_comes_to_rest(
    jobs: Jobs, documents: SqliteDocuments
) -> None:
    documents.insert(Scan(id="scan", state="analysing", volume_ready=True, stage="evidence"))
    submit(jobs)
    job = claim(jobs)
    assert jobs.cancel(job.id).state == "cancelled"
    with pytest.raises(JobLost, match="cancelled"):
        jobs.renew(job, stage="x", progress=0.5)
    scan = documents.get(Scan, "scan")
    assert scan is not None
    assert (scan.state, scan.stage) == ("ready", "")
    with pytest.raises(Problem, match="job_not_cancellable"):
        jobs.cancel(job.id)
    with pytest.raises(Problem, match="job_not_found"):
        jobs.cancel("no such job")


def test_cancelling_for_a_scan_ends_its_live_jobs_and_no_others(jobs: Jobs) -> None:
    submit(jobs, "s", "prepare")
    submit(jobs, "s", "analyze")
    other = submit(jobs, "t")
    claim(jobs)
    assert jobs.cancel_for_scan("s") == 2
    assert jobs.cancel_for_scan("s") == 0
    assert claim(jobs).id == other.id


def test_a_deleted_job_is_lost_to_its_worker(jobs: Jobs, documents: SqliteDocuments) -> None:
    submit(jobs)
    job = claim(jobs)
    documents.delete(Job, job.id)
    with pytest.raises(JobLost, match="deleted"):
        jobs.renew(job, stage="x", progress=0.5)
