"""Real servers as test processes: SeaweedFS and moto for S3, SecantusDB for MongoDB's protocol.

Each is started once for a whole test run, by whichever worker asks first, and shared by all of them. A
keeper process (`keeper`) stops it and removes its data when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pymongo
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from pymongo.errors import PyMongoError

REPO = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
#: what the S3 servers of the tests accept
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
MONGO_VENV = REPO / ".venv-testmongo"
_START_S = 90.0


@dataclass(frozen=True)
class Command:
    """How to start a server: what to run, with which variables, and the address it will have."""

    url: str
    argv: Sequence[str]
    env: Mapping[str, str]


def seaweedfs(run_folder: Path) -> str:
    """Address of a SeaweedFS, a real S3 server: it checks signatures, expiry and part sizes."""
    program = BIN / "weed"
    if not program.exists():
        pytest.skip("SeaweedFS is not installed (requirements/test.txt)")

    def command(folder: Path) -> Command:
        names = ("s3", "master", "volume", "filer", "admin")
        ports = free_ports(2 * len(names) + 1)
        http, grpc = ports[: len(names)], ports[len(names) :]
        flags = [
            f"-{name}.port{kind}={port}"
            for kind, chosen in (("", http), (".grpc", grpc))
            for name, port in zip(names, chosen, strict=False)
        ]
        argv = [str(program), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags]
        argv += ["-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        argv += ["-master.telemetry=false", f"-debug.port={ports[-1]}"]
        env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        return Command(f"http://127.0.0.1:{http[0]}", argv, env)

    return _shared(run_folder, "seaweedfs", command, _s3_answers)


def moto(run_folder: Path) -> str:
    """Address of a moto server, the other S3: an emulator."""

    def command(folder: Path) -> Command:
        (port,) = free_ports(1)
        argv = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        return Command(f"http://127.0.0.1:{port}", argv, {"S3_UPLOAD_PART_MIN_SIZE": str(5 << 20)})

    return _shared(run_folder, "moto", command, _s3_answers)


def mongo(run_folder: Path) -> str:
    """Address of a MongoDB: ``CT_TEST_MONGO_URL`` where it is set, else a SecantusDB process."""
    given = os.environ.get("CT_TEST_MONGO_URL")
    if given:
        return given
    program = _install_mongo()

    def command(folder: Path) -> Command:
        (port,) = free_ports(1)
        argv = [str(program), "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(folder)]
        return Command(
            f"mongodb://127.0.0.1:{port}/?directConnection=true", [*argv, "--cache-size", "256M"], {}
        )

    return _shared(run_folder, "mongo", command, _mongo_answers)


def run_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of one test run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def free_ports(number: int) -> list[int]:
    """Ports of the loopback that nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that is shared between processes."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _shared(
    run_folder: Path, name: str, command: Callable[[Path], Command], answers: Callable[[str], bool]
) -> str:
    """Start a server unless a worker of this run has done so; answers its address."""
    state = run_folder / f"{name}.json"
    with locked(run_folder / f"{name}.lock"):
        if not state.exists():
            # a port may be taken between choosing and listening, so a server that ends gets another try
            started = next(filter(None, (_start(run_folder, name, command, answers) for _ in range(3))), None)
            if started is None:
                log = (run_folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} does not start:\n{log[-3000:]}")
            state.write_text(json.dumps(started))
    return str(json.loads(state.read_text()))


def _start(
    run_folder: Path, name: str, command: Callable[[Path], Command], answers: Callable[[str], bool]
) -> str | None:
    folder = run_folder / f"{name}-data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    server = command(folder)
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    with (run_folder / f"{name}.log").open("ab") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(REPO / "tests" / "keeper.py"), str(owner), str(folder), *server.argv],
            env={**os.environ, **server.env},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and keeper.poll() is None:
        if answers(server.url):
            keeper.returncode = 0  # it outlives this object on purpose
            return server.url
        time.sleep(0.1)
    if keeper.poll() is None:
        keeper.terminate()
        keeper.wait(10)
    return None


def _s3_answers(url: str) -> bool:
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    try:
        # a bucket can be made only when everything behind the S3 port is up too
        client.create_bucket(Bucket="is-it-up")
        client.put_object(Bucket="is-it-up", Key="yes", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


def _mongo_answers(url: str) -> bool:
    with pymongo.MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=500) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
    return True


def _install_mongo() -> Path:
    """Make the server's own environment once; skip visibly where that cannot be done."""
    program = MONGO_VENV / "bin" / "secantusd-py"
    lock_file = REPO / "requirements" / "testmongo.txt"
    mark = MONGO_VENV / "installed.txt"
    with locked(Path(sys.prefix) / "testmongo.lock"):
        if program.exists() and mark.exists() and mark.read_text() == lock_file.read_text():
            return program
        shutil.rmtree(MONGO_VENV, ignore_errors=True)
        uv = shutil.which("uv") or shutil.which("uv", path=str(BIN))
        python = str(MONGO_VENV / "bin" / "python")
        install = ["install", "-q", "--require-hashes", "-r", str(lock_file)]
        steps = [[sys.executable, "-m", "venv", str(MONGO_VENV)], [python, "-m", "pip", *install]]
        if uv:
            steps = [
                [uv, "venv", "-q", "--python", sys.executable, str(MONGO_VENV)],
                [uv, "pip", *install, "--python", python],
            ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, timeout=240, check=False)
            if done.returncode:
                words = (done.stderr.strip().splitlines() or ["no words"])[-1]
                pytest.skip(f"SecantusDB could not be installed, and CT_TEST_MONGO_URL is not set: {words}")
        mark.write_text(lock_file.read_text())
    return program
