"""The launcher starts the real service, keeps it alive, and leaves nothing behind when it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers import free_ports
from tests.unit.model.tiny import write_model

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.skipif(
        Path(sys.prefix) != ROOT / ".venv" or not (ROOT / ".venv" / "ct-stamp.json").exists(),
        reason="the launcher would install packages: start the tests with ./ct test",
    ),
    pytest.mark.xdist_group("service"),
]


def until(true: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


class Service:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.api, self.page = free_ports(2)
        model = folder / "model"
        model.mkdir()
        write_model(model)
        self.env = {**os.environ, "CT_MODEL_DIR": str(model), "CT_PROVIDER": "cpu"}

    def ct(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(ROOT / "ct"), verb, "--data", str(self.data), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.ct(
            "up",
            "--detach",
            "--no-page",
            "--api-port",
            str(self.api),
            "--page-port",
            str(self.page),
            *arguments,
        )

    def pid(self, name: str) -> int:
        found = json.loads((self.data / "run" / f"{name}.pid").read_text())["pid"]
        assert isinstance(found, int)
        return found

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    one = Service(tmp_path)
    yield one
    one.ct("down")


def test_a_whole_life(service: Service) -> None:
    """up, status, up again, a worker killed, logs, down."""
    done = service.up("--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"http://127.0.0.1:{service.api}/docs" in done.stdout
    assert "no sign-in" in done.stdout
    assert service.answers()

    status = service.ct("status")
    assert status.returncode == 0, status.stdout
    for name in ("supervisor", "gateway", "worker-1", "worker-2"):
        assert f"{name:12} process {service.pid(name)}" in status.stdout

    again = service.up()
    assert again.returncode == 0
    assert "running already" in again.stdout

    before = service.pid("worker-1")
    os.kill(before, signal.SIGKILL)
    until(lambda: service.pid("worker-1") != before and alive(service.pid("worker-1")))
    assert service.pid("worker-2") and service.answers()

    assert "gateway |" in service.ct("logs").stdout
    others = [path for path in service.data.rglob("*") if path.stat().st_mode & 0o077]
    assert others == [], "only the owner may read what the service writes"

    pids = [service.pid(name) for name in ("supervisor", "gateway", "worker-1", "worker-2")]
    assert service.ct("down").returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert list((service.data / "run").iterdir()) == []
    assert service.ct("status").returncode == 3


def test_what_a_killed_supervisor_left_is_named_and_down_clears_it(service: Service) -> None:
    assert service.up().returncode == 0
    gateway, worker = service.pid("gateway"), service.pid("worker-1")
    os.kill(service.pid("supervisor"), signal.SIGKILL)
    until(lambda: not alive(service.pid("supervisor")))
    assert alive(gateway)

    again = service.up()
    assert again.returncode == 1
    assert f"gateway ({gateway})" in again.stderr
    assert "./ct down" in again.stderr

    assert service.ct("down").returncode == 0
    assert not alive(gateway)
    assert not alive(worker)
    assert service.up().returncode == 0, "a fresh start works on the same data"


def test_everything_killed_at_once_starts_again_by_itself(service: Service) -> None:
    assert service.up().returncode == 0
    for name in ("supervisor", "gateway", "worker-1"):
        os.killpg(service.pid(name), signal.SIGKILL)
    until(lambda: not service.answers())
    done = service.up()
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.answers()


def test_ctrl_c_in_the_foreground_stops_everything(service: Service) -> None:
    command = [sys.executable, str(ROOT / "ct"), "up", "--data", str(service.data), "--no-page"]
    with subprocess.Popen(
        [*command, "--api-port", str(service.api)],
        env=service.env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        seen = ""
        while "no sign-in" not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        pids = [service.pid(name) for name in ("gateway", "worker-1")]
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 0
    assert not any(alive(pid) for pid in pids)
    assert not service.answers()


def test_a_service_that_cannot_start_shows_why_and_stops(service: Service) -> None:
    service.data.mkdir()
    (service.data / "documents.sqlite3").write_text(
        "this is no database, and it is long enough to be looked at"
    )
    done = service.up()
    assert done.returncode == 1
    assert "the whole log:" in done.stdout
    assert service.ct("status").returncode == 3
