"""Another process at the same stores: ``python -m tests.contract.actor VERB …``, settings from variables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from threading import Thread

from shared import keys
from shared.documents import Scan
from shared.jobs import JobLost, Jobs
from shared.settings import Settings
from shared.stores import open_blobs, open_documents
from shared.stores.protocols import VersionConflict


def say(*words: object) -> None:
    """One whole line at once: another thread may speak too."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def claim(threads: str) -> None:
    """Claim and finish jobs until there are none, in so many threads; says each job's id and attempt."""
    settings = Settings()
    documents = open_documents(settings)
    jobs = Jobs(documents, settings)

    def work(name: str) -> None:
        while (job := jobs.claim(name)) is not None:
            say("claimed", job.id, job.attempts)
            try:
                jobs.finish(jobs.renew(job, stage="s", progress=0.5), "done")
            except JobLost:
                say("lost", job.id)

    started = [Thread(target=work, args=(f"w{number}",)) for number in range(int(threads))]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    documents.close()


def add(scan_id: str, times: str) -> None:
    """Add 1 to a scan's size so many times, reading anew after each conflict."""
    documents = open_documents(Settings())
    left = int(times)
    while left:
        scan = documents.get(Scan, scan_id)
        assert scan is not None
        scan.size += 1
        try:
            documents.replace(scan)
        except VersionConflict:
            continue
        left -= 1
    documents.close()


def write() -> None:
    """Store blob and document of scans until killed; says each id once both writes were answered."""
    settings = Settings()
    documents, blobs = open_documents(settings), open_blobs(settings)
    while True:
        scan = Scan(state="done", patient_id=None)
        scan.size = blobs.put(keys.source(scan.id), scan.id.encode() * 40_000).size
        documents.insert(scan)
        say(scan.id)


def hold() -> None:
    """Claim one job, say so, and hang as a worker in a loop does."""
    settings = Settings()
    job = Jobs(open_documents(settings), settings).claim("hanging")
    say("claimed", job.id if job else "nothing")
    time.sleep(600)


if __name__ == "__main__":
    verbs: dict[str, Callable[..., None]] = {"claim": claim, "add": add, "write": write, "hold": hold}
    verbs[sys.argv[1]](*sys.argv[2:])
