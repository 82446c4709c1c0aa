"""Indexes, unique keys and searched fields of every collection: one table for both document stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.documents import AnalysisDoc, Document, Job, Patient, Remembered, Scan, Upload, iso


@dataclass(frozen=True, slots=True)
class Index:
    """Fields in order. A unique one may be limited to documents in which the ``only`` field is true."""

    fields: tuple[str, ...]
    unique: bool = False
    only: str = ""

    @property
    def name(self) -> str:
        """A name that says the fields, so that a changed index is a new one."""
        return "_".join((*self.fields, *(("only", self.only) if self.only else ())))


@dataclass(frozen=True, slots=True)
class Table:
    """What is looked up in a collection."""

    indexes: tuple[Index, ...] = field(default_factory=tuple)
    #: fields that ``text`` looks into
    searched: tuple[str, ...] = ()


#: the column (SQLite) or field (MongoDB) that holds the folded words of the searched fields
SEARCH = "search"
#: how many values `DocumentStore.values` reads at a time
PAGE = 1000
_SORTED = ("updated_at", "probability_of_pathology")


#: Equalities first, then the sort key, then what only filters: so a page is read in order, and a count is
#: read from the index alone, in SQLite (which keeps no statistics here) and in MongoDB alike.
SCHEMA: dict[type[Document], Table] = {
    Patient: Table(
        indexes=(
            Index(("deleting", "created_at", "id", SEARCH)),
            Index(("deleting", "updated_at", "id", SEARCH)),
            Index(("deleting", "last_name", "id", SEARCH)),
            Index(("external_id", "id")),
        ),
        searched=("last_name", "first_name", "external_id", "description"),
    ),
    Scan: Table(
        indexes=(
            Index(("deleting", "temporary", "created_at", "id")),
            Index(("deleting", "temporary", "updated_at", "id")),
            Index(("deleting", "temporary", "probability_of_pathology", "id")),
            Index(("patient_id", "deleting", "temporary", "created_at", "id")),
            Index(("state", "deleting", "temporary", "created_at", "id", "verdict", *_SORTED)),
            Index(("verdict", "deleting", "temporary", "created_at", "id", "state", *_SORTED)),
            Index(("study_uid", "id")),
            Index(("id", "temporary"), only="temporary"),
        ),
    ),
    AnalysisDoc: Table(indexes=(Index(("scan_id", "created_at", "id")),)),
    Job: Table(
        indexes=(
            Index(("key",), unique=True, only="live"),
            Index(("state", "created_at", "id")),
            Index(("state", "lease_until", "id")),
            Index(("scan_id", "created_at", "id")),
        ),
    ),
    Upload: Table(
        indexes=(
            Index(("expires_at", "id")),
            Index(("patient_id", "id")),
            Index(("scan_id", "id")),
        ),
    ),
    Remembered: Table(indexes=(Index(("expires_at", "id")), Index(("subject_id", "id")))),
}


def looked_up(kind: type[Document]) -> tuple[str, ...]:
    """The fields of a collection that stand in an index, without id and search words."""
    fields = [field for index in SCHEMA[kind].indexes for field in (*index.fields, index.only)]
    return tuple(field for field in dict.fromkeys(fields) if field not in ("", "id", SEARCH))


def fold(text: str) -> str:
    """Text as search compares it: without case, with ё as е."""
    return text.casefold().replace("ё", "е")


def search_words(document: Document) -> str:
    """The folded text of a document's searched fields, one field a line."""
    values = (getattr(document, name) for name in SCHEMA[type(document)].searched)
    return "\n".join(fold(str(value)) for value in values if value)


def stored_value(value: Any) -> Any:
    """A filter's value as it stands in the stored JSON."""
    return iso(value) if isinstance(value, datetime) else value


def check_fields(kind: type[Document], names: Any) -> None:
    """Raise ``ValueError`` for a name that is not a field: names go into queries as they are."""
    known = kind.model_fields.keys() | kind.model_computed_fields.keys()
    for name in names:
        if name not in known:
            raise ValueError(f"{kind.__name__} has no field {name!r}")
