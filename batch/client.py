"""A small client of the service's REST: patients, two-step uploads, analyses, reports."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import urllib3
from uuid_utils.compat import uuid7

from batch.crowd import Stopped
from shared.errors import Lang

#: states of a scan in which its reading has not ended
_READING = {"uploaded", "preparing"}
_FIRST_LOOK_S, _LAST_LOOK_S = 0.2, 3.0
Json = dict[str, Any]


class ServiceError(Exception):
    """The service answered with a problem."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail = status, code, detail


class Unreachable(Exception):
    """The service did not answer, also not when it was asked again."""


class Client:
    """The service at an address.

    Parameters
    ----------
    url : str
        Address of the API, such as ``http://127.0.0.1:8000``.
    token : str
        Sent as bearer token when not empty.
    lang : {"ru", "en"}
        Language of the answers' words.
    stop : callable
        Looked at while waiting; `Stopped` is raised once it answers True.
    connections : int
        How many requests may be under way at once.
    """

    def __init__(
        self, url: str, *, token: str, lang: Lang, stop: Callable[[], bool], connections: int = 4
    ) -> None:
        self._base = url.rstrip("/") + "/"
        self._stop = stop
        self._headers = {"Accept": "application/json", "Accept-Language": lang}
        self._sign_in = {"Authorization": f"Bearer {token}"} if token else {}
        # a POST is safe to repeat because it carries an Idempotency-Key
        retries = urllib3.Retry(
            total=6,
            backoff_factor=0.5,
            backoff_max=20,
            status_forcelist=(429, 502, 503, 504),
            allowed_methods=None,
            raise_on_status=False,
        )
        self._http = urllib3.PoolManager(
            retries=retries, maxsize=connections, timeout=urllib3.Timeout(connect=10, read=120)
        )

    def call(
        self, method: str, path: str, body: Json | None = None, headers: dict[str, str] | None = None
    ) -> Json:
        """One request with a JSON answer ({} where there is none).

        Raises
        ------
        ServiceError
            For an answer of 400 and above.
        Unreachable
            Nobody answers.
        """
        sent = {**self._headers, **self._sign_in, **(headers or {})}
        if method == "POST":
            sent["Idempotency-Key"] = str(uuid7())
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        answer = self._send(method, urljoin(self._base, path.lstrip("/")), data, sent)
        return _json(answer)

    def _send(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str], *, retries: bool = True
    ) -> urllib3.BaseHTTPResponse:
        if self._stop():
            raise Stopped
        try:
            answer = self._http.request(
                method, url, body=data, headers=headers, retries=None if retries else False
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unreachable(f"{self._base} does not answer: {_innermost(error)}") from error
        if answer.status >= 400:
            problem = _json(answer)
            raise ServiceError(
                answer.status, str(problem.get("code", "internal")), str(problem.get("detail", ""))
            )
        return answer

    def greet(self) -> None:
        """Ask for something small without asking again: a wrong address is told at once."""
        self._send(
            "GET", urljoin(self._base, "api/limits"), None, self._headers | self._sign_in, retries=False
        )

    def add_patient(self, **fields: str) -> Json:
        """Register a patient; answers it."""
        return self.call("POST", "/api/patients", fields)

    def patients(self, text: str) -> list[Json]:
        """Patients that match a text, at most 100."""
        found = self.call("GET", "/api/patients?" + urlencode({"q": text, "limit": 100}))["items"]
        return list(found)

    def upload(self, file: Path, patient_id: str, *, name: str = "", description: str = "") -> Json:
        """Send a file in parts; answers the scan."""
        size = file.stat().st_size
        begun = self.call(
            "POST",
            "/api/uploads",
            {
                "patient_id": patient_id,
                "file_name": (name or file.name).encode(errors="replace").decode(),
                "size": size,
                "description": description,
            },
        )
        with file.open("rb") as stream:
            for part in begun["parts"]:
                stream.seek((part["number"] - 1) * begun["part_size"], os.SEEK_SET)
                url = urljoin(self._base, part["url"])
                headers = {"Content-Type": "application/octet-stream"}
                if url.startswith(self._base):  # a store's own URL carries its right in itself
                    headers |= self._headers | self._sign_in
                self._send("PUT", url, stream.read(part["size"]), headers)
        return self.call("POST", f"/api/uploads/{quote(begun['id'])}/complete")

    def wait_until_read(self, scan: Json) -> Json:
        """The scan, once its reading has ended."""
        return self._watch(f"/api/scans/{quote(scan['id'])}", lambda now: now["state"] not in _READING, scan)

    def split(self, scan: Json) -> list[Json]:
        """One scan for each study of an upload that holds several."""
        made = self.call("POST", f"/api/scans/{quote(scan['id'])}/choose", {"split": True})
        return list(made["items"])

    def analyse(self, scan: Json) -> Json:
        """Queue the analysis and wait for its end; answers the job."""
        path = f"/api/scans/{quote(scan['id'])}/analyze"
        job = self.call("POST", path, headers={"Prefer": "respond-async"})
        return self._watch(
            f"/api/jobs/{quote(job['id'])}", lambda now: now["state"] not in ("queued", "running"), job
        )

    def report(self, scan: Json) -> Json:
        """The report of an analysed scan."""
        return self.call("GET", f"/api/scans/{quote(scan['id'])}/report")

    def scan(self, scan_id: str) -> Json:
        """A scan as it stands."""
        return self.call("GET", f"/api/scans/{quote(scan_id)}")

    def _watch(self, path: str, ended: Callable[[Json], bool], now: Json) -> Json:
        pause = _FIRST_LOOK_S
        while not ended(now):
            for _ in range(math.ceil(pause / 0.2)):
                if self._stop():
                    raise Stopped
                time.sleep(min(0.2, pause))
            pause = min(_LAST_LOOK_S, pause * 1.4)
            now = self.call("GET", path)
        return now


def _json(answer: urllib3.BaseHTTPResponse) -> Json:
    try:
        found = json.loads(answer.data or b"{}")
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _innermost(error: BaseException) -> str:
    """What really happened, without the chain of wrappers around it."""
    reason = getattr(error, "reason", None)
    return _innermost(reason) if isinstance(reason, BaseException) else f"{type(error).__name__}: {error}"
