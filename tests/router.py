"""A real nginx with the router's own configuration, started as its image starts it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import REPO, free_ports

START = REPO / "localstack" / "router" / "start.sh"


@contextmanager
def running_nginx(
    folder: Path, upstreams: Mapping[str, int], *, port: int = 0, **settings: str
) -> Iterator[int]:
    """Run nginx in front of functions on these ports; gives its own. ``settings`` as compose has them."""
    path = os.environ["PATH"] + ":/usr/sbin"
    if shutil.which("nginx", path=path) is None or shutil.which("envsubst") is None:
        pytest.skip("nginx and envsubst are needed: apt install nginx-light gettext-base")
    page, free = free_ports(2)
    port = port or free
    env = {
        "PATH": path,
        "CT_ROUTER_TMP": str(folder),
        "CT_ROUTER_API": f"127.0.0.1:{port}",
        "CT_ROUTER_PAGE": f"127.0.0.1:{page}",
        "CT_ROUTER_RESOLVER": "127.0.0.1",
        **{f"CT_UPSTREAM_{name.upper()}": f"127.0.0.1:{number}" for name, number in upstreams.items()},
        **settings,
    }
    # the image runs as an ordinary user; a master that is root would hand over to one that cannot read here
    as_root = ["-g", "user root;"] if os.geteuid() == 0 else []
    log = folder / "nginx.log"
    with log.open("ab") as out:
        process = subprocess.Popen([str(START), *as_root], env=env, stdout=out, stderr=out)
    try:
        while not _listens(port):
            assert process.poll() is None, log.read_text(errors="replace")
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
