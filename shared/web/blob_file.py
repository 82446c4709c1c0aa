"""A stored blob as a seekable read-only file: an archive's directory is read without the archive."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from shared.stores.protocols import BlobStore

_BUFFER = 1 << 20


class BlobFile(io.RawIOBase):
    """Raw file over ranges of a blob. Reading on is one open range; a seek elsewhere opens another."""

    def __init__(self, blobs: BlobStore, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._size = blobs.info(key).size
        self._at = 0
        self._pieces: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")

    @classmethod
    def opened(cls, blobs: BlobStore, key: str) -> BinaryIO:
        """A buffered file; raises `shared.stores.protocols.BlobMissing`."""
        return cast(BinaryIO, io.BufferedReader(cls(blobs, key), _BUFFER))

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read until the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        target = max(0, base + offset)
        if target != self._at:
            self._at = target
            self._pieces, self._rest = iter(()), memoryview(b"")
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill as much of ``buffer`` as one piece gives; 0 at the end."""
        if self._at >= self._size:
            return 0
        if not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = self._blobs.open(self._key, start=self._at)
                piece = next(self._pieces, b"")
            self._rest = memoryview(piece)
        taken = min(len(buffer), len(self._rest))
        buffer[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        self._at += taken
        return taken
