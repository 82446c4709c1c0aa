"""What a document store and a blob store can do. The contract suite holds every adapter to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Protocol, TypeVar

from shared.documents import Document

D = TypeVar("D", bound=Document)

#: equality by field name; a value that is a sequence means "one of these"
Filter = Mapping[str, Any]
#: field name and direction; the id is always the last key, so the order is total
Sort = Sequence[tuple[str, Literal["asc", "desc"]]]


class VersionConflict(Exception):
    """The document changed, or is gone, since the version that was read."""


class Duplicate(Exception):
    """A document with this id (or this unique key) exists already."""


class BlobMissing(Exception):
    """There is no blob under this key."""


class StoreUnavailable(Exception):
    """The store did not answer in time; nothing is known about the last write."""


class StorageFull(Exception):
    """There is no room left for the write; nothing of it remains."""


class DocumentStore(Protocol):
    """Typed documents with optimistic locking."""

    def ensure_schema(self) -> None:
        """Create tables, collections and indexes where they are missing. Safe to repeat."""

    def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers."""

    def insert(self, document: Document) -> None:
        """Add a document; raises `Duplicate` when its id or unique key exists."""

    def get(self, kind: type[D], doc_id: str) -> D | None:
        """One document, or None."""

    def replace(self, document: D) -> D:
        """Write if the stored version equals ``document.version``; answers the new one (version + 1).

        Raises `VersionConflict` otherwise. ``updated_at`` is set to now.
        """

    def delete(self, kind: type[Document], doc_id: str) -> bool:
        """Remove; False when it was not there."""

    def find(
        self,
        kind: type[D],
        where: Filter | None = None,
        *,
        text: str = "",
        sort: Sort = (),
        limit: int = 20,
        offset: int = 0,
    ) -> list[D]:
        """Documents that match; ``text`` is a case-insensitive part of a patient's searchable fields."""

    def count(self, kind: type[Document], where: Filter | None = None, *, text: str = "") -> int:
        """How many match."""

    def count_by(
        self, kind: type[Document], field: str, values: Sequence[str], where: Filter | None = None
    ) -> dict[str, int]:
        """How many documents that match ``where`` have each of ``values`` in ``field``; 0 where none."""

    def values(self, kind: type[Document], field: str) -> Iterator[str]:
        """Every value of an indexed text field once, in order, read from the index a page at a time."""

    def close(self) -> None:
        """Give back connections."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """Size in bytes and an opaque tag that changes with the content."""

    key: str
    size: int
    etag: str
    modified: float


class BlobStore(Protocol):
    """Bytes under keys. A write is seen whole or not at all."""

    def ensure_ready(self) -> None:
        """Create the bucket or folder where it is missing. Safe to repeat."""

    def ping(self) -> None:
        """Raise `StoreUnavailable` unless the store answers."""

    def put(
        self, key: str, data: bytes | BinaryIO, *, content_type: str = "application/octet-stream"
    ) -> BlobInfo:
        """Store bytes or a stream (read in pieces, never whole in memory).

        When the stream raises, so does this, and the former content stays. Raises `BlobMissing` when
        somebody deletes the blob at the same moment.
        """

    def get(self, key: str) -> bytes:
        """All bytes; raises `BlobMissing`."""

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Pieces of a range; raises `BlobMissing` at the call, not at the first piece."""

    def info(self, key: str) -> BlobInfo:
        """Size and tag; raises `BlobMissing`."""

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """Every blob under a prefix; those of one "folder" in order of key."""

    def children(self, prefix: str) -> Iterator[str]:
        """Names directly under a prefix that ends with ``/``, one for each "folder" however full it is.

        One that was just emptied may still be named for a while.
        """

    def delete(self, key: str) -> None:
        """Remove; a missing key is no error."""

    def delete_prefix(self, prefix: str) -> int:
        """Remove everything under a prefix; answers how many."""

    def copy(self, source: str, target: str) -> None:
        """Copy inside the store."""

    def compose(self, parts: Sequence[str], target: str) -> BlobInfo:
        """Join blobs, in order, into one; the parts stay."""

    def presign_put(self, key: str, *, seconds: int) -> str | None:
        """A URL that takes a PUT of this key for some time; None where the store has no URLs."""

    def local_path(self, key: str) -> str | None:
        """A path that can be read directly, where the store is a folder; None elsewhere."""

    def expire(self, prefix: str, *, days: int) -> None:
        """Tell the store to remove by itself what lies under a prefix for so long, where it can."""
