"""Receiving files: multipart parts stream from the socket into one unnamed temporary file on disk.

Memory stays flat whatever arrives, the size limit holds while bytes come in, and the temporary file
has no name, so that nothing is left of it on any path, a killed process included.
"""

from __future__ import annotations

import hashlib
import io
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self, cast

from flask import request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from shared.errors import Problem, Refusal

_CHUNK = 256 * 1024
#: longest header block or text field of a form, bytes
_TEXT_LIMIT = 1_000_000
#: how long an unwanted body is read and thrown away, so that the client sees the answer, seconds
_DRAIN_S = 30.0


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty at the end."""


@dataclass(frozen=True, slots=True)
class Part:
    """One received file: where it lies in the spool, and its SHA-256."""

    start: int
    size: int
    sha256: str
    file_name: str
    content_type: str


@dataclass(slots=True)
class Received:
    """A form with files on disk. Use as a context manager: it owns its temporary file."""

    spool: BinaryIO
    fields: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.spool.close()


def drain(stream: Readable, *, limit: int) -> None:
    """Read and drop what a refused client still sends, up to ``limit`` bytes and half a minute.

    Closing a socket with unread bytes resets the connection, and the client never sees the words.
    """
    deadline = time.monotonic() + _DRAIN_S
    left = limit
    while left > 0 and time.monotonic() < deadline:
        piece = stream.read(min(_CHUNK, left))
        if not piece:
            return
        left -= len(piece)


def receive_form(
    folder: Path,
    *,
    max_bytes: int,
    max_files: int,
    check_fields: Callable[[dict[str, str]], None],
) -> Received:
    """Stream the request's multipart form.

    Parameters
    ----------
    folder
        Where the temporary file lies.
    max_bytes, max_files
        Limits over all files together; above them `Problem` ``too_large`` or ``archive_limits``.
    check_fields
        Called with the text fields that came before the first file, and again with all of them at the
        end: raises to refuse before the body has been read.

    Raises
    ------
    Problem
        ``unsupported_media_type``, ``bad_request``, ``too_large``, or what ``check_fields`` raises.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise Problem("unsupported_media_type", expected="multipart/form-data")
    # Field texts and part headers come on top of the files: the parts are counted below, this is a lid.
    request.max_content_length = max_bytes + max_files * 1024 + 4 * _TEXT_LIMIT
    too_large = Problem("too_large", limit_mb=f"{max_bytes / 1e6:g}")
    declared = request.content_length
    try:
        if declared is not None and declared > request.max_content_length:
            raise too_large
        received = Received(_spool(folder))
        try:
            _read_parts(boundary.encode(), received, max_bytes, max_files, check_fields, too_large)
            check_fields(received.fields)
        except BaseException:
            received.spool.close()
            raise
        return received
    except RequestEntityTooLarge:
        _drain_request(max_bytes)
        raise too_large from None
    except (Problem, Refusal):
        _drain_request(max_bytes)
        raise


def _spool(folder: Path) -> BinaryIO:
    """A temporary file without a name."""
    folder.mkdir(parents=True, exist_ok=True)
    return cast(BinaryIO, tempfile.TemporaryFile("w+b", dir=folder))


def _drain_request(max_bytes: int) -> None:
    request.max_content_length = None
    drain(request.environ["wsgi.input"], limit=max(64_000_000, max_bytes))


def _read_parts(
    boundary: bytes,
    received: Received,
    max_bytes: int,
    max_files: int,
    check_fields: Callable[[dict[str, str]], None],
    too_large: Problem,
) -> None:
    decoder = MultipartDecoder(boundary, max_form_memory_size=_TEXT_LIMIT, max_parts=max_files + 100)
    writer = _PartWriter(received, max_bytes, max_files, too_large)
    for piece in _pieces(request.stream):
        decoder.receive_data(piece)
        while True:
            try:
                event = decoder.next_event()
            except (ValueError, UnicodeDecodeError):
                raise Problem("bad_request", what="multipart/form-data") from None
            if isinstance(event, NeedData):
                break
            if isinstance(event, Epilogue):
                return
            if isinstance(event, File):
                if not received.parts:
                    check_fields(received.fields)
                writer.begin_file(event.filename, event.headers)
            elif isinstance(event, Field):
                writer.begin_field(event.name)
            elif isinstance(event, Data):
                writer.write(event.data, last=not event.more_data)


def _pieces(stream: Readable) -> Iterator[bytes | None]:
    while piece := stream.read(_CHUNK):
        yield piece
    yield None


class _PartWriter:
    """Collects the events of one part after another."""

    def __init__(self, received: Received, max_bytes: int, max_files: int, too_large: Problem) -> None:
        self._received = received
        self._max_bytes = max_bytes
        self._max_files = max_files
        self._too_large = too_large
        self._total = 0
        self._field = ""
        self._text = bytearray()
        self._file: tuple[str, str] | None = None
        self._digest = hashlib.sha256()
        self._start = 0

    def begin_file(self, file_name: str, headers: Headers) -> None:
        if len(self._received.parts) >= self._max_files:
            raise Refusal("archive_limits", what=f"{self._max_files} files")
        self._file = (file_name, headers.get("content-type", "application/octet-stream"))
        self._digest = hashlib.sha256()
        self._start = self._total

    def begin_field(self, name: str) -> None:
        self._file = None
        self._field = name or ""
        self._text.clear()

    def write(self, data: bytes, *, last: bool) -> None:
        if self._file is None:
            self._text += data
            if len(self._text) > _TEXT_LIMIT:
                raise self._too_large
            if last:
                self._received.fields[self._field] = self._text.decode("utf-8", "replace")
            return
        self._total += len(data)
        if self._total > self._max_bytes:
            raise self._too_large
        self._digest.update(data)
        self._received.spool.write(data)
        if last:
            name, content_type = self._file
            size = self._total - self._start
            # A browser sends an empty, nameless part for a file field that was left alone.
            if name or size:
                part = Part(self._start, size, self._digest.hexdigest(), name, content_type)
                self._received.parts.append(part)


def receive_body(folder: Path, *, max_bytes: int) -> Received:
    """Stream a raw request body (one part of a two-step upload); raises `Problem` ``too_large``."""
    request.max_content_length = sys.maxsize  # None would mean the limit of JSON bodies
    too_large = Problem("too_large", limit_mb=f"{max_bytes / 1e6:g}")
    received = Received(_spool(folder))
    try:
        size, digest = 0, hashlib.sha256()
        while piece := request.stream.read(_CHUNK):
            size += len(piece)
            if size > max_bytes:
                raise too_large
            digest.update(piece)
            received.spool.write(piece)
    except BaseException as error:
        received.spool.close()
        if isinstance(error, Problem):
            _drain_request(max_bytes)
        raise
    received.parts.append(Part(0, size, digest.hexdigest(), "", request.mimetype))
    received.spool.seek(0)
    return received


class _Slice(io.RawIOBase):
    """A read-only window into the spool."""

    def __init__(self, spool: BinaryIO, part: Part) -> None:
        self._spool = spool
        self._part = part
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = self._part.size - self._at
        size = left if size is None or size < 0 else min(size, left)
        self._spool.seek(self._part.start + self._at)
        data = self._spool.read(size)
        self._at += len(data)
        return data


def pack_loose(received: Received, folder: Path) -> tuple[BinaryIO, str]:
    """Several loose files → one stored zip in a new temporary file, with its SHA-256.

    Entry names are made up, in the order of the contents' digests: what a client calls its files is no
    path of ours, and the same files in another order give the same bytes.

    Raises
    ------
    Refusal
        ``archive_limits`` when one of several files is itself an archive.
    """
    packed = _spool(folder)
    try:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for number, part in enumerate(sorted(received.parts, key=lambda p: (p.sha256, p.size)), 1):
                window = _Slice(received.spool, part)
                head = window.read(352)
                window = _Slice(received.spool, part)
                entry = zipfile.ZipInfo(f"{number:06d}{_suffix(head)}", (1980, 1, 1, 0, 0, 0))
                entry.file_size = part.size
                with archive.open(entry, "w") as target:
                    while piece := window.read(_CHUNK):
                        target.write(piece)
        digest = digest_of(packed)
        packed.seek(0)
    except BaseException:
        packed.close()
        raise
    return packed, digest


def digest_of(file: BinaryIO) -> str:
    """Hex SHA-256 of a whole file, read in pieces."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


def _suffix(head: bytes) -> str:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"Rar!", b"7z\xbc\xaf")):
        raise Refusal("archive_limits", what="an archive among several files")
    if head.startswith(b"\x1f\x8b"):
        return ".nii.gz"
    nifti = len(head) >= 348 and struct.unpack("<i", head[:4])[0] in (348, 540, 0x5C010000, 0x1C020000)
    return ".nii" if nifti and head[128:132] != b"DICM" else ".dcm"
