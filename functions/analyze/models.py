"""What the analyze function takes and answers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from shared import keys
from shared.documents import Job, JobKind, JobState, Moment
from shared.errors import Lang
from shared.web.language import request_lang


class ScanPath(BaseModel):
    """Which scan."""

    scan_id: str = Field(max_length=64)


class JobPath(BaseModel):
    """Which job."""

    job_id: str = Field(max_length=64)


class LangQuery(BaseModel):
    """Language of the words in an answer."""

    lang: str = Field("", max_length=10, description="ru or en; Accept-Language decides without it.")

    @property
    def language(self) -> Lang:
        """The language of the answer."""
        return request_lang()


class AnalyzeQuery(LangQuery):
    """How to analyse."""

    force: bool = Field(False, description="Analyse again even if this model has answered already.")


class BlobIn(BaseModel):
    """A study that lies in the bucket."""

    blob_key: str = Field(max_length=900, description="Key of an object below incoming/.")

    @field_validator("blob_key")
    @classmethod
    def _below_incoming(cls, value: str) -> str:
        parts = value.removeprefix(keys.INCOMING).split("/")
        if not value.startswith(keys.INCOMING) or not value.isprintable() or {"", ".", ".."} & set(parts):
            raise ValueError("must be a key below incoming/")
        return value


class ErrorOut(BaseModel):
    """Why a job ended without a result."""

    code: str
    text: str


class JobOut(BaseModel):
    """A job as clients see it."""

    id: str
    kind: JobKind
    scan_id: str
    state: JobState
    stage: str
    progress: float = Field(description="0 to 1.")
    attempts: int
    error: ErrorOut | None
    created_at: Moment
    updated_at: Moment

    @classmethod
    def of(cls, job: Job, lang: Lang) -> JobOut:
        """The public form of a document."""
        error = ErrorOut(code=job.error.code, text=job.error.words(lang)) if job.error else None
        known = job.model_dump(include=set(cls.model_fields) - {"error"})
        return cls(**known, error=error)


class AnalysisOut(BaseModel):
    """The seed's fields; the report's fields stand beside them."""

    model_config = {"extra": "allow"}

    ok: bool
    files_processed: int
    has_pathology_any: bool
    explain_heatmap_b64: str = Field(description="PNG of the decisive slice with its heat.")
    explain_mask_b64: str = Field(description="PNG of the same slice's size: 255 where there is evidence.")


class ReportOut(BaseModel):
    """The report's fields, flat."""

    model_config = {"extra": "allow"}

    verdict: str
    probability_of_pathology: float | None
    processing_status: str
    passport: dict[str, Any]
