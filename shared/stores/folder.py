"""Blobs as files in a folder: written beside, synced, then renamed into place."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from shared.stores.pieces import PIECE, Pieces
from shared.stores.protocols import BlobInfo, BlobMissing, StorageFull, StoreUnavailable

#: half-written files; on the same file system, so that the rename is atomic
TEMPORARY = ".tmp"
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BROKEN = {errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ESTALE}


def check_key(key: str) -> str:
    """The key itself; raises ``ValueError`` for one that could leave the folder or is no plain path."""
    parts = key.split("/")
    plain = all(part not in ("", ".", "..", TEMPORARY) and len(part.encode()) <= 255 for part in parts)
    if not plain or "\\" in key or not key.isprintable() or len(key.encode()) > 1000:
        raise ValueError(f"not a blob key: {key!r}")
    return key


class FolderBlobs:
    """A `BlobStore` in a folder; its keys are paths below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def ensure_ready(self) -> None:
        """See `BlobStore`."""
        (self._root / TEMPORARY).mkdir(mode=0o700, parents=True, exist_ok=True)

    def ping(self) -> None:
        """See `BlobStore`."""
        if not os.access(self._root / TEMPORARY, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnavailable(f"{self._root} cannot be written")

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        content_type: str = "application/octet-stream",  # noqa: ARG002
    ) -> BlobInfo:
        """See `BlobStore`. A folder does not keep ``content_type``: the document does."""

        def fill(target: BinaryIO) -> None:
            if isinstance(data, bytes):
                target.write(data)
            else:
                shutil.copyfileobj(data, target, PIECE)

        return self._write(key, fill)

    def get(self, key: str) -> bytes:
        """See `BlobStore`."""
        with self._reading(key) as file:
            return file.read()

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `BlobStore`."""
        with _errors(key):
            file = self._path(key).open("rb")
            file.seek(start)
        return Pieces(file.read, file.close, length)

    def info(self, key: str) -> BlobInfo:
        """See `BlobStore`."""
        with self._reading(key) as file:
            return _info(key, os.fstat(file.fileno()))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See `BlobStore`."""
        folder = prefix.rpartition("/")[0]
        return self._walk(f"{check_key(folder)}/" if folder else "", prefix)

    def children(self, prefix: str) -> Iterator[str]:
        """See `BlobStore`."""
        return (name.rstrip("/") for name in _entries(self._path(prefix.rstrip("/"))))

    def delete(self, key: str) -> None:
        """See `BlobStore`."""
        path = self._path(key)
        with _errors(key):
            path.unlink(missing_ok=True)
        self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        """See `BlobStore`. Folders that became empty go too."""
        keys = [blob.key for blob in self.list(prefix)]
        for key in keys:
            self.delete(key)
        if prefix.endswith("/"):
            for folder, _, _ in os.walk(self._path(prefix.rstrip("/")), topdown=False):
                self._prune(Path(folder))
        return len(keys)

    def copy(self, source: str, target: str) -> None:
        """See `BlobStore`."""
        self.compose([source], target)

    def compose(self, parts: Sequence[str], target: str) -> BlobInfo:
        """See `BlobStore`."""

        def fill(file: BinaryIO) -> None:
            for part in parts:
                with self._reading(part) as piece:
                    shutil.copyfileobj(piece, file, PIECE)

        return self._write(target, fill)

    def presign_put(self, key: str, *, seconds: int) -> str | None:  # noqa: ARG002
        """See `BlobStore`. A folder has no URLs."""
        return None

    def local_path(self, key: str) -> str | None:
        """See `BlobStore`. Raises `BlobMissing` where there is no such file."""
        path = self._path(key)
        if not path.is_file():
            raise BlobMissing(key)
        return str(path)

    def expire(self, prefix: str, *, days: int) -> None:
        """See `BlobStore`. A folder removes nothing by itself: the sweeper does."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    @contextmanager
    def _reading(self, key: str) -> Iterator[BinaryIO]:
        with _errors(key):
            file = self._path(key).open("rb")
        with file:
            yield file

    def _write(self, key: str, fill: Callable[[BinaryIO], None]) -> BlobInfo:
        """Fill a file beside, sync it, rename it into place; at any error nothing of it remains."""
        path = self._path(key)
        temporary = self._root / TEMPORARY / uuid4().hex
        with _errors(key, missing=StoreUnavailable):
            try:
                with temporary.open("xb") as file:
                    fill(file)
                    file.flush()
                    os.fsync(file.fileno())
                    status = os.fstat(file.fileno())
                _move(temporary, path)
                _sync_folders(path.parent, self._root)
            finally:
                temporary.unlink(missing_ok=True)
        return _info(key, status)

    def _walk(self, folder: str, prefix: str) -> Iterator[BlobInfo]:
        """Files below a folder in order of key, without entering folders that cannot match."""
        for name in _entries(self._root / folder):
            key = folder + name
            if name.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                try:
                    yield self.info(key)
                except BlobMissing:
                    continue  # deleted since the folder was read

    def _prune(self, folder: Path) -> None:
        """Remove a folder and those above it, as long as they are empty."""
        while folder != self._root:
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or gone already
            folder = folder.parent


@contextmanager
def _errors(key: str, missing: type[Exception] = BlobMissing) -> Iterator[None]:
    """The file system's errors as the store's; others, such as a broken upload's, pass."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(f"{key}: {error.strerror}") from error
        if error.errno in _MISSING:
            raise missing(key) from error
        if error.errno in _BROKEN:
            raise StoreUnavailable(f"{key}: {error.strerror}") from error
        raise


def _info(key: str, status: os.stat_result) -> BlobInfo:
    # a write always makes a new file, so its inode and time tell contents apart without reading them
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"
    return BlobInfo(key=key, size=status.st_size, etag=etag, modified=status.st_mtime)


def _entries(folder: Path) -> list[str]:
    """Names in a folder, those of folders ending in ``/``, in the order of the keys below them."""
    try:
        with os.scandir(folder) as found:
            names = [entry.name + "/" if entry.is_dir() else entry.name for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name.rstrip("/") != TEMPORARY)


def _move(temporary: Path, path: Path) -> None:
    """Rename into place; a delete may remove the folder in between, so it is tried again."""
    for _ in range(100):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(path)
        except FileNotFoundError:
            if temporary.exists():
                continue
            raise
        return
    raise FileNotFoundError(errno.ENOENT, "the folder is removed again and again", str(path.parent))


def _sync_folders(folder: Path, root: Path) -> None:
    """Make the new names survive a power cut, up to the root; an unchanged folder costs nothing."""
    while True:
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            return  # deleted since
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if folder == root:
            return
        folder = folder.parent
