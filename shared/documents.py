"""The documents that are kept, as pydantic models: the same JSON in SQLite and in MongoDB."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, computed_field
from uuid_utils.compat import uuid7

from shared.ct.passport import Passport
from shared.errors import Notice
from shared.model.analysis import DecisiveSlice, Finding, ModelInfo, Verdict


def new_id() -> str:
    """A fresh time-ordered id (UUID version 7, RFC 9562)."""
    return str(uuid7())


def utc_now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """A UTC moment as fixed-width ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


#: a UTC moment, written as fixed-width ISO 8601 so that text order is time order in every store
Moment = Annotated[datetime, PlainSerializer(iso, return_type=str)]


class Document(BaseModel):
    """What every document has; ``version`` grows by one with each write (optimistic locking)."""

    model_config = ConfigDict(validate_assignment=True, extra="ignore")
    collection: ClassVar[str]

    id: str = Field(default_factory=new_id)
    version: int = 1
    created_at: Moment = Field(default_factory=utc_now)
    updated_at: Moment = Field(default_factory=utc_now)


class Patient(Document):
    """A patient record, as the doctor keeps it."""

    collection: ClassVar[str] = "patients"

    first_name: str
    last_name: str
    description: str = ""
    birth_date: str | None = None
    sex: Literal["M", "F", "O"] | None = None
    external_id: str | None = None
    #: deletion has begun; the sweeper finishes it
    deleting: bool = False


ScanState = Literal[
    "uploaded",
    "preparing",
    "needs_choice",
    "ready",
    "queued",
    "analysing",
    "done",
    "refused",
    "failed",
]


class StudyChoice(BaseModel):
    """One of several studies in an upload, for the doctor to pick."""

    study_uid: str
    study_date: str = ""
    n_series: int = 0
    n_instances: int = 0
    description: str = ""


class Scan(Document):
    """One uploaded study: where its bytes are and how far it is."""

    collection: ClassVar[str] = "scans"

    #: None for a study sent to /inference/predict: it is temporary
    patient_id: str | None = None
    description: str = ""
    file_name: str = ""
    content_type: str = "application/octet-stream"
    size: int = 0
    sha256: str = ""
    state: ScanState = "uploaded"
    stage: str = ""
    progress: float = 0.0
    study_uid: str = ""
    series_uid: str = ""
    #: the study picked by the doctor when the upload holds several
    chosen_study_uid: str = ""
    choices: list[StudyChoice] = []
    passport: Passport | None = None
    #: the packed volume for the viewer is ready
    volume_ready: bool = False
    analysis_id: str | None = None
    verdict: Verdict | None = None
    probability_of_pathology: float | None = None
    #: why there is no result
    reason: Notice | None = None
    temporary: bool = False
    deleting: bool = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reason_code(self) -> str | None:
        """The code of `reason` alone, as lists show it."""
        return self.reason.code if self.reason else None


class AnalysisDoc(Document):
    """A finished analysis: everything a report is rendered from. Blobs: see `shared.keys`."""

    collection: ClassVar[str] = "analyses"

    scan_id: str
    patient_id: str | None = None
    verdict: Verdict
    #: None whenever the verdict is no_result
    probability: float | None = None
    threshold: float | None = None
    score: float | None = None
    reason: Notice | None = None
    model: ModelInfo
    decisive_slice: DecisiveSlice | None = None
    findings: list[Finding] = []
    passport: Passport
    warnings: list[Notice] = []
    time_of_processing: float = 0.0
    has_picture: bool = False


JobKind = Literal["prepare", "analyze"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class Job(Document):
    """A piece of work for a worker; its life is the table in `shared.jobs`."""

    collection: ClassVar[str] = "jobs"

    kind: JobKind
    scan_id: str
    #: one live job per key: scan, kind and model version
    key: str
    state: JobState = "queued"
    stage: str = ""
    progress: float = 0.0
    attempts: int = 0
    lease_until: Moment | None = None
    worker_id: str | None = None
    #: why it ended without a result
    error: Notice | None = None
    request_id: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def live(self) -> bool:
        """Whether it still waits or runs: the stores hold ``key`` unique among live jobs."""
        return self.state in ("queued", "running")


class Upload(Document):
    """A two-step upload that is under way."""

    collection: ClassVar[str] = "uploads"

    patient_id: str | None = None
    description: str = ""
    file_name: str = ""
    size: int = 0
    part_size: int = 0
    #: the object store's multipart id where it has one
    multipart_id: str = ""
    scan_id: str | None = None
    expires_at: Moment = Field(default_factory=utc_now)


class Remembered(Document):
    """The answer to a POST with an ``Idempotency-Key``: id is the key's hash."""

    collection: ClassVar[str] = "idempotency"

    request_hash: str
    status: int = 0
    body: dict[str, Any] = {}
    #: the patient or scan that the answer is about: the memory goes with it
    subject_id: str = ""
    expires_at: Moment = Field(default_factory=utc_now)


DOCUMENTS: tuple[type[Document], ...] = (Patient, Scan, AnalysisDoc, Job, Upload, Remembered)
