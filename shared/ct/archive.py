"""Finds the files of an upload: zip, tar, folder, loose files, and a zip or gzip inside them.

By content, never by name. The name of an entry is for display and is never used as a path.
Limits count the bytes that really come out.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import isal_zlib

from shared.ct.blob import Blob, BlobIO, FileBlob, HandleBlob, PartBlob, SpooledBlob
from shared.ct.inflate import (
    BZIP2,
    DEFLATE64,
    DEFLATED,
    LZMA,
    METHOD_NAMES,
    STORED,
    DamagedError,
    unpack_entry,
    unpack_stream,
)
from shared.ct.sniff import NAMES, SNIFF_BYTES, Kind, sniff
from shared.ct.zipdir import ZipEntry, decode_name, read_directory
from shared.errors import Notice, Refusal

Source = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an upload may hold.

    Attributes
    ----------
    max_entries : int
        Files, nested archives included.
    max_unpacked_bytes : int
        Sum of what is unpacked.
    max_ratio : float
        Unpacked to packed, counted above ``ratio_free_bytes``: real images reach about 10.
    ratio_free_bytes : int
        An entry below this size may have any ratio (an image of nothing but air).
    max_header_bytes : int
        How far into a file its pixels may begin.
    max_depth : int
        Archives inside the archive.
    """

    max_entries: int = 20_000
    max_unpacked_bytes: int = 8_000_000_000
    max_ratio: float = 120.0
    ratio_free_bytes: int = 32_000_000
    max_header_bytes: int = 64 << 20
    max_depth: int = 1


class Budget:
    """Counts what was unpacked against the limits."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.entries = 0
        self.unpacked = 0

    def count_entry(self) -> None:
        """One more file."""
        self.entries += 1
        if self.entries > self.limits.max_entries:
            raise Refusal("archive_limits", what=f"more than {self.limits.max_entries} files")

    def check_size(self, size: int, packed: int) -> None:
        """What an entry says about itself, before anything is unpacked."""
        limits = self.limits
        if size > limits.max_unpacked_bytes:
            raise Refusal("archive_limits", what=f"{size / 1e6:.0f} MB in one file")
        if size > limits.ratio_free_bytes and size > limits.max_ratio * max(1, packed):
            raise Refusal("archive_limits", what=f"compression ratio {size / max(1, packed):.0f}")

    def metered(self, chunks: Iterable[bytes], packed: int) -> Iterator[bytes]:
        """Pass ``chunks`` on while they stay within the limits."""
        size = 0
        for chunk in chunks:
            size += len(chunk)
            self.unpacked += len(chunk)
            self.check_size(size, packed)
            if self.unpacked > self.limits.max_unpacked_bytes:
                raise Refusal(
                    "archive_limits", what=f"more than {self.limits.max_unpacked_bytes / 1e6:.0f} MB unpacked"
                )
            yield chunk


class Entry(Protocol):
    """A file of the upload."""

    @property
    def name(self) -> str:
        """For display: base name without control characters."""

    @property
    def size(self) -> int:
        """Bytes, as the archive says."""

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop``; fewer only where the file ends. Raises `DamagedError`."""


@dataclass(frozen=True, slots=True)
class PlainEntry:
    """A file whose bytes can be read anywhere: loose, or in a tar."""

    name: str
    blob: Blob

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blob.size

    def read(self, start: int, stop: int) -> bytes:
        """See `Entry.read`."""
        try:
            return self.blob.read_at(start, stop - start)
        except OSError as error:
            raise DamagedError(str(error)) from error


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A file of a zip; reading is bounded by what is asked for."""

    name: str
    archive: Blob
    record: ZipEntry

    @property
    def size(self) -> int:
        """Bytes, as the archive says; `read` finds out whether that is true."""
        return self.record.size

    def read(self, start: int, stop: int) -> bytes:
        """See `Entry.read`. The CRC is checked when the file is read to its end."""
        record = self.record
        data = unpack_entry(record.method, self.packed(), min(stop, record.size + 1))
        if len(data) > record.size:
            raise Refusal("archive_limits", what="an entry is larger than the zip's directory says")
        if len(data) == record.size and record.crc and isal_zlib.crc32(data) != record.crc:
            raise DamagedError("checksum error")
        return data[start:] if start else data

    def packed(self) -> Blob:
        """The packed bytes. Raises `DamagedError` where the directory points elsewhere."""
        offset = self.record.data_offset(self.archive)
        if offset is None:
            raise DamagedError("the entry is not where the zip's directory says")
        return PartBlob(self.archive, offset, min(self.record.packed_size, self.archive.size - offset))


@dataclass(frozen=True, slots=True)
class GzipEntry:
    """A gzip-compressed file (``.nii.gz``) that stands by itself."""

    name: str
    packed: Entry
    budget: Budget

    @property
    def size(self) -> int:
        """Bytes when packed: the real size is known only at the end."""
        return self.packed.size

    def read(self, start: int, stop: int) -> bytes:
        """See `Entry.read`."""
        source = _EntryBlob(self.packed)
        piece = min(1 << 20, max(SNIFF_BYTES, stop))
        out = bytearray()
        chunks = unpack_stream("gzip", source, piece=piece)
        for chunk in self.budget.metered(chunks, source.size):
            out += chunk
            if len(out) >= stop:
                break
        return bytes(out[start:stop])


class _EntryBlob:
    """An entry as a blob; a packed one is unpacked once."""

    def __init__(self, entry: Entry) -> None:
        self._blob: Blob
        if isinstance(entry, PlainEntry):
            self._blob = entry.blob
        elif isinstance(entry, PackedEntry) and entry.record.method == STORED:
            self._blob = entry.packed()
        else:
            self._blob = SpooledBlob([entry.read(0, entry.size)])
        self.size = self._blob.size

    def read_at(self, start: int, length: int) -> bytes:
        return self._blob.read_at(start, length)


@dataclass(slots=True)
class Upload:
    """The files that were found, with their first bytes and kind, and what was odd."""

    entries: list[tuple[Entry, Kind, bytes]] = field(default_factory=list)
    warnings: list[Notice] = field(default_factory=list)
    #: files that look damaged or cannot be read, by the word for it
    damaged: list[str] = field(default_factory=list)


def open_upload(source: Source | Sequence[Source], limits: Limits | None = None) -> Upload:
    """Find every file in ``source``: an archive, a folder, one file or several.

    Raises
    ------
    Refusal
        ``not_an_archive``, ``unsupported_format``, ``empty_archive``, ``encrypted_archive``,
        ``unsafe_archive_path``, ``archive_limits``, ``unreadable``.
    """
    limits = limits or Limits()
    finder = _Finder(limits)
    if isinstance(source, str | os.PathLike):
        finder.open_path(Path(source))
    else:
        for path in sorted(os.fspath(p) for p in source):
            finder.add(PlainEntry(display_name(path), FileBlob.of(path)), depth=0)
    return finder.upload


def check_upload(file: BinaryIO, limits: Limits | None = None) -> None:
    """Look at the first bytes of an open file, and at its directory when it is a zip; unpack nothing.

    Raises
    ------
    Refusal
        What `open_upload` raises and can be told this early.
    """
    blob = HandleBlob(file, file.seek(0, os.SEEK_END))
    try:
        if _usable(PlainEntry("upload", blob)) == "zip":
            records = _Finder(limits or Limits()).zip_records(blob)
            if all(ignored(record.name) for record in records):
                raise Refusal("empty_archive")
    except DamagedError as error:
        raise Refusal("unreadable", what=str(error)) from error


def _usable(entry: Entry) -> Kind:
    """The kind of an upload's one file; raises `Refusal` when it can hold no study."""
    kind = sniff(entry.read(0, SNIFF_BYTES))
    if kind in ("empty", "html", "other"):
        raise Refusal("not_an_archive")
    if kind == "git-lfs":
        raise Refusal("unreadable", what=NAMES[kind])
    if kind in NAMES:
        raise Refusal("unsupported_format", what=NAMES[kind])
    return kind


class _Finder:
    """Walks containers and collects their files."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self.upload = Upload()

    def open_path(self, path: Path) -> None:
        """A folder, or one file that is an archive or an image."""
        if path.is_dir():
            self._folder(path)
            if not self.budget.entries:
                raise Refusal("empty_archive")
            return
        if not path.exists():
            raise Refusal("unreadable", what=f"there is no {display_name(path.name)}")
        entry = PlainEntry(display_name(path.name), FileBlob.of(path))
        _usable(entry)
        try:
            self.add(entry, depth=-1)
        except DamagedError as error:
            raise Refusal("unreadable", what=str(error)) from error
        if not self.budget.entries:
            raise Refusal("empty_archive")

    def add(self, entry: Entry, *, depth: int) -> None:
        """One file: open it when it is an archive, keep it otherwise."""
        self.budget.count_entry()
        try:
            head = entry.read(0, SNIFF_BYTES)
        except DamagedError as error:
            if depth < 0:
                raise
            self.upload.damaged.append(str(error))
            return
        kind = sniff(head)
        if kind in ("zip", "tar", "gzip", "bzip2", "xz"):
            self._container(entry, kind, depth)
        elif kind in NAMES:
            self.upload.damaged.append(NAMES[kind])
        else:
            self.upload.entries.append((entry, kind, head))

    def _container(self, entry: Entry, kind: Kind, depth: int) -> None:
        if depth >= 0:
            # a container inside is not a file itself
            self.budget.entries -= 1
        else:
            self.budget.entries = 0
        if kind == "gzip" and self._plain_gzip(entry):
            return
        if depth >= self.limits.max_depth:
            if kind in ("zip", "tar"):
                raise Refusal("archive_limits", what="archives inside archives inside archives")
            return
        try:
            if kind == "zip":
                self._zip(_EntryBlob(entry), depth + 1)
            elif kind == "tar":
                self._tar(_EntryBlob(entry), depth + 1)
            else:
                self._stream(kind, _EntryBlob(entry), depth + 1)
        except DamagedError:
            if depth < 0:
                raise
            self.upload.damaged.append(f"{kind} archive")

    def _plain_gzip(self, entry: Entry) -> bool:
        """Keep a gzip of one image (NIfTI, DICOM) as an entry; False for a tar.gz."""
        inner = GzipEntry(entry.name, entry, self.budget)
        try:
            head = inner.read(0, SNIFF_BYTES)
        except DamagedError as error:
            self.budget.count_entry()
            self.upload.damaged.append(str(error))
            return True
        kind = sniff(head)
        if kind in ("tar", "zip"):
            return False
        self.budget.count_entry()
        self.upload.entries.append((inner, kind, head))
        return True

    def _stream(self, kind: Kind, blob: Blob, depth: int) -> None:
        """A compressed tar: unpacked once, within the limits."""
        inner = SpooledBlob(self.budget.metered(unpack_stream(kind, blob), blob.size))
        head = inner.read_at(0, SNIFF_BYTES)
        if sniff(head) == "tar":
            self._tar(inner, depth)
        elif sniff(head) == "zip":
            self._zip(inner, depth)
        else:
            self.add(PlainEntry("unpacked", inner), depth=self.limits.max_depth)

    def _folder(self, root: Path) -> None:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if not ignored(path.relative_to(root).as_posix()) and path.is_file():
                    self.add(PlainEntry(display_name(name), FileBlob.of(path)), depth=0)

    def _zip(self, blob: Blob, depth: int) -> None:
        for record in self.zip_records(blob):
            if not ignored(record.name):
                self.add(PackedEntry(display_name(record.name), blob, record), depth=depth)

    def zip_records(self, blob: Blob) -> list[ZipEntry]:
        """The files of a zip's directory, checked against the limits before anything is unpacked."""
        records = []
        for record in read_directory(blob, max_entries=self.limits.max_entries):
            if self._unsafe(record.name, record.link):
                continue
            self.budget.check_size(record.size, record.packed_size)
            records.append(record)
        if any(r.encrypted for r in records):
            raise Refusal("encrypted_archive")
        if sum(r.packed_size for r in records) > blob.size:
            raise Refusal("archive_limits", what="entries of the zip share their data")
        total = sum(r.size for r in records)
        self.budget.check_size(total, blob.size)
        for record in records:
            if not ignored(record.name) and record.method not in (STORED, DEFLATED, DEFLATE64, BZIP2, LZMA):
                name = METHOD_NAMES.get(record.method, str(record.method))
                raise Refusal("unsupported_format", what=f"zip compression {name}")
        return records

    def _tar(self, blob: Blob, depth: int) -> None:
        try:
            # the names are decoded leniently and only shown
            with tarfile.open(fileobj=BlobIO(blob), mode="r:", errors="surrogateescape") as archive:
                for member in archive:
                    if self.budget.entries > self.limits.max_entries:
                        raise Refusal("archive_limits", what=f"more than {self.limits.max_entries} files")
                    name = member.name
                    if self._unsafe(name, member.islnk() or member.issym()):
                        continue
                    if not member.isfile() or member.sparse is not None or ignored(name):
                        continue
                    part = PartBlob(blob, member.offset_data, member.size)
                    raw = name.encode("utf-8", "surrogateescape")
                    self.add(PlainEntry(display_name(decode_name(raw)), part), depth=depth)
        except (tarfile.TarError, ValueError, OverflowError) as error:
            if not self.upload.entries:
                raise DamagedError(f"tar: {error}") from error
            self.upload.damaged.append("tar")

    def _unsafe(self, name: str, link: bool) -> bool:
        """Names that lead outside are a reason to refuse; absolute names and links are set aside."""
        parts = name.replace("\\", "/").split("/")
        if ".." in parts:
            raise Refusal("unsafe_archive_path")
        absolute = parts[0] == "" or (len(parts[0]) == 2 and parts[0][1] == ":")
        if link or (absolute and not any(w.code == "unsafe_names" for w in self.upload.warnings)):
            self.upload.warnings.append(Notice(code="unsafe_names"))
        return link


def display_name(name: str) -> str:
    """The base name without control characters, at most 100 characters."""
    base = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return "".join(c for c in base if c.isprintable())[:100]


def ignored(name: str) -> bool:
    """Files that operating systems leave in folders and archives."""
    parts = name.replace("\\", "/").split("/")
    base = parts[-1]
    return "__MACOSX" in parts or base.startswith("._") or base in (".DS_Store", "Thumbs.db", "desktop.ini")
