"""The process that reads a study: its limits end it with words, and such an answer is not kept for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.analyze.messages import ModelReady, Refused
from functions.analyze.model_info import current_model
from functions.analyze.process import run_work, warm_up
from functions.analyze.waiting import stored_answer
from functions.analyze.work import Work
from shared.context import Context, context_of
from shared.ct.isolate import StoppedError
from shared.ct.passport import Passport
from shared.documents import AnalysisDoc, Scan
from shared.errors import Notice
from shared.settings import Settings
from tests.service.conftest import quick


@pytest.fixture
def context(tmp_path: Path, model_dir: Path) -> Iterator[Context]:
    context = context_of(Settings(data_dir=tmp_path, **quick(model_dir)))
    yield context
    context.documents.close()


def outcome_of(context: Context, chest: Path, task: str, **limits: int) -> object:
    warm_up()
    settings = context.settings.model_copy(update=limits)
    folder = settings.data_dir / "work"
    folder.mkdir()
    work = Work.of(settings, task, source=str(chest), folder=folder)  # type: ignore[arg-type]
    return run_work(work, settings, lambda _: None, lambda: False)


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"worker_memory_mb": 120}, "memory_limit"), ({"job_timeout_s": 0}, "decode_timeout")],
)
def test_a_study_that_takes_too_much_ends_with_words(
    context: Context, chest: Path, limits: dict[str, int], code: str
) -> None:
    outcome = outcome_of(context, chest, "analyze", **limits)
    assert isinstance(outcome, Refused)
    assert outcome.notice.code == code
    assert outcome.passport.refusal == outcome.notice


def test_the_model_is_named_with_where_it_really_runs(context: Context, chest: Path) -> None:
    outcome = outcome_of(context, chest, "model")
    assert isinstance(outcome, ModelReady)
    assert (outcome.model.name, outcome.model.provider) == ("tiny", "CPUExecutionProvider")


def test_a_worker_that_stops_stops_its_work(context: Context, chest: Path) -> None:
    work = Work.of(context.settings, "analyze", source=str(chest), folder=context.settings.data_dir)
    with pytest.raises(StoppedError):
        run_work(work, context.settings, lambda _: None, lambda: True)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("not_ct", True), ("decode_timeout", False), ("memory_limit", False), (None, True)],
)
def test_only_an_answer_that_another_try_cannot_change_is_kept(
    context: Context, reason: str | None, kept: bool
) -> None:
    model = current_model(context.settings)
    scan = Scan()
    analysis = AnalysisDoc(
        scan_id=scan.id,
        verdict="no_result" if reason else "normal",
        reason=Notice(code=reason) if reason else None,
        model=model,
        passport=Passport(),
    )
    context.documents.insert(analysis)
    scan.analysis_id = analysis.id
    assert (stored_answer(context, scan, model) is not None) is kept
    other = model.model_copy(update={"sha256": "0" * 64})
    assert stored_answer(context, scan, other) is None
