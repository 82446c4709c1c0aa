"""What the launcher says and refuses before it starts anything."""

from __future__ import annotations

import ast
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from batch.cli import VERBS

ROOT = Path(__file__).resolve().parents[3]


def ct(*arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(ROOT / "ct"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_parses_on_the_oldest_python_that_may_start_it() -> None:
    ast.parse((ROOT / "ct").read_text(encoding="utf-8"), feature_version=(3, 8))


def test_it_starts_on_an_old_python_where_one_is_installed() -> None:
    candidates = [
        shutil.which("python3.8"),
        *map(str, Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8")),
    ]
    old = next(
        (
            one
            for one in candidates
            if one and subprocess.run([one, "-V"], capture_output=True).returncode == 0
        ),
        None,
    )
    if old is None:
        pytest.skip("no Python 3.8 on this machine")
    done = ct("up", "--help", python=old)
    assert done.returncode == 0, done.stderr
    assert "--page-port" in done.stdout


def test_every_verb_of_the_manual_is_known() -> None:
    words = ct("--help").stdout
    for verb in ("up", "down", "status", "logs", "test", "predict", "submit", "train", "evaluate", "demo"):
        assert f"\n    {verb} " in words


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "example.org"])
def test_beyond_loopback_no_auth_is_refused(host: str, tmp_path: Path) -> None:
    done = ct("up", "--no-auth", "--host", host, "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "--no-auth works on loopback only" in done.stderr
    assert not (tmp_path / "data").exists()


def test_beyond_loopback_without_accounts_is_refused_with_a_way_out(tmp_path: Path) -> None:
    done = ct("up", "--host", "0.0.0.0", "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "ssh -L" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_addresses_pass(launcher: ModuleType, host: str) -> None:
    launcher.check_host(host, no_auth=True)


def test_a_taken_port_is_refused_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = ct("up", "--api-port", str(port), "--no-page", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--api-port" in done.stderr
    if Path("/proc/net/tcp").exists():
        assert f"kill {os.getpid()}" in done.stderr


def test_one_port_for_page_and_api_is_refused(tmp_path: Path, launcher: ModuleType) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = ct("up", "--api-port", port, "--page-port", port, "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert "must differ" in done.stderr


def test_zero_workers_are_refused(tmp_path: Path) -> None:
    assert ct("up", "--workers", "0", "--data", str(tmp_path / "data")).returncode == 2


def test_the_data_folder_is_for_its_owner_alone(launcher: ModuleType, tmp_path: Path) -> None:
    place = launcher.Place(tmp_path / "data")
    place.make()
    assert [oct(folder.stat().st_mode & 0o777) for folder in (place.data, place.run, place.log)] == [
        "0o700"
    ] * 3


def test_status_and_down_of_nothing_say_so(tmp_path: Path) -> None:
    assert ct("status", "--data", str(tmp_path)).returncode == 3
    assert ct("down", "--data", str(tmp_path)).returncode == 0


def test_the_batch_verbs_are_those_of_the_batch_command(launcher: ModuleType) -> None:
    assert set(launcher.BATCH_ROLES) == set(VERBS)


def test_a_batch_verb_works_from_another_folder_with_a_folder_called_batch(tmp_path: Path) -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("the launcher would install packages: start the tests with ./ct test")
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "__init__.py").write_text("raise SystemExit('this is not ours')")
    done = subprocess.run(
        [sys.executable, str(ROOT / "ct"), "predict", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--heatmaps" in done.stdout
