"""Process files and logs: a stale number never kills a stranger, a log never grows without end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

WAITS = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        WAITS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
        process.kill()


def test_a_process_is_found_again_by_its_file(
    launcher: ModuleType, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    file = launcher.PidFile(tmp_path / "worker-1.pid")
    file.write(stranger.pid)
    assert file.pid() == stranger.pid


def test_a_reused_number_is_not_taken_for_the_process(
    launcher: ModuleType, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    file = launcher.PidFile(tmp_path / "worker-1.pid")
    launcher.write_json(file.path, {"pid": stranger.pid, "started": "another moment"})
    assert file.pid() is None
    assert file.stop(timeout_s=1) is False
    assert stranger.poll() is None, "a stranger was killed"
    assert not file.path.exists()


@pytest.mark.parametrize(
    "content", ["", "17", "{}", '{"pid": "x", "started": "y"}', '{"pid": 99999999, "started": "y"}']
)
def test_a_damaged_file_means_not_running(launcher: ModuleType, tmp_path: Path, content: str) -> None:
    path = tmp_path / "gateway.pid"
    path.write_text(content)
    assert launcher.PidFile(path).pid() is None


def test_stop_ends_a_process_that_does_not_listen(launcher: ModuleType, tmp_path: Path) -> None:
    deaf = "import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); print('up', flush=True); s.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", deaf], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        file = launcher.PidFile(tmp_path / "worker-1.pid")
        file.write(process.pid)
        assert file.stop(timeout_s=0.3) is True
        assert process.wait(10) == -9


def test_a_dead_process_that_nobody_waited_for_counts_as_dead(launcher: ModuleType, tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("zombies are told apart through /proc")
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert launcher.started_at(process.pid) == ""


def test_the_supervisor_is_stopped_before_its_children(launcher: ModuleType, tmp_path: Path) -> None:
    place = launcher.Place(tmp_path)
    place.make()
    for name in ("gateway", "worker-1", "supervisor"):
        place.pid_file(name).write(os.getpid())
    assert [one.name for one in place.pid_files()] == ["supervisor", "gateway", "worker-1"]


def test_a_log_over_its_limit_is_rotated_under_a_writer(
    launcher: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "LOG_LIMIT_BYTES", 100)
    log = tmp_path / "gateway.log"
    with log.open("ab", buffering=0) as writer:
        for round_ in range(5):
            writer.write(b"%d" % round_ * 150)
            launcher.rotate(log)
        writer.write(b"last\n")
    assert log.read_bytes() == b"last\n"
    assert [(tmp_path / f"gateway.log.{n}").read_bytes()[:1] for n in (1, 2, 3)] == [b"4", b"3", b"2"]
    assert not (tmp_path / "gateway.log.4").exists()


def test_a_log_under_its_limit_stays(launcher: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("one\ntwo\nthree\n")
    launcher.rotate(log)
    assert launcher.tail(log, 2) == ["two", "three"]
    assert not (tmp_path / "gateway.log.1").exists()
