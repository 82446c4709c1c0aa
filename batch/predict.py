"""``ct predict``: judge every study under some paths in this machine's processes, into one table."""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click
from pebble import ProcessExpired, ProcessPool

import shared.model
from batch.options import lang_option, out_option, paths_argument, resume_option, xlsx_option
from batch.progress import Counter, stopping
from batch.rows import Table
from batch.sources import Source, find_sources
from batch.study import Judged, Options, begin, judge, refused, study_uid_of
from shared.ct.passport import Passport
from shared.documents import Scan
from shared.errors import Lang, Notice
from shared.model.analysis import ModelInfo
from shared.model.config import ModelConfig
from shared.model.session import ModelError
from shared.reporting.report import report_row
from shared.settings import settings

ALL_JUDGED, BROKEN, SOME_REFUSED, INTERRUPTED = 0, 1, 3, 130
_PEEK_TIMEOUT_S = 60


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@click.command()
@paths_argument
@out_option
@xlsx_option
@click.option(
    "--heatmaps", type=click.Path(file_okay=False, path_type=Path), help="Folder for the key pictures."
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=cores, show_default="cores", help="Studies at a time."
)
@resume_option
@click.option("--allow-partial", is_flag=True, help="Judge studies that show only a part of the chest.")
@lang_option
def predict(
    paths: tuple[Path, ...],
    out: Path,
    xlsx: Path | None,
    heatmaps: Path | None,
    workers: int,
    resume: bool,
    allow_partial: bool,
    lang: Lang | None,
) -> None:
    """Judge every study under PATHS and write one row for each.

    PATHS are archives, NIfTI files, DICOM files and folders of them. Exit code: 0 all studies were
    judged, 3 some were refused, 1 the batch could not run.
    """
    values = settings()
    options = Options(
        lang=lang or values.default_lang,
        allow_partial=allow_partial,
        provider=values.provider,
        threads=values.threads or max(1, cores() // workers),
        model=model_of(values.model_dir),
        model_dir=values.model_dir,
        max_entries=values.max_entries,
        max_unpacked_bytes=values.max_unpacked_mb * 10**6,
        heatmaps=str(heatmaps) if heatmaps else None,
    )
    if heatmaps:
        heatmaps.mkdir(parents=True, exist_ok=True)
    run = json.dumps(["predict", options.model.sha256, options.lang, allow_partial, options.heatmaps])
    try:
        with (
            Table(out, run=run, resume=resume) as table,
            _pool(workers, values.worker_memory_mb) as pool,
            stopping() as stop,
        ):
            sources = find_sources(paths, partial(_study_uids, pool))
            if not sources:
                raise click.ClickException("no studies found under the given paths")
            with Counter(len(sources)) as bar:
                _Run(pool, table, options, values.job_timeout_s, bar, stop).all(sources, 2 * workers)
            rows = table.finish(sources, xlsx)
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error}: {error.filename or out}") from error
    if stop():
        sys.exit(INTERRUPTED)
    sys.exit(SOME_REFUSED if any(row["verdict"] == "no_result" for row in rows) else ALL_JUDGED)


def model_of(folder: str) -> ModelInfo:
    """Name, version and digest of the model; ends the command where there is none."""
    try:
        config = ModelConfig.read(Path(folder) if folder else Path(shared.model.__file__).parent / "weights")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the model cannot be read: {error}") from error
    return ModelInfo(name=config.name, version=config.version, sha256=config.sha256)


@contextmanager
def _pool(workers: int, memory_mb: int) -> Iterator[ProcessPool]:
    """Processes with a memory limit; whatever still runs at the end is stopped."""
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=200,
        initializer=begin,
        initargs=(memory_mb,),
        context=multiprocessing.get_context("spawn"),
    )
    try:
        yield pool
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _study_uids(pool: ProcessPool, files: Sequence[str]) -> list[str]:
    futures = [pool.schedule(study_uid_of, args=(file,), timeout=_PEEK_TIMEOUT_S) for file in files]
    uids = []
    for future in futures:
        try:
            uids.append(future.result())
        except (ProcessExpired, TimeoutError):
            uids.append("")
    return uids


class _Run:
    """One pass over the sources: a few studies at a time are under way, rows are added as they end."""

    def __init__(
        self,
        pool: ProcessPool,
        table: Table,
        options: Options,
        timeout_s: float,
        bar: Counter,
        stop: Callable[[], bool],
    ) -> None:
        self._pool, self._table, self._options, self._timeout_s = pool, table, options, timeout_s
        self._bar, self._stop = bar, stop
        self._ended: queue.Queue[tuple[Source, str | None, Future[Judged]]] = queue.Queue()
        self._under_way = 0

    def all(self, sources: Sequence[Source], at_a_time: int) -> None:
        """Judge everything that is not done yet; returns early when a stop was asked for."""
        waiting = iter([s for s in sources if not self._table.done(s)])
        more: list[tuple[Source, str]] = []
        self._bar.advance(sum(self._table.done(s) for s in sources))
        exhausted = False
        while not self._stop():
            while self._under_way < at_a_time and not (exhausted and not more):
                if more:
                    self._start(*more.pop(0))
                    continue
                source = next(waiting, None)
                if source is None:
                    exhausted = True
                elif known := self._table.several(source):
                    more += self._split(source, known)
                else:
                    self._start(source, None)
            if self._under_way == 0:
                return
            try:
                source, uid, future = self._ended.get(timeout=0.2)
            except queue.Empty:
                continue
            self._under_way -= 1
            judged = self._outcome(source, uid, future)
            if judged.several:
                self._table.note_several(source, judged.several)
                more += self._split(source, judged.several)
                continue
            for study_uid, row in judged.rows:
                self._table.add(source, uid if uid is not None else study_uid, row)
            self._bar.advance(1)

    def _split(self, source: Source, uids: Sequence[str]) -> list[tuple[Source, str]]:
        missing = [(source, uid) for uid in uids if not self._table.done(source, uid)]
        self._bar.grow(len(missing) - 1)
        return missing

    def _start(self, source: Source, uid: str | None) -> None:
        future = self._pool.schedule(
            judge, args=(source.shown, source.reads, uid, self._options), timeout=self._timeout_s
        )
        self._under_way += 1
        future.add_done_callback(lambda ended: self._ended.put((source, uid, ended)))

    def _outcome(self, source: Source, uid: str | None, future: Future[Judged]) -> Judged:
        try:
            return future.result()
        except TimeoutError:
            notice = Notice(code="decode_timeout", params={"seconds": round(self._timeout_s)})
            seconds = float(self._timeout_s)
        except (ProcessExpired, MemoryError) as error:
            # killed from outside is nearly always the kernel's answer to a lack of memory
            killed = isinstance(error, MemoryError) or error.exitcode == -9
            notice = Notice(
                code="memory_limit" if killed else "processing_failed",
                params={} if killed else {"attempts": 1},
            )
            seconds = 0.0
        document = refused(Passport(study_uid=uid or ""), notice, self._options.model, seconds)
        row: dict[str, Any] = report_row(Scan(file_name=source.shown), document, self._options.lang)
        return Judged(rows=((uid or "", row),))
