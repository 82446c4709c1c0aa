"""The work on pixels, as it runs in a process of its own: no store, no web, only a file and a folder.

Each task leaves files in its work folder and ends with one outcome (`functions.analyze.messages`).
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path

from functions.analyze.messages import (
    Analysed,
    Broken,
    FileReady,
    ModelReady,
    Outcome,
    Prepared,
    Progress,
    Refused,
)
from functions.analyze.work import BLOCK_DEPTH, EVIDENCE, GEOMETRY, Work, block_name, heatmap_name
from shared.ct.archive import Limits
from shared.ct.blocks import geometry, pack_blocks
from shared.ct.passport import Passport
from shared.ct.study import Study, read_studies, read_study
from shared.documents import StudyChoice
from shared.errors import LANGS, Notice, Refusal
from shared.model.pipeline import analyse
from shared.model.session import Model, ModelError
from shared.reporting.evidence_file import pack
from shared.reporting.picture import key_picture, png_bytes

Send = Callable[[Progress | FileReady], None]

#: parts of the whole that reading, the model and drawing take, for the progress bar
_DECODED, _JUDGED = 0.5, 0.9
_STAGES = {"lungs": (0.5, 0.6), "model": (0.6, 0.85), "findings": (0.85, 0.9)}


def run(work: Work, send: Callable[[str], None]) -> str:
    """Do the work; messages on the way and the outcome are JSON of `functions.analyze.messages`."""

    def tell(message: Progress | FileReady) -> None:
        send(message.model_dump_json())

    task = {"prepare": _prepare, "analyze": _analyse, "model": _load_model}[work.task]
    outcome: Outcome
    try:
        outcome = task(work, tell)
    except Refusal as refusal:
        outcome = _refused(refusal.notice, None)
    except MemoryError:
        raise  # `shared.ct.isolate` has the words for it
    except ModelError as error:
        outcome = Broken(error="ModelError", detail=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the worker must hear of it
        frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        outcome = Broken(error=type(error).__name__, frames=frames[-8:])
    return outcome.model_dump_json()


def _prepare(work: Work, send: Send) -> Outcome:
    send(Progress(stage="reading", progress=0.0))
    study = _open(work)
    if not isinstance(study, Study):
        return study
    try:
        volume = study.chosen.load(
            progress=lambda part: send(Progress(stage="decoding", progress=_DECODED * _unit(part)))
        )
    except Refusal as refusal:
        return _refused(refusal.notice, study)
    folder = Path(work.folder)
    shape = geometry(volume, BLOCK_DEPTH)
    (folder / GEOMETRY).write_text(json.dumps(shape), encoding="utf-8")
    send(FileReady(name=GEOMETRY))
    for done, (number, data) in enumerate(pack_blocks(volume, BLOCK_DEPTH), 1):
        (folder / block_name(number)).write_bytes(data)
        send(FileReady(name=block_name(number)))
        send(Progress(stage="packing", progress=_DECODED + (1 - _DECODED) * done / shape["blocks"]))
    return Prepared(passport=study.passport)


def _analyse(work: Work, send: Send) -> Outcome:
    send(Progress(stage="reading", progress=0.0))
    study = _open(work)
    if not isinstance(study, Study):
        return study

    def judged(stage: str, part: float) -> None:
        begin, end = _STAGES.get(stage, (_JUDGED, _JUDGED))
        send(Progress(stage=stage, progress=begin + (end - begin) * _unit(part)))

    try:
        volume = study.chosen.load(
            progress=lambda part: send(Progress(stage="decoding", progress=_DECODED * _unit(part)))
        )
        analysis = analyse(volume, _model(work), passport=study.passport, progress=judged)
    except Refusal as refusal:
        return _refused(refusal.notice, study)
    if analysis.verdict == "no_result":
        return Analysed(
            passport=study.passport,
            verdict="no_result",
            reason=analysis.refusal,
            model=analysis.model,
            warnings=analysis.warnings,
        )
    send(Progress(stage="drawing", progress=_JUDGED))
    folder = Path(work.folder)
    (folder / EVIDENCE).write_bytes(pack(analysis))
    send(FileReady(name=EVIDENCE))
    for lang in LANGS:
        picture = key_picture(volume, analysis, lang=lang, passport=study.passport)
        (folder / heatmap_name(lang)).write_bytes(png_bytes(picture))
        send(FileReady(name=heatmap_name(lang)))
    return Analysed(
        passport=study.passport,
        verdict=analysis.verdict,
        probability=analysis.probability,
        threshold=analysis.threshold,
        score=analysis.score,
        model=analysis.model,
        decisive_slice=analysis.decisive,
        findings=analysis.findings,
        warnings=analysis.warnings,
    )


def _load_model(work: Work, send: Send) -> Outcome:
    send(Progress(stage="model", progress=0.0))
    return ModelReady(model=_model(work).info)


def _model(work: Work) -> Model:
    if work.model_dir:
        return Model.load(Path(work.model_dir), provider=work.provider, threads=work.threads)
    return Model.shipped(provider=work.provider, threads=work.threads)


def _open(work: Work) -> Study | Refused:
    """The study that the work is about, or why there is none."""
    limits = Limits(max_entries=work.max_entries, max_unpacked_bytes=work.max_unpacked_bytes)
    try:
        return read_study(work.source, study_uid=work.study_uid or None, limits=limits)
    except Refusal as refusal:
        if refusal.code != "several_studies":
            raise
        choices = [_choice(study) for study in read_studies(work.source, limits=limits) if study.has_ct]
        return Refused(notice=refusal.notice, passport=Passport(refusal=refusal.notice), choices=choices)


def _choice(study: Study) -> StudyChoice:
    rows = study.passport.series
    return StudyChoice(
        study_uid=study.study_uid,
        study_date=study.passport.study_date,
        n_series=len(rows),
        n_instances=sum(row.n_instances for row in rows),
        description=next((row.description for row in rows if row.description), ""),
    )


def _refused(notice: Notice, study: Study | None) -> Refused:
    passport = study.passport if study else Passport()
    if passport.refusal is None:
        passport = passport.model_copy(update={"refusal": notice})
    return Refused(notice=notice, passport=passport)


def _unit(part: float) -> float:
    return min(1.0, max(0.0, part))
