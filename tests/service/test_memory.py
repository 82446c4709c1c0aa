"""A large upload passes through the service without being held in memory; a refused one is answered."""

from __future__ import annotations

import http.client
import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.service.harness import Service, running

BIG_MB = 300
#: what the process may grow by while it takes the file, MB
GROWTH_MB = 64


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without workers: only its gateway is looked at."""
    values = {"max_upload_mb": BIG_MB + 10, "max_unpacked_mb": 2 * BIG_MB}
    with running(tmp_path_factory.mktemp("idle"), values, workers=0) as one:
        yield one


def peak_mb(service: Service) -> float:
    """Peak resident memory over the gateway's processes."""
    assert service.gateway is not None
    peaks = []
    for path in Path("/proc").glob("[0-9]*/status"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        if str(service.gateway.pid) in (fields["Pid"].strip(), fields["PPid"].strip()):
            peaks.append(int(fields["VmHWM"].split()[0]) / 1024)
    return max(peaks)


def zeros_as_zip(size: int) -> tuple[bytes, bytes]:
    """What stands before and after ``size`` zeros in a stored zip of one entry (ZIP64 is not needed)."""
    crc = 0
    piece = bytes(1 << 20)
    left = size
    while left:
        crc = zlib.crc32(piece[: min(left, len(piece))], crc)
        left -= min(left, len(piece))
    name = b"a.dcm"
    common = struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
    local = b"PK\x03\x04" + common + name
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(central), len(local) + size, 0)
    return local, central + end


def post(service: Service, size: int, patient: str) -> tuple[int, dict[str, Any]]:
    """A multipart upload of a zip of ``size`` zeros, sent in pieces; status and body of the answer."""
    before, after = zeros_as_zip(size)
    head = (
        '--b\r\nContent-Disposition: form-data; name="patient_id"\r\n\r\n'
        f'{patient}\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    ).encode()
    tail = b"\r\n--b--\r\n"
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)) as link:
        link.putrequest("POST", "/api/scans")
        link.putheader("Content-Type", "multipart/form-data; boundary=b")
        link.putheader("Content-Length", str(len(head) + len(before) + size + len(after) + len(tail)))
        link.endheaders()
        link.send(head + before)
        piece = bytes(1 << 20)
        left = size
        while left:
            link.send(piece[: min(left, len(piece))])
            left -= min(left, len(piece))
        link.send(after + tail)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="peak memory is read from Linux's /proc")
def test_memory_stays_flat_while_a_large_file_streams_through(idle: Service) -> None:
    patient = idle.new_patient()
    assert post(idle, 1_000_000, patient)[0] == 201
    before = peak_mb(idle)
    status, body = post(idle, BIG_MB * 10**6, patient)
    assert status == 201, body
    assert body["size"] > BIG_MB * 10**6
    assert peak_mb(idle) - before < GROWTH_MB
    with idle.get(f"/api/scans/{body['id']}/file", stream=True) as back:
        assert sum(len(piece) for piece in back.iter_content(1 << 20)) == body["size"]
    assert peak_mb(idle) - before < GROWTH_MB
    assert idle.call("DELETE", f"/api/scans/{body['id']}").status_code == 204


def test_a_client_that_sends_too_much_still_hears_why(idle: Service) -> None:
    patient = idle.new_patient()
    for size, whose, refusal in (
        ((BIG_MB + 20) * 10**6, patient, (413, "too_large")),
        (50_000_000, "nobody", (404, "patient_not_found")),
    ):
        status, body = post(idle, size, whose)
        assert (status, body["code"]) == refusal
    assert idle.get(f"/api/scans?patient_id={patient}").json()["total"] == 0
