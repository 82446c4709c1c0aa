"""The measured service: how fast it starts, how much memory its functions take, how it takes an upload."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def gunicorn(app: str, data: Path) -> Iterator[tuple[int, int, float]]:
    """Serve an app as the launcher does: (port, process that answers, seconds until /readyz)."""
    port = free_port()
    env = dict(os.environ, CT_DATA_DIR=str(data), CT_NO_AUTH="true", CT_LOG_LEVEL="ERROR")
    started = time.perf_counter()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "functions/gunicorn.conf.py",
            "-b",
            f"127.0.0.1:{port}",
            app,
        ],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _ready(port):
            if process.poll() is not None:
                raise RuntimeError(f"{app} does not start")
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, int(child), seconds
    finally:
        process.terminate()
        process.wait(60)


def _ready(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        link.request("GET", "/readyz")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


def memory_mb(pid: int, field: str) -> float:
    """``VmRSS`` or ``VmHWM`` (the peak) of a process, MB."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found.group(1)) / 1024


def upload(folder: Path, megabytes: int) -> dict[str, float]:
    """Send one large zip to POST /api/scans: speed as a share of raw loopback, memory over idle."""
    path = folder / f"large-{megabytes}.zip"
    if not path.exists():
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for k in range(megabytes // 50):
                archive.writestr(f"CT/{k}.dcm", b"\0" * 128 + b"DICM" + os.urandom(50_000_000))
    raw = _raw_loopback(path)
    with gunicorn("localstack.gateway:create_gateway()", folder / "data") as (port, pid, _):
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        link.request(
            "POST",
            "/api/patients",
            b'{"first_name": "Bench", "last_name": "Mark"}',
            {"Content-Type": "application/json"},
        )
        patient = re.search(r'"id":\s*"([^"]+)"', link.getresponse().read().decode())
        assert patient is not None
        idle = memory_mb(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        head = (
            '--x\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\n'
            f'{patient.group(1)}\r\n--x\r\nContent-Disposition: form-data; name="file"; '
            'filename="large.zip"\r\nContent-Type: application/zip\r\n\r\n'
        ).encode()
        end = b"\r\n--x--\r\n"
        size = len(head) + path.stat().st_size + len(end)
        started = time.perf_counter()
        link.putrequest("POST", "/api/scans")
        link.putheader("Content-Type", "multipart/form-data; boundary=x")
        link.putheader("Content-Length", str(size))
        link.endheaders(head)
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                link.send(piece)
        link.send(end)
        answer = link.getresponse()
        body = answer.read()
        seconds = time.perf_counter() - started
        if answer.status != 201:
            raise RuntimeError(f"{answer.status} {body[:500]!r}")
        peak = memory_mb(pid, "VmHWM")
        link.close()
    return {"seconds": seconds, "raw_seconds": raw, "over_idle_mb": peak - idle, "idle_mb": idle}


def _raw_loopback(path: Path) -> float:
    """Seconds to send a file over loopback to a reader that hashes it and writes it down, nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server, (path.parent / "raw").open("wb") as sink:

        def receive() -> None:
            digest = hashlib.sha256()
            with server.accept()[0] as peer:
                while piece := peer.recv(1 << 20):
                    digest.update(piece)
                    sink.write(piece)
                peer.sendall(b"done")

        thread = threading.Thread(target=receive)
        thread.start()
        started = time.perf_counter()
        with socket.create_connection(server.getsockname()) as link, path.open("rb") as file:
            while piece := file.read(1 << 20):
                link.sendall(piece)
            link.shutdown(socket.SHUT_WR)
            link.recv(4)
        seconds = time.perf_counter() - started
        thread.join()
    (path.parent / "raw").unlink()
    return seconds
