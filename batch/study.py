"""What ``predict`` does with one source in a limited process: read, judge, describe as a row."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from shared.ct.passport import Passport
from shared.documents import AnalysisDoc, Scan
from shared.errors import Lang, Notice, Refusal
from shared.model.analysis import Analysis, ModelInfo
from shared.reporting.report import report_row

if TYPE_CHECKING:
    from shared.ct.study import Study
    from shared.ct.volume import Volume
    from shared.model.session import Model

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How studies are judged and described."""

    lang: Lang
    allow_partial: bool
    provider: Literal["auto", "cpu", "cuda"]
    threads: int
    model: ModelInfo
    #: folder of the model; the shipped one without it
    model_dir: str = ""
    max_entries: int = 20_000
    max_unpacked_bytes: int = 8_000_000_000
    #: folder of the key pictures; none are written without it
    heatmaps: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The row of a study, or the studies of a source that holds several, or why nothing can be judged."""

    study_uid: str = ""
    row: Row | None = None
    several: tuple[str, ...] = ()
    #: what is wrong with the model
    broken: str = ""


def study_uid_of(file: str) -> str:
    """Study Instance UID in the header of a file, "" where there is none."""
    import pydicom

    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        return str(header.get("StudyInstanceUID", ""))
    except Exception:  # noqa: BLE001  a hostile header may raise anything; the reader will say what it is
        return ""


def judge(shown: str, source: str | Sequence[str], study_uid: str | None, options: Options) -> Judged:
    """Judge the study of a source, or say that it holds several.

    Parameters
    ----------
    shown : str
        The path that the rows carry.
    source : str or sequence of str
        What is read.
    study_uid : str, optional
        Which of several studies.
    options : Options
        How.
    """
    from shared.ct.archive import Limits
    from shared.ct.study import read_studies
    from shared.model.session import ModelError

    started = time.perf_counter()
    study: Study | None = None
    limits = Limits(max_entries=options.max_entries, max_unpacked_bytes=options.max_unpacked_bytes)
    try:
        studies = read_studies(source, limits=limits)
        if study_uid is None and len(studies) > 1:
            return Judged(several=tuple(one.study_uid for one in studies))
        study = next((one for one in studies if study_uid in (None, one.study_uid)), None)
        if study is None:
            raise Refusal("unreadable", what=study_uid or "")
        document = _judge_study(shown, study, options, started)
    except ModelError as error:
        return Judged(broken=str(error))
    except Exception as error:  # noqa: BLE001  one study must never end the batch
        passport = study.passport if study else Passport(study_uid=study_uid or "")
        document = refused(passport, _notice_of(error), options.model, time.perf_counter() - started)
    return judged(shown, document, options.lang)


def judged(shown: str, document: AnalysisDoc, lang: Lang) -> Judged:
    """The row of a finished analysis."""
    return Judged(document.passport.study_uid, report_row(Scan(file_name=shown), document, lang))


def _notice_of(error: Exception) -> Notice:
    """The reason code of whatever ended a study; a fault of ours is told on standard error too."""
    if isinstance(error, Refusal):
        return error.notice
    # ONNX Runtime has no type of its own for a failed allocation
    if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "allocate memory" in str(error):
        return Notice(code="memory_limit")
    traceback.print_exception(error)
    return Notice(code="processing_failed", params={"attempts": 1})


def _judge_study(shown: str, study: Study, options: Options, started: float) -> AnalysisDoc:
    from shared.model.pipeline import analyse

    volume = study.chosen.load(workers=options.threads)
    analysis = analyse(
        volume,
        _model(options.model_dir, options.provider, options.threads),
        passport=study.passport,
        allow_partial=options.allow_partial,
    )
    document = AnalysisDoc(
        scan_id="",
        verdict=analysis.verdict,
        probability=analysis.probability if analysis.verdict != "no_result" else None,
        threshold=analysis.threshold,
        score=analysis.score,
        reason=analysis.refusal,
        model=analysis.model,
        decisive_slice=analysis.decisive,
        findings=analysis.findings,
        passport=study.passport,
        warnings=analysis.warnings,
        time_of_processing=time.perf_counter() - started,
    )
    if options.heatmaps and analysis.verdict != "no_result":
        _write_picture(Path(options.heatmaps), shown, volume, analysis, study, options.lang)
    return document


def _model(folder: str, provider: Literal["auto", "cpu", "cuda"], threads: int) -> Model:
    from shared.model.session import Model

    if folder:
        return Model.load(Path(folder), provider=provider, threads=threads)
    return Model.shipped(provider=provider, threads=threads)


def refused(passport: Passport, notice: Notice, model: ModelInfo, seconds: float) -> AnalysisDoc:
    """An analysis that ended without a verdict."""
    return AnalysisDoc(
        scan_id="",
        verdict="no_result",
        reason=notice,
        model=model,
        passport=passport,
        time_of_processing=seconds,
    )


def picture_name(shown: str, study_uid: str) -> str:
    """File name of a study's key picture: readable, safe on every system, no two alike."""
    stem = re.sub(r"[^\w.-]+", "_", Path(shown).name).strip("._")[:80] or "study"
    tail = sha256(f"{shown}\0{study_uid}".encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{stem}.{tail}.png"


def _write_picture(
    folder: Path, shown: str, volume: Volume, analysis: Analysis, study: Study, lang: Lang
) -> None:
    from shared.reporting.picture import key_picture, png_bytes

    target = folder / picture_name(shown, study.study_uid)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.write_bytes(png_bytes(key_picture(volume, analysis, lang=lang, passport=study.passport)))
    beside.replace(target)
