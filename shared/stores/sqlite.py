"""Documents in one SQLite file (WAL): a JSON body per row, its looked-up fields as indexed columns."""

from __future__ import annotations

import fcntl
import queue
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from shared.documents import DOCUMENTS, Document, utc_now
from shared.stores.process import PerProcess
from shared.stores.protocols import (
    Duplicate,
    Filter,
    Sort,
    StorageFull,
    StoreUnavailable,
    VersionConflict,
)
from shared.stores.schema import (
    PAGE,
    SCHEMA,
    SEARCH,
    Index,
    check_fields,
    fold,
    looked_up,
    search_words,
    stored_value,
)

D = TypeVar("D", bound=Document)


class SqliteDocuments:
    """A `DocumentStore` in a file.

    Parameters
    ----------
    path : Path
        The database file; its folder is made when missing.
    timeout_s : float
        How long to wait for another writer before `StoreUnavailable`.
    """

    def __init__(self, path: Path, *, timeout_s: float = 10.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        # one connection serves one call at a time, so there are as many as calls at once
        self._idle = PerProcess[queue.LifoQueue[sqlite3.Connection]](queue.LifoQueue)

    def ensure_schema(self) -> None:
        """See `DocumentStore`."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._path.with_suffix(".lock")
        # the switch to WAL does not wait for others that switch too, so they queue at a lock of our own
        with lock.open("w") as lock_file, self._connection() as db:
            fcntl.flock(lock_file, fcntl.LOCK_EX)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            try:
                for kind in DOCUMENTS:
                    for statement in _schema_statements(db, kind):
                        db.execute(statement)
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def ping(self) -> None:
        """See `DocumentStore`."""
        with self._connection() as db:
            db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()

    def insert(self, document: Document) -> None:
        """See `DocumentStore`."""
        with self._connection() as db:
            db.execute(_insert(type(document)), _row(document))

    def get(self, kind: type[D], doc_id: str) -> D | None:
        """See `DocumentStore`."""
        with self._connection() as db:
            row = db.execute(f"SELECT body FROM {kind.collection} WHERE id = ?", (doc_id,)).fetchone()  # noqa: S608
        return None if row is None else kind.model_validate_json(row[0])

    def replace(self, document: D) -> D:
        """See `DocumentStore`."""
        new = document.model_copy(update={"version": document.version + 1, "updated_at": utc_now()})
        with self._connection() as db:
            written = db.execute(_update(type(new)), {**_row(new), "seen": document.version}).rowcount
        if not written:
            raise VersionConflict(f"{new.collection}/{new.id} is not at version {document.version}")
        return new

    def delete(self, kind: type[Document], doc_id: str) -> bool:
        """See `DocumentStore`."""
        with self._connection() as db:
            return db.execute(f"DELETE FROM {kind.collection} WHERE id = ?", (doc_id,)).rowcount > 0  # noqa: S608

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
        condition, values = _condition(kind, where, text)
        with self._connection() as db:
            # the page is found in an index, and only its own bodies are read
            rows = db.execute(
                f"SELECT found.body FROM (SELECT id FROM {kind.collection} WHERE {condition} "  # noqa: S608
                f"ORDER BY {_order(kind, sort)} LIMIT ? OFFSET ?) AS page "
                f"CROSS JOIN {kind.collection} AS found ON found.id = page.id "
                f"ORDER BY {_order(kind, sort, 'found.')}",
                (*values, limit, offset),
            ).fetchall()
        return [kind.model_validate_json(row[0]) for row in rows]

    def count(self, kind: type[Document], where: Filter | None = None, *, text: str = "") -> int:
        """See `DocumentStore`."""
        condition, values = _condition(kind, where, text)
        with self._connection() as db:
            row = db.execute(
                f"SELECT count(*) FROM {kind.collection} WHERE {condition}",  # noqa: S608
                values,
            ).fetchone()
        return int(row[0])

    def count_by(
        self, kind: type[Document], field: str, values: Sequence[str], where: Filter | None = None
    ) -> dict[str, int]:
        """See `DocumentStore`."""
        condition, params = _condition(kind, {**(where or {}), field: list(values)}, "")
        column = _column(kind, field)
        with self._connection() as db:
            rows = db.execute(
                f"SELECT {column}, count(*) FROM {kind.collection} WHERE {condition} GROUP BY {column}",  # noqa: S608
                params,
            ).fetchall()
        return dict.fromkeys(values, 0) | {str(name): int(number) for name, number in rows}

    def values(self, kind: type[Document], field: str) -> Iterator[str]:
        """See `DocumentStore`."""
        check_fields(kind, [field])
        query = (
            f"SELECT DISTINCT {field} FROM {kind.collection} WHERE {field} > ? ORDER BY {field} LIMIT {PAGE}"  # noqa: S608
        )
        last = ""
        while True:
            with self._connection() as db:
                page = [str(row[0]) for row in db.execute(query, (last,))]
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1]

    def close(self) -> None:
        """See `DocumentStore`."""
        idle = self._idle.take()
        while idle is not None and not idle.empty():
            idle.get_nowait().close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one call; SQLite's errors leave it as the store's."""
        idle = self._idle.get()
        try:
            try:
                db = idle.get_nowait()
            except queue.Empty:
                db = self._connect()
            try:
                yield db
            finally:
                idle.put(db)
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from error
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_FULL":
                raise StorageFull(str(error)) from error
            raise StoreUnavailable(f"{self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False
        )
        # FULL: a commit that was answered survives a power cut, so blobs are never deleted before their mark
        db.execute("PRAGMA synchronous = FULL")
        return db


def _schema_statements(db: sqlite3.Connection, kind: type[Document]) -> Iterator[str]:
    """What is missing in a collection's table: the table, columns of looked-up fields, indexes.

    The columns are plain ones that each write fills: out of an index on a computed column SQLite counts
    and sorts only with the bodies, which hold passports and are large.
    """
    name = kind.collection
    columns = ", ".join(looked_up(kind))
    yield (
        f"CREATE TABLE IF NOT EXISTS {name} (id TEXT PRIMARY KEY NOT NULL, version INTEGER NOT NULL, "
        f"{columns}, {SEARCH} TEXT, body TEXT NOT NULL)"
    )
    present = {row[1] for row in db.execute(f"PRAGMA table_info({name})")}
    for field in looked_up(kind):
        if present and field not in present:
            yield f"ALTER TABLE {name} ADD COLUMN {field}"
            yield f"UPDATE {name} SET {field} = json_extract(body, '$.{field}')"  # noqa: S608
    for index in SCHEMA[kind].indexes:
        yield _index_statement(name, index)


def _index_statement(table: str, index: Index) -> str:
    unique = "UNIQUE " if index.unique else ""
    only = f" WHERE {index.only} = 1" if index.only else ""
    columns = ", ".join(index.fields)
    return f"CREATE {unique}INDEX IF NOT EXISTS {table}_{index.name} ON {table} ({columns}){only}"


@cache
def _insert(kind: type[Document]) -> str:
    fields = looked_up(kind)
    values = ", ".join(f"json_extract(:body, '$.{field}')" for field in fields)
    return (
        f"INSERT INTO {kind.collection} (id, version, {', '.join(fields)}, {SEARCH}, body) "  # noqa: S608
        f"VALUES (:id, :version, {values}, :{SEARCH}, :body)"
    )


@cache
def _update(kind: type[Document]) -> str:
    values = ", ".join(f"{field} = json_extract(:body, '$.{field}')" for field in looked_up(kind))
    return (
        f"UPDATE {kind.collection} SET version = :version, {values}, {SEARCH} = :{SEARCH}, body = :body "  # noqa: S608
        "WHERE id = :id AND version = :seen"
    )


def _row(document: Document) -> dict[str, Any]:
    return {
        "id": document.id,
        "version": document.version,
        "body": document.model_dump_json(),
        SEARCH: search_words(document),
    }


def _column(kind: type[Document], field: str, table: str = "") -> str:
    """A field in a query: its column, or else read out of the body."""
    if field in ("id", "version", *looked_up(kind)):
        return table + field
    return f"json_extract({table}body, '$.{field}')"


def _condition(kind: type[Document], where: Filter | None, text: str) -> tuple[str, list[Any]]:
    """A WHERE clause and its parameters."""
    where = where or {}
    check_fields(kind, where)
    terms = ["1"]
    params: list[Any] = []
    for field, value in where.items():
        column = _column(kind, field)
        if value is None:
            terms.append(f"{column} IS NULL")
        elif isinstance(value, bool):
            terms.append(f"{column} = {int(value)}")  # spelt out: only so do partial indexes serve
        elif isinstance(value, Sequence) and not isinstance(value, str):
            terms.append(f"{column} IN ({', '.join('?' * len(value))})")
            params.extend(stored_value(one) for one in value)
        else:
            terms.append(f"{column} = ?")
            params.append(stored_value(value))
    for word in fold(text).split():
        terms.append(f"instr({SEARCH}, ?) > 0")
        params.append(word)
    return " AND ".join(terms), params


def _order(kind: type[Document], sort: Sort, table: str = "") -> str:
    """An ORDER BY clause; the id goes in the direction of the last key, so that one index serves it."""
    check_fields(kind, (field for field, _ in sort))
    keys = [*sort, ("id", sort[-1][1] if sort else "asc")]
    return ", ".join(f"{_column(kind, field, table)} {direction.upper()}" for field, direction in keys)
