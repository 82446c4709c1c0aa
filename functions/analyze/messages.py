"""What the process that reads a study tells the worker, as JSON.

The reading process handles files from strangers: what it says is validated, and never used as a path.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from shared.ct.passport import Passport
from shared.documents import StudyChoice
from shared.errors import Notice
from shared.model.analysis import DecisiveSlice, Finding, ModelInfo, Verdict


class Progress(BaseModel):
    """How far the work is."""

    type: Literal["progress"] = "progress"
    stage: str
    progress: float = Field(ge=0, le=1)


class FileReady(BaseModel):
    """A file in the work folder is complete."""

    type: Literal["file"] = "file"
    name: str = Field(pattern=r"^[a-z0-9_.]{1,40}$")


class Prepared(BaseModel):
    """The study was read and its volume packed."""

    type: Literal["prepared"] = "prepared"
    passport: Passport


class Analysed(BaseModel):
    """The model's answer. The pictures and the evidence are files."""

    type: Literal["analysed"] = "analysed"
    passport: Passport
    verdict: Verdict
    probability: float | None = None
    threshold: float | None = None
    score: float | None = None
    reason: Notice | None = None
    model: ModelInfo
    decisive_slice: DecisiveSlice | None = None
    findings: list[Finding] = []
    warnings: list[Notice] = []


class Refused(BaseModel):
    """The study ends without a volume or a verdict."""

    type: Literal["refused"] = "refused"
    notice: Notice
    passport: Passport
    #: the studies to choose from, when there are several
    choices: list[StudyChoice] = []


class Broken(BaseModel):
    """An error of ours: its class and where. Its text may quote the file, so only the model's is told."""

    type: Literal["broken"] = "broken"
    error: str
    detail: str = ""
    frames: list[str] = []


class ModelReady(BaseModel):
    """The model loads, and where it runs."""

    type: Literal["model"] = "model"
    model: ModelInfo


Outcome = Prepared | Analysed | Refused | Broken | ModelReady
Message = Annotated[Progress | FileReady | Outcome, Field(discriminator="type")]
MESSAGES: TypeAdapter[Progress | FileReady | Outcome] = TypeAdapter(Message)
