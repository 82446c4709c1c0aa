"""What the scans function takes and answers."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from shared.documents import Moment, Scan, ScanState, StudyChoice, Upload
from shared.errors import Lang
from shared.model.analysis import Verdict
from shared.web.language import request_lang
from shared.web.paging import PageQuery


def _text(text: str) -> str:
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C").strip()


Words = Annotated[str, Field(max_length=10_000), AfterValidator(_text)]
FileName = Annotated[str, Field(max_length=1000), AfterValidator(lambda text: _text(text)[-255:])]


class ScanPath(BaseModel):
    """Which scan."""

    scan_id: str = Field(max_length=64)


class BlockPath(ScanPath):
    """Which block of a scan's volume."""

    block: int = Field(ge=0, le=99_999)


class ScansQuery(PageQuery):
    """Filters, order and page."""

    patient_id: str = Field("", max_length=64, description="Only scans of this patient.")
    state: ScanState | Literal[""] = Field("", description="Only scans in this state.")
    verdict: Verdict | Literal[""] = Field("", description="Only scans with this verdict.")
    sort: str = Field(
        "-created_at",
        max_length=100,
        description="created_at, updated_at or probability_of_pathology; a minus in front means falling.",
    )


class LangQuery(BaseModel):
    """Language of the words in an answer."""

    lang: str = Field("", max_length=10, description="ru or en; Accept-Language decides without it.")

    @property
    def language(self) -> Lang:
        """The language of the answer."""
        return request_lang()


class ScanForm(BaseModel):
    """The multipart form of an upload. Read as a stream; this model only describes it."""

    patient_id: str = Field(description="Whose study.")
    description: str = ""
    file: list[bytes] = Field(
        [],
        description="A zip, tar.gz, NIfTI or DICOM file; several loose DICOM files are packed into one zip.",
        json_schema_extra={"items": {"type": "string", "format": "binary"}},
    )


class ScanEdit(BaseModel):
    """What changes in a scan."""

    description: Words = ""


class ChoiceIn(BaseModel):
    """Which of several studies the scan is about, or one scan for each."""

    study_uid: str = Field("", max_length=128)
    split: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> ChoiceIn:
        if bool(self.study_uid) == self.split:
            raise ValueError("either study_uid or split")
        return self


class ScanOut(BaseModel):
    """A scan as lists show it."""

    id: str
    patient_id: str | None
    description: str
    file_name: str
    created_at: Moment
    updated_at: Moment
    size: int = Field(description="Bytes.")
    sha256: str
    state: ScanState
    stage: str
    progress: float = Field(description="Of the present work, 0 to 1.")
    study_uid: str
    series_uid: str
    verdict: Verdict | None
    probability_of_pathology: float | None
    reason_code: str | None = Field(description="Why there is no result.")
    reason: str | None = Field(description="The same in words, with the way out.")
    volume_ready: bool = Field(description="The volume for the viewer is complete.")
    analysis_id: str | None
    choices: list[StudyChoice] = Field(description="Studies to choose from, in the state needs_choice.")

    @classmethod
    def of(cls, scan: Scan, lang: Lang) -> ScanOut:
        """The public form of a document."""
        return cls(**_public(scan, lang))


class ScanDetail(ScanOut):
    """A scan with its input passport."""

    passport: dict[str, Any] | None = Field(description="What was seen in the upload, chosen, and why.")

    @classmethod
    def of(cls, scan: Scan, lang: Lang) -> ScanDetail:
        """The public form of a document."""
        passport = scan.passport.to_json(lang) if scan.passport else None
        return cls(**_public(scan, lang), passport=passport)


def _public(scan: Scan, lang: Lang) -> dict[str, Any]:
    known = scan.model_dump(include=set(ScanOut.model_fields))
    return {**known, "reason": scan.reason.words(lang) if scan.reason else None}


class Split(BaseModel):
    """The scans that a split made."""

    items: list[ScanOut]


class LimitsOut(BaseModel):
    """What is accepted."""

    formats: list[str]
    max_upload_bytes: int
    max_unpacked_bytes: int
    max_entries: int
    upload_part_bytes: int
    upload_ttl_s: int


class UploadIn(BaseModel):
    """A two-step upload that begins."""

    patient_id: str = Field(max_length=64)
    file_name: FileName = "study.zip"
    size: int = Field(ge=1, description="Bytes of the whole file.")
    description: Words = ""


class UploadPath(BaseModel):
    """Which upload."""

    upload_id: str = Field(max_length=64)


class PartPath(UploadPath):
    """Which part; numbers count from 1."""

    number: int = Field(ge=1, le=10_000)


class PartOut(BaseModel):
    """One part: where it goes, and whether it has come."""

    number: int
    url: str = Field(description="Takes a PUT of the part's bytes; absolute, or a path of this API.")
    size: int
    received: bool


class UploadOut(BaseModel):
    """A two-step upload as clients see it."""

    id: str
    file_name: str
    size: int
    part_size: int
    expires_at: Moment
    scan_id: str | None
    parts: list[PartOut]


def part_sizes(upload: Upload) -> list[int]:
    """Bytes of each part, in order."""
    full, rest = divmod(upload.size, upload.part_size)
    return [upload.part_size] * full + ([rest] if rest else [])
