"""What the end of a job changes in the documents. Each answers False when the scan is gone."""

from __future__ import annotations

from functions.analyze.messages import Analysed, Prepared, Refused
from shared.documents import AnalysisDoc, Scan
from shared.lifecycle import Stores, change

#: a preparation that ends beside an analysis leaves the scan's state to the analysis
_UNREAD = ("uploaded", "preparing")


def record_prepared(stores: Stores, scan_id: str, outcome: Prepared) -> bool:
    """The study was read and its volume lies in the blob store."""

    def edit(scan: Scan) -> bool:
        if scan.deleting:
            return False
        scan.volume_ready = True
        if scan.analysis_id is None:
            scan.passport = outcome.passport
            scan.study_uid, scan.series_uid = outcome.passport.study_uid, outcome.passport.series_uid
        if scan.state in _UNREAD:
            scan.state, scan.stage, scan.progress, scan.reason = "ready", "", 1.0, None
            scan.verdict = None
        return True

    return _kept(change(stores.documents, Scan, scan_id, edit))


def record_unread(stores: Stores, scan_id: str, outcome: Refused) -> bool:
    """The study cannot be read, or somebody has to say which of several is meant."""

    def edit(scan: Scan) -> bool:
        if scan.deleting or (scan.state not in _UNREAD and not outcome.choices):
            return False
        scan.state = "needs_choice" if outcome.choices else "refused"
        scan.verdict = None if outcome.choices else "no_result"
        scan.stage, scan.progress = "", 1.0
        scan.choices = outcome.choices
        scan.reason = outcome.notice
        scan.passport = outcome.passport
        scan.study_uid, scan.series_uid = outcome.passport.study_uid, outcome.passport.series_uid
        return True

    return _kept(change(stores.documents, Scan, scan_id, edit))


def record_analysis(
    stores: Stores, scan_id: str, analysis_id: str, outcome: Analysed, seconds: float
) -> bool:
    """The analysis ended, with a verdict or with a reason why there is none."""
    scan = stores.documents.get(Scan, scan_id)
    if not _kept(scan):
        return False
    assert scan is not None  # noqa: S101
    judged = outcome.verdict != "no_result"
    passport = outcome.passport
    analysis = AnalysisDoc(
        id=analysis_id,
        scan_id=scan_id,
        patient_id=scan.patient_id,
        verdict=outcome.verdict,
        probability=outcome.probability if judged else None,
        threshold=outcome.threshold if judged else None,
        score=outcome.score if judged else None,
        reason=outcome.reason,
        model=outcome.model,
        decisive_slice=outcome.decisive_slice,
        findings=outcome.findings,
        passport=passport,
        warnings=outcome.warnings,
        time_of_processing=seconds,
        has_picture=judged,
    )
    stores.documents.insert(analysis)

    def edit(scan: Scan) -> bool:
        if scan.deleting:
            return False
        scan.state = "done" if judged else "refused"
        scan.stage, scan.progress = "", 1.0
        scan.analysis_id = analysis_id
        scan.verdict = outcome.verdict
        scan.probability_of_pathology = analysis.probability
        scan.reason = outcome.reason
        scan.passport = passport
        scan.study_uid, scan.series_uid = passport.study_uid, passport.series_uid
        return True

    if _kept(change(stores.documents, Scan, scan_id, edit)):
        return True
    stores.documents.delete(AnalysisDoc, analysis_id)
    return False


def _kept(scan: Scan | None) -> bool:
    return scan is not None and not scan.deleting
