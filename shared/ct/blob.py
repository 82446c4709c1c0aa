"""Byte ranges of a file, of memory, or of a part of either: what archives and images are read from."""

from __future__ import annotations

import io
import os
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

#: unpacked tars and nested archives above this size go to an anonymous temporary file
SPOOL_BYTES = 64 << 20


class Blob(Protocol):
    """Something with a size whose bytes can be read in any order."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read_at(self, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer only at the end."""


def _pread(handle: int, start: int, length: int) -> bytes:
    data = os.pread(handle, length, start)
    while len(data) < length:
        # one call answers at most about 2 GB
        more = os.pread(handle, length - len(data), start + len(data))
        if not more:
            break
        data += more
    return data


@dataclass(frozen=True, slots=True)
class FileBlob:
    """A file on disk. Opened for each read: thousands of loose files need no open handles."""

    path: str
    size: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileBlob:
        """The file at ``path``."""
        return cls(os.fspath(path), Path(path).stat().st_size)

    def read_at(self, start: int, length: int) -> bytes:
        """See `Blob.read_at`."""
        handle = os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return _pread(handle, start, length)
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class HandleBlob:
    """An open file, which may be no file of the system; whoever opened it closes it."""

    file: BinaryIO
    size: int

    def read_at(self, start: int, length: int) -> bytes:
        """See `Blob.read_at`."""
        self.file.seek(start)
        return self.file.read(max(0, length))


@dataclass(frozen=True, slots=True)
class BytesBlob:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read_at(self, start: int, length: int) -> bytes:
        """See `Blob.read_at`."""
        return self.data[start : start + length]


@dataclass(frozen=True, slots=True)
class PartBlob:
    """A part of another blob, such as a stored entry of an archive."""

    whole: Blob
    offset: int
    size: int

    def read_at(self, start: int, length: int) -> bytes:
        """See `Blob.read_at`."""
        return self.whole.read_at(self.offset + start, max(0, min(length, self.size - start)))


class SpooledBlob:
    """What was unpacked from a stream: in memory while small, else in an anonymous temporary file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        try:
            for chunk in chunks:
                self._file.write(chunk)
        except BaseException:
            self._file.close()
            raise
        self.size = self._file.tell()

    def read_at(self, start: int, length: int) -> bytes:
        """See `Blob.read_at`."""
        self._file.seek(start)
        return self._file.read(length)


class BlobIO(io.RawIOBase):
    """A blob as a seekable binary file, for libraries that want one."""

    def __init__(self, blob: Blob) -> None:
        self._blob = blob
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move as `io.IOBase.seek` does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blob.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill ``buffer``; the number of bytes put there."""
        data = self._blob.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
