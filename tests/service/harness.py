"""A whole service as real processes: gunicorn with the gateway, and workers, over any pair of stores."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import requests

from shared.jobs import Jobs
from shared.lifecycle import Stores
from shared.settings import Settings
from shared.stores import open_blobs, open_documents
from tests.servers import REPO, free_ports

T = TypeVar("T")
START_S = 120.0


@dataclass
class Service:
    """A running service. ``values`` are settings by their field names."""

    folder: Path
    values: Mapping[str, Any]
    port: int = field(default_factory=lambda: free_ports(1)[0])
    gateway: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Settings:
        return Settings(**{"data_dir": self.folder / "data", **self.values})

    @property
    def env(self) -> dict[str, str]:
        """Only what a service needs: no setting of the machine leaks in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CT_")}
        named = {"data_dir": self.folder / "data", **self.values}
        return {**kept, **{f"CT_{name.upper()}": str(value) for name, value in named.items()}}

    @contextmanager
    def stores(self) -> Iterator[Stores]:
        """The same stores, opened beside the service to look at what it left."""
        settings = self.settings
        documents = open_documents(settings)
        documents.ensure_schema()
        blobs = open_blobs(settings)
        blobs.ensure_ready()
        try:
            yield Stores(documents, blobs, Jobs(documents, settings))
        finally:
            documents.close()

    def start_gateway(self) -> None:
        command = ["gunicorn", "-c", "functions/gunicorn.conf.py", "--bind", f"127.0.0.1:{self.port}"]
        self.gateway = self._start("gateway", [*command, "localstack.gateway:create_gateway()"])
        self.wait(lambda: self._answers("/healthz"), START_S)

    def start_worker(self) -> subprocess.Popen[bytes]:
        worker = self._start(f"worker-{len(self.workers)}", ["functions.analyze.worker"])
        self.workers.append(worker)
        return worker

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=REPO,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,
            )

    def _answers(self, path: str) -> bool:
        assert self.gateway is not None
        assert self.gateway.poll() is None, self.log("gateway")
        try:
            return requests.get(self.url + path, timeout=30).status_code == 200
        except requests.RequestException:
            return False

    def kill_workers(self) -> None:
        """Kill -9, as a crash would: the whole process group of each."""
        for worker in self.workers:
            kill_group(worker)
        self.workers.clear()

    def kill_all(self) -> None:
        self.kill_workers()
        if self.gateway is not None:
            kill_group(self.gateway)
            self.gateway = None

    def stop(self) -> None:
        """In order, as ./ct down does; what does not end is killed."""
        for process in (*self.workers, self.gateway):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (*self.workers, self.gateway):
            if process is not None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                kill_group(process)
        self.workers.clear()
        self.gateway = None

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, look: Callable[[], T], seconds: float = 60.0) -> T:
        """Look until the answer is true; its value. The wait is bounded, the state is what is tested."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.05)
        return found

    # ── the calls of a client ────────────────────────────────────────────────────────────
    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 120)
        return requests.request(method, self.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.call("POST", path, **options)

    def new_patient(self, **fields: Any) -> str:
        answer = self.post("/api/patients", json={"first_name": "Ada", "last_name": "Byron", **fields})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def upload(self, patient_id: str, path: Path, **fields: str) -> dict[str, Any]:
        with path.open("rb") as file:
            form = {"patient_id": patient_id, **fields}
            answer = self.post("/api/scans", data=form, files={"file": (path.name, file)})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def scan(self, scan_id: str) -> dict[str, Any]:
        answer = self.get(f"/api/scans/{scan_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def wait_for_state(self, scan_id: str, *states: str, seconds: float = 90.0) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            scan = self.scan(scan_id)
            return scan if scan["state"] in states else None

        found = self.wait(look, seconds)
        assert found is not None
        return found


def _die_with_the_tests() -> None:
    """In a new process, on Linux: even a test run that is killed leaves no service behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill -9 of a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def running(
    folder: Path, values: Mapping[str, Any], *, workers: int = 1, kind: type[Service] = Service
) -> Iterator[Service]:
    """A service that stops at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    service = kind(folder, values)
    with service.stores():
        pass  # opening makes what is missing: that is all there is to initialise
    try:
        service.start_gateway()
        for _ in range(workers):
            service.start_worker()
        yield service
    finally:
        service.stop()


def problem(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that an answer is a problem document as RFC 9457 has it; its members."""
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert body["status"] == status
    for member in ("type", "title", "detail", "request_id"):
        assert body[member] and isinstance(body[member], str), member
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text
    return dict(body)


def padded_zip(data: bytes, size: int) -> bytes:
    """The same zip with one more stored entry, ``size`` bytes long."""
    target = io.BytesIO(data)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("padding.txt", b"")
    overhead = len(target.getvalue())
    target = io.BytesIO(data)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("padding.txt", b"\x01" * (size - overhead))
    assert len(target.getvalue()) == size
    return target.getvalue()
