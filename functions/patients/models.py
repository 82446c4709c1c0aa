"""What the patients function takes and answers."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, field_validator

from shared.documents import Moment, Patient
from shared.model.analysis import Verdict
from shared.web.paging import PageQuery


def _one_line(text: str) -> str:
    """Trimmed; control characters are no part of a name."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text).strip()


def _text(text: str) -> str:
    """Trimmed; line breaks and tabs stay."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C").strip()


Name = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Words = Annotated[str, Field(max_length=10_000), AfterValidator(_text)]
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class PatientPath(BaseModel):
    """Which patient."""

    patient_id: str = Field(max_length=64)


class PatientsQuery(PageQuery):
    """Search and page."""

    q: str = Field("", max_length=200, description="Part of a name, an external id or the description.")
    sort: str = Field(
        "-created_at", description="created_at, updated_at or last_name; a minus in front means falling."
    )


class _Optional(BaseModel):
    description: Words | None = Field(None, description="Free text.")
    birth_date: str | None = Field(None, description="ISO 8601 date, YYYY-MM-DD.")
    sex: Literal["M", "F", "O"] | None = None
    external_id: Name | None = Field(None, description="The number in the clinic's own system.")

    @field_validator("birth_date")
    @classmethod
    def _a_real_past_date(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not _ISO_DATE.fullmatch(value):
            raise ValueError("YYYY-MM-DD")
        if date.fromisoformat(value) > date.today():
            raise ValueError("date lies in the future")
        return value


class PatientIn(_Optional):
    """A new patient."""

    first_name: Name = Field(min_length=1)
    last_name: Name = Field(min_length=1)

    @field_validator("first_name", "last_name")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value:
            raise ValueError("must not be empty")
        return value


class PatientEdit(_Optional):
    """What changes in a patient: only the fields that are sent."""

    first_name: Name | None = None
    last_name: Name | None = None

    @field_validator("first_name", "last_name")
    @classmethod
    def _not_blank(cls, value: str | None) -> str:
        if not value:
            raise ValueError("must not be empty")
        return value

    def changes(self) -> dict[str, Any]:
        """The fields that were sent, as the document keeps them."""
        sent = self.model_dump(exclude_unset=True)
        if "description" in sent:
            sent["description"] = sent["description"] or ""
        return sent


class PatientOut(BaseModel):
    """A patient as clients see it."""

    id: str
    first_name: str
    last_name: str
    description: str
    birth_date: str | None
    sex: Literal["M", "F", "O"] | None
    external_id: str | None
    created_at: Moment
    updated_at: Moment
    scan_count: int = Field(description="Studies of this patient.")
    last_verdict: Verdict | None = Field(description="Verdict of the newest analysed study.")

    @classmethod
    def of(cls, patient: Patient, scan_count: int = 0, last_verdict: Verdict | None = None) -> PatientOut:
        """The public form of a document."""
        known = patient.model_dump(include=set(cls.model_fields))
        return cls(**known, scan_count=scan_count, last_verdict=last_verdict)
