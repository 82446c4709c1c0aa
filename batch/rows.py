"""The result table of a batch while it grows: always valid on disk, and able to go on after a stop.

Beside ``result.csv`` lies ``result.csv.journal``: one JSON line for each finished study with the
stamp of its source, so that ``--resume`` knows what is done, and by which model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from batch.sources import Source
from shared.reporting.report import ROW_COLUMNS
from shared.reporting.tables import csv_text, table_xlsx

Row = Mapping[str, Any]
#: these ends may be different next time, so ``--resume`` tries again
_TRY_AGAIN = {"decode_timeout", "memory_limit", "processing_failed", "store_unavailable", "internal"}


class Table:
    """Rows of a batch on their way to CSV (and XLSX).

    Parameters
    ----------
    out : Path
        The CSV file.
    run : str
        What the answers depend on besides the source: model, language, options. Rows of another run
        are not taken over.
    resume : bool
        Take over finished studies from an earlier start.
    """

    def __init__(self, out: Path, *, run: str, resume: bool) -> None:
        self._out, self._run = out, run
        self._journal_path = out.with_name(out.name + ".journal")
        self._rows: dict[tuple[str, str, str], Row] = {}
        self._several: dict[tuple[str, str], tuple[str, ...]] = {}
        out.parent.mkdir(parents=True, exist_ok=True)
        if resume:
            self._read_journal()
        self._journal: IO[str] = self._journal_path.open("a" if resume else "w", encoding="utf-8")
        # the whole table again: a line that a crash cut short is gone
        self._replace(self._rows.values())
        self._csv: IO[str] = out.open("a", encoding="utf-8", newline="")

    def __enter__(self) -> Table:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()
        self._csv.close()

    def add(self, source: Source, study_uid: str, row: Row) -> None:
        """Add a finished study: it is on disk when this returns."""
        self._rows[source.shown, source.stamp, study_uid] = row
        self._csv.write(csv_text([row], header=False))
        self._csv.flush()
        self._note({"stamp": source.stamp, "shown": source.shown, "study": study_uid, "row": row})

    def note_several(self, source: Source, study_uids: tuple[str, ...]) -> None:
        """Remember that a source holds several studies."""
        self._several[source.shown, source.stamp] = study_uids
        self._note({"stamp": source.stamp, "shown": source.shown, "several": study_uids})

    def several(self, source: Source) -> tuple[str, ...]:
        """The studies that a source is known to hold; empty when it holds one, or is not known."""
        return self._several.get((source.shown, source.stamp), ())

    def done(self, source: Source, study_uid: str | None = None) -> bool:
        """Whether a study of the source (or, without one named, all of it) is finished."""
        if study_uid is not None:
            return (source.shown, source.stamp, study_uid) in self._rows
        known = self.several(source)
        if known:
            return all(self.done(source, uid) for uid in known)
        return any(key[:2] == (source.shown, source.stamp) for key in self._rows)

    def finish(self, sources: Iterable[Source], xlsx: Path | None = None) -> list[Row]:
        """Write the table again in the order of the sources, and the workbook; answers the rows.

        Rows of sources that are not there any more are left out.
        """
        place = {(source.shown, source.stamp): n for n, source in enumerate(sources)}
        kept = sorted(
            (key for key in self._rows if key[:2] in place), key=lambda key: (place[key[:2]], key[2])
        )
        rows = [self._rows[key] for key in kept]
        self._csv.close()
        self._replace(rows)
        if xlsx is not None:
            xlsx.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(xlsx, table_xlsx(rows))
        return rows

    def _replace(self, rows: Iterable[Row]) -> None:
        _write_whole(self._out, csv_text(rows, ROW_COLUMNS).encode("utf-8"))

    def _note(self, line: Mapping[str, Any]) -> None:
        self._journal.write(json.dumps({"run": self._run, **line}, ensure_ascii=True) + "\n")
        self._journal.flush()

    def _read_journal(self) -> None:
        if not self._journal_path.exists():
            return
        lines = self._journal_path.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            # the last line was being written when the process died
            lines.pop()
            _write_whole(self._journal_path, "".join(lines).encode("utf-8"))
        for text in lines:
            line = json.loads(text)
            if line["run"] != self._run:
                continue
            if "several" in line:
                self._several[line["shown"], line["stamp"]] = tuple(line["several"])
            elif line["row"]["reason_code"] not in _TRY_AGAIN:
                self._rows[line["shown"], line["stamp"], line["study"]] = line["row"]


def _write_whole(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)
