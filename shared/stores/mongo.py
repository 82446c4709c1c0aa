"""Documents in MongoDB, one collection per kind, with only what every MongoDB-protocol server does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pymongo import ASCENDING, DESCENDING, MongoClient
from pymongo.collection import Collection
from pymongo.errors import CollectionInvalid, DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from shared.documents import DOCUMENTS, Document, utc_now
from shared.stores.process import PerProcess
from shared.stores.protocols import Duplicate, Filter, Sort, StorageFull, StoreUnavailable, VersionConflict
from shared.stores.schema import PAGE, SCHEMA, SEARCH, Index, check_fields, fold, search_words, stored_value
from shared.stores.validators import validator

D = TypeVar("D", bound=Document)
Raw = dict[str, Any]
#: OutOfDiskSpace, and Atlas' quota
_FULL = {14031, 8000}
#: DocumentValidationFailure: a fault of ours, not of the store
_INVALID = 121


class MongoDocuments:
    """A `DocumentStore` in a MongoDB database.

    Parameters
    ----------
    url : str
        Connection string, credentials included.
    database : str
        Database name.
    timeout_s : float
        How long to wait for the server before `StoreUnavailable`.
    """

    def __init__(self, url: str, *, database: str, timeout_s: float = 10.0) -> None:
        milliseconds = int(timeout_s * 1000)

        def connect() -> MongoClient[Raw]:
            return MongoClient(
                url,
                serverSelectionTimeoutMS=milliseconds,
                connectTimeoutMS=milliseconds,
                socketTimeoutMS=milliseconds,
                appname="ct_pathology",
            )

        self._client = PerProcess(connect)
        self._database = database

    def ensure_schema(self) -> None:
        """See `DocumentStore`."""
        with _errors():
            database = self._client.get()[self._database]
            present = {found["name"]: found["options"] for found in database.list_collections()}
        for kind in DOCUMENTS:
            with self._collection(kind) as collection:
                _check_types(collection, kind, present.get(kind.collection))
                for index in SCHEMA[kind].indexes:
                    _create_index(collection, index)

    def ping(self) -> None:
        """See `DocumentStore`."""
        with _errors():
            self._client.get().admin.command("ping")

    def insert(self, document: Document) -> None:
        """See `DocumentStore`."""
        with self._collection(type(document)) as collection:
            collection.insert_one(_pack(document))

    def get(self, kind: type[D], doc_id: str) -> D | None:
        """See `DocumentStore`."""
        with self._collection(kind) as collection:
            raw = collection.find_one({"_id": doc_id})
        return None if raw is None else _unpack(kind, raw)

    def replace(self, document: D) -> D:
        """See `DocumentStore`."""
        new = document.model_copy(update={"version": document.version + 1, "updated_at": utc_now()})
        with self._collection(type(new)) as collection:
            written = collection.replace_one({"_id": new.id, "version": document.version}, _pack(new))
        if not written.matched_count:
            raise VersionConflict(f"{new.collection}/{new.id} is not at version {document.version}")
        return new

    def delete(self, kind: type[Document], doc_id: str) -> bool:
        """See `DocumentStore`."""
        with self._collection(kind) as collection:
            return collection.delete_one({"_id": doc_id}).deleted_count > 0

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
        """See `DocumentStore`."""
        if limit <= 0:
            return []  # for the server 0 means all
        with self._collection(kind) as collection:
            found = collection.find(
                _query(kind, where, text), sort=_order(kind, sort), skip=offset, limit=limit
            )
            return [_unpack(kind, raw) for raw in found]

    def count(self, kind: type[Document], where: Filter | None = None, *, text: str = "") -> int:
        """See `DocumentStore`."""
        with self._collection(kind) as collection:
            return collection.count_documents(_query(kind, where, text))

    def count_by(
        self, kind: type[Document], field: str, values: Sequence[str], where: Filter | None = None
    ) -> dict[str, int]:
        """See `DocumentStore`."""
        query = _query(kind, {**(where or {}), field: list(values)}, "")
        with self._collection(kind) as collection:
            groups = collection.aggregate(
                [{"$match": query}, {"$group": {"_id": f"${_name(field)}", "n": {"$sum": 1}}}]
            )
            return dict.fromkeys(values, 0) | {group["_id"]: int(group["n"]) for group in groups}

    def values(self, kind: type[Document], field: str) -> Iterator[str]:
        """See `DocumentStore`."""
        check_fields(kind, [field])
        name, last = _name(field), ""
        while True:
            with self._collection(kind) as collection:
                found = collection.find(
                    {name: {"$gt": last}},
                    {name: 1, "_id": int(name == "_id")},
                    sort=[(name, ASCENDING)],
                    limit=PAGE,
                )
                page = [str(raw[name]) for raw in found]
            # a page may end amid equal values: the next one begins after them
            yield from dict.fromkeys(page)
            if len(page) < PAGE:
                return
            last = page[-1]

    def close(self) -> None:
        """See `DocumentStore`."""
        client = self._client.take()
        if client is not None:
            client.close()

    @contextmanager
    def _collection(self, kind: type[Document]) -> Iterator[Collection[Raw]]:
        """A collection whose answered writes are on disk; the driver's errors leave as the store's."""
        with _errors():
            database = self._client.get()[self._database]
            yield database.get_collection(kind.collection, write_concern=WriteConcern(w="majority", j=True))


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except DuplicateKeyError as error:
        raise Duplicate(str(error)) from error
    except PyMongoError as error:
        code = getattr(error, "code", None)
        if code == _INVALID:
            raise
        if code in _FULL:
            raise StorageFull(str(error)) from error
        raise StoreUnavailable(str(error)) from error


def _check_types(collection: Collection[Raw], kind: type[Document], options: Raw | None) -> None:
    """Create the collection with its validator, or bring that of a former release up to date."""
    rules = validator(kind)
    if options is None:
        # two services may start at once
        with suppress(CollectionInvalid):
            collection.database.create_collection(collection.name, validator=rules)
    elif options.get("validator") != rules:
        collection.database.command("collMod", collection.name, validator=rules)


def _create_index(collection: Collection[Raw], index: Index) -> None:
    options: Raw = {"partialFilterExpression": {index.only: True}} if index.only else {}
    keys = [(_name(field), ASCENDING) for field in index.fields]
    collection.create_index(keys, name=index.name, unique=index.unique, **options)


def _pack(document: Document) -> Raw:
    """The document's JSON, its id as ``_id``, with the words that search looks into."""
    raw: Raw = document.model_dump(mode="json")
    raw["_id"] = raw.pop("id")
    if SCHEMA[type(document)].searched:
        raw[SEARCH] = search_words(document)
    return raw


def _unpack(kind: type[D], raw: Raw) -> D:
    return kind.model_validate({**raw, "id": raw["_id"]})


def _name(field: str) -> str:
    return "_id" if field == "id" else field


def _query(kind: type[Document], where: Filter | None, text: str) -> Raw:
    where = where or {}
    check_fields(kind, where)
    query: Raw = {}
    for field, value in where.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            query[_name(field)] = {"$in": [stored_value(one) for one in value]}
        else:
            query[_name(field)] = stored_value(value)
    words = fold(text).split()
    if words:
        query["$and"] = [{SEARCH: {"$regex": re.escape(word)}} for word in words]
    return query


def _order(kind: type[Document], sort: Sort) -> list[tuple[str, int]]:
    """Sort keys; the id goes in the direction of the last one, so that one index serves it."""
    check_fields(kind, (field for field, _ in sort))
    keys = [*sort, ("id", sort[-1][1] if sort else "asc")]
    return [(_name(field), DESCENDING if direction == "desc" else ASCENDING) for field, direction in keys]
