"""``ct predict``: judge every study under some paths in this machine's processes, into one table."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

import shared.model
from batch.crowd import Stopped, crowd
from batch.options import lang_option, out_option, paths_argument, resume_option, xlsx_option
from batch.progress import Counter, Stop, stopping
from batch.rows import Table
from batch.sources import Source, find_sources
from batch.study import Judged, Options, judge, judged, refused, study_uid_of
from shared.ct.isolate import ChildError, StoppedError, preload, run_limited
from shared.ct.passport import Passport
from shared.errors import Lang, Notice, Refusal
from shared.model.analysis import ModelInfo
from shared.model.config import ModelConfig
from shared.settings import Settings, settings

ALL_JUDGED, BROKEN, SOME_REFUSED, INTERRUPTED = 0, 1, 3, 130
#: what every child needs; loaded once, in the server that forks them
_PRELOAD = ("shared.ct.study", "shared.model.pipeline", "shared.reporting.picture", "batch.study")
T = TypeVar("T")
#: a source, and which of its studies when it holds several
Todo = tuple[Source, str | None]


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
    preload(_PRELOAD)
    key = json.dumps(["predict", options.model.sha256, options.lang, allow_partial, options.heatmaps])
    try:
        with Table(out, run=key, resume=resume) as table, stopping() as stop:
            run = _Run(table, options, values, stop)
            sources = find_sources(paths, partial(run.study_uids, workers))
            if not sources:
                raise click.ClickException("no studies found under the given paths")
            with Counter(len(sources)) as bar:
                run.all(sources, workers, bar)
            rows = table.finish(sources, xlsx)
    except OSError as error:
        raise click.ClickException(f"{error.strerror or error}: {error.filename or out}") from error
    if stop.asked:
        sys.exit(INTERRUPTED)
    sys.exit(SOME_REFUSED if any(row["verdict"] == "no_result" for row in rows) else ALL_JUDGED)


def model_of(folder: str) -> ModelInfo:
    """Name, version and digest of the model; ends the command where there is none."""
    try:
        config = ModelConfig.read(Path(folder) if folder else Path(shared.model.__file__).parent / "weights")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the model cannot be read: {error}") from error
    return ModelInfo(name=config.name, version=config.version, sha256=config.sha256)


class _Run:
    """One pass over the sources: each study in a process of its own, rows added as they end."""

    def __init__(self, table: Table, options: Options, values: Settings, stop: Stop) -> None:
        self._table, self._options, self._stop = table, options, stop
        self._memory_mb, self._seconds = values.worker_memory_mb, values.job_timeout_s

    def study_uids(self, workers: int, files: Sequence[str]) -> list[str]:
        """Study Instance UID of each file, "" for one whose header cannot be read."""
        found = dict(crowd(self._study_uid, deque(files), workers, self._stop))
        return [found.get(file, "") for file in files]

    def all(self, sources: Sequence[Source], workers: int, bar: Counter) -> None:
        """Judge everything that is not done yet; ends early when a stop was asked for."""
        todo: deque[Todo] = deque()

        def split(source: Source, uids: Sequence[str]) -> None:
            missing = [uid for uid in uids if not self._table.done(source, uid)]
            bar.grow(len(missing) - 1)
            # at once, so that the archive is still in the system's cache
            todo.extendleft((source, uid) for uid in reversed(missing))

        for source in reversed(sources):
            known = self._table.several(source)
            if self._table.done(source):
                bar.advance(1)
            elif known:
                split(source, known)
            else:
                todo.appendleft((source, None))
        for (source, uid), judged_ in crowd(self._judge, todo, workers, self._stop):
            if judged_.row is None:
                self._table.note_several(source, judged_.several)
                split(source, judged_.several)
                continue
            self._table.add(source, uid if uid is not None else judged_.study_uid, judged_.row)
            bar.advance(1)

    def _judge(self, todo: Todo) -> Judged:
        source, uid = todo
        started = time.perf_counter()
        try:
            answer = self._limited(judge, source.shown, source.reads, uid, self._options)
            if answer.broken:
                raise click.ClickException(answer.broken)
            return answer
        except Refusal as refusal:
            notice = refusal.notice
        except ChildError as error:
            print(error, file=sys.stderr)
            notice = Notice(code="processing_failed", params={"attempts": 1})
        document = refused(
            Passport(study_uid=uid or ""), notice, self._options.model, time.perf_counter() - started
        )
        return judged(source.shown, document, self._options.lang)

    def _study_uid(self, file: str) -> str:
        try:
            return self._limited(study_uid_of, file)
        except (Refusal, ChildError):
            return ""

    def _limited(self, work: Callable[..., T], *args: object) -> T:
        try:
            return run_limited(
                work,
                args,
                memory_mb=self._memory_mb,
                seconds=self._seconds,
                should_stop=self._stop,
            )
        except StoppedError as error:
            raise Stopped from error
