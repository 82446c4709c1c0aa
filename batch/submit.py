"""``ct submit``: send every study under some paths to a running service and collect the same table."""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

import click

from batch.client import Client, Json, ServiceError, Unreachable
from batch.crowd import crowd
from batch.options import (
    lang_option,
    out_option,
    paths_argument,
    resume_option,
    token_option,
    xlsx_option,
)
from batch.predict import ALL_JUDGED, INTERRUPTED, SOME_REFUSED
from batch.progress import Counter, Stop, stopping
from batch.rows import Table
from batch.sources import Source, find_sources
from batch.study import study_uid_of
from shared.errors import Lang
from shared.reporting.report import ROW_COLUMNS
from shared.settings import settings

Row = dict[str, Any]
#: the service's way of saying that whoever asks must sign in, or may not
_NOT_ALLOWED = (401, 403)


@dataclass(frozen=True, slots=True)
class Collected:
    """What came of a source: its studies' rows by Study Instance UID."""

    source: Source
    rows: tuple[tuple[str, Row], ...]


@click.command()
@paths_argument
@click.option("--url", required=True, help="Address of the API, such as http://127.0.0.1:8000.")
@token_option
@out_option
@xlsx_option
@click.option("--patient-id", default="", help="Whose studies; without it a patient “Batch” is registered.")
@click.option(
    "--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Studies at a time."
)
@resume_option
@lang_option
def submit(
    paths: tuple[Path, ...],
    url: str,
    token: str,
    out: Path,
    xlsx: Path | None,
    patient_id: str,
    parallel: int,
    resume: bool,
    lang: Lang | None,
) -> None:
    """Upload every study under PATHS, have it analysed, and write one row for each.

    Exit code: 0 all studies were judged, 3 some were refused, 1 the batch could not run.
    """
    lang = lang or settings().default_lang
    run = json.dumps(["submit", url, lang])
    try:
        with Table(out, run=run, resume=resume) as table, stopping() as stop:
            sources = find_sources(paths, lambda files: [study_uid_of(file) for file in files])
            if not sources:
                raise click.ClickException("no studies found under the given paths")
            client = Client(url, token=token, lang=lang, stop=stop, connections=parallel)
            client.greet()
            work = _Submission(client, table, patient_id)
            with Counter(len(sources)) as bar:
                work.all(sources, parallel, bar, stop)
            rows = table.finish(sources, xlsx)
    except (ServiceError, Unreachable) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error}: {error.filename or out}") from error
    if stop.asked:
        sys.exit(INTERRUPTED)
    sys.exit(SOME_REFUSED if any(row["verdict"] == "no_result" for row in rows) else ALL_JUDGED)


class _Submission:
    """One pass over the sources; requests run in threads, the table is written by the caller's."""

    def __init__(self, client: Client, table: Table, patient_id: str) -> None:
        self._client, self._table, self._patient_id = client, table, patient_id
        self._lock = Lock()

    def all(self, sources: Sequence[Source], parallel: int, bar: Counter, stop: Stop) -> None:
        """Send what is not done yet; ends early when a stop was asked for."""
        todo = deque(source for source in sources if not self._table.done(source))
        bar.advance(len(sources) - len(todo))
        for _, collected in crowd(self._one, todo, parallel, stop):
            self._keep(collected)
            bar.advance(1)

    def _keep(self, collected: Collected) -> None:
        if len(collected.rows) > 1:
            self._table.note_several(collected.source, tuple(uid for uid, _ in collected.rows))
        for uid, row in collected.rows:
            self._table.add(collected.source, uid, row)

    def _one(self, source: Source) -> Collected:
        """Upload, follow, collect. A refusal is a row; a service that is gone ends the batch."""
        try:
            scan = self._client.wait_until_read(self._upload(source))
            several = scan["state"] == "needs_choice"
            scans = [self._client.wait_until_read(s) for s in self._client.split(scan)] if several else [scan]
        except ServiceError as error:
            if error.status in _NOT_ALLOWED or error.code in ("patient_not_found", "not_found"):
                raise
            return Collected(source, (("", failure_row(source.shown, error.code, error.detail)),))
        return Collected(source, tuple(self._judged(source, scan) for scan in scans))

    def _upload(self, source: Source) -> Json:
        if isinstance(source.reads, str):
            return self._client.upload(Path(source.reads), self._patient())
        with tempfile.TemporaryDirectory(prefix="ct-submit-") as folder:
            name = f"{Path(source.shown).name or 'study'}.zip"
            parcel = Path(folder) / "parcel.zip"
            with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                for number, file in enumerate(source.files, start=1):
                    archive.write(file, f"{number:06d}.dcm")
            return self._client.upload(parcel, self._patient(), name=name)

    def _patient(self) -> str:
        with self._lock:
            if not self._patient_id:
                now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
                patient = self._client.add_patient(first_name=now, last_name="Batch", description="ct submit")
                self._patient_id = patient["id"]
            return self._patient_id

    def _judged(self, source: Source, scan: Json) -> tuple[str, Row]:
        uid = str(scan["study_uid"])
        if scan["state"] in ("refused", "failed"):
            return uid, _scan_row(source.shown, scan)
        job = self._client.analyse(scan)
        try:
            row = self._client.report(scan)["rows"][0]
        except ServiceError as error:
            if error.code != "not_analysed":
                raise
            row = _scan_row(source.shown, self._client.scan(scan["id"]), job.get("error"))
        return str(row.get("study_uid") or uid), {**row, "path_to_study": source.shown}


def failure_row(shown: str, code: str, reason: str, **known: Any) -> Row:
    """The row of a study that has no report."""
    row: Row = dict.fromkeys(ROW_COLUMNS)
    return {
        **row,
        "path_to_study": shown,
        "processing_status": "Failure",
        "verdict": "no_result",
        "reason_code": code,
        "reason": reason,
        **known,
    }


def _scan_row(shown: str, scan: Json, error: Json | None = None) -> Row:
    error = error or {}
    return failure_row(
        shown,
        str(scan.get("reason_code") or error.get("code") or "processing_failed"),
        str(scan.get("reason") or error.get("text") or ""),
        study_uid=scan["study_uid"],
        series_uid=scan["series_uid"],
    )
