"""The central directory of a zip, read with every count and offset checked (PKWARE APPNOTE.TXT).

`zipfile` of the standard library builds one object per entry before anyone can say "too many",
and trusts what the directory says; an upload is not to be trusted.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shared.ct.blob import Blob
from shared.errors import Refusal

_EOCD = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_EOCD64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One line of the directory. ``name`` is what the archive says, decoded: for display only."""

    name: str
    method: int
    packed_size: int
    size: int
    crc: int
    encrypted: bool
    link: bool
    #: of the local header in the blob
    offset: int

    def data_offset(self, blob: Blob) -> int | None:
        """Where the packed data begin; None when the local header is not there."""
        head = blob.read_at(self.offset, _LOCAL.size)
        if len(head) < _LOCAL.size or head[:4] != b"PK\x03\x04":
            return None
        *_, name_length, extra_length = _LOCAL.unpack(head)
        return self.offset + _LOCAL.size + int(name_length) + int(extra_length)


def read_directory(blob: Blob, *, max_entries: int) -> Iterator[ZipEntry]:
    """The entries that are files, in the directory's order.

    Raises
    ------
    Refusal
        ``unreadable`` (no directory: half an upload), ``archive_limits``, ``unsupported_format``.
    """
    position, count, start = _find_directory(blob)
    if count > max_entries:
        raise Refusal("archive_limits", what=f"{count} files")
    directory = blob.read_at(start, position - start)
    offset, seen = 0, 0
    base = 0
    while offset + _CENTRAL.size <= len(directory):
        fields = _CENTRAL.unpack_from(directory, offset)
        if fields[0] != b"PK\x01\x02":
            break
        (_, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment) = fields[:13]
        disk, _, attributes, local = fields[13:17]
        offset += _CENTRAL.size
        raw_name = directory[offset : offset + n_name]
        extra = directory[offset + n_name : offset + n_name + n_extra]
        offset += n_name + n_extra + n_comment
        seen += 1
        if seen > max_entries:
            raise Refusal("archive_limits", what=f"more than {max_entries} files")
        if disk not in (0, _FULL16):
            raise Refusal("unsupported_format", what="zip of several parts")
        size, packed, local, better_name = _extra(extra, size, packed, local)
        name = better_name or decode_name(raw_name, bool(flags & 0x800))
        if seen == 1:
            # bytes before the archive (a self-extractor) move every offset
            base = _shift(blob, local, start)
        if name.endswith(("/", "\\")) and not size:
            continue
        yield ZipEntry(
            name=name,
            method=method,
            packed_size=packed,
            size=size,
            crc=crc,
            encrypted=bool(flags & 0x2041) or method == 99,
            link=(attributes >> 16) & 0o170000 == 0o120000,
            offset=base + local,
        )


def _find_directory(blob: Blob) -> tuple[int, int, int]:
    """End of the central directory, the number of its entries, its start."""
    tail_start = max(0, blob.size - _EOCD.size - 0xFFFF - _LOCATOR.size - _EOCD64.size)
    tail = blob.read_at(tail_start, blob.size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _EOCD.size > len(tail):
        raise Refusal("unreadable", what="the end of the zip is missing: half an upload")
    _, _, _, _, count, length, _, _ = _EOCD.unpack_from(tail, at)
    end = tail_start + at
    locator = at - _LOCATOR.size
    if locator >= 0 and tail[locator : locator + 4] == b"PK\x06\x07":
        # the 64-bit record lies right before its locator, unless it carries extra data
        _, _, where, _ = _LOCATOR.unpack_from(tail, locator)
        for place in (end - _LOCATOR.size - _EOCD64.size, where):
            record = blob.read_at(place, _EOCD64.size)
            if len(record) == _EOCD64.size and record[:4] == b"PK\x06\x06":
                *_, count, length, _ = _EOCD64.unpack(record)
                end = place
                break
    if length > end:
        raise Refusal("unreadable", what="the zip's directory is damaged")
    return end, int(count), int(end - length)


def _shift(blob: Blob, local: int, limit: int) -> int:
    """What to add to the directory's offsets: 0, or the bytes before the archive."""
    if blob.read_at(local, 4) == b"PK\x03\x04":
        return 0
    head = blob.read_at(0, min(limit, 1 << 20))
    first = head.find(b"PK\x03\x04")
    return max(0, first - local) if first >= 0 else 0


def _extra(extra: bytes, size: int, packed: int, local: int) -> tuple[int, int, int, str]:
    """Sizes and offset from the zip64 field, and the name from the Unicode path field."""
    name = ""
    offset = 0
    while offset + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, offset)
        body = extra[offset + 4 : offset + 4 + length]
        offset += 4 + length
        if tag == 0x0001:
            wide = [int(v[0]) for v in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
            if size == _FULL32 and wide:
                size = wide.pop(0)
            if packed == _FULL32 and wide:
                packed = wide.pop(0)
            if local == _FULL32 and wide:
                local = wide.pop(0)
        elif tag == 0x7075 and len(body) > 5 and body[0] == 1:
            name = body[5:].decode("utf-8", "replace")
    return size, packed, local, name


def decode_name(raw: bytes, utf8: bool = False) -> str:
    """A file name for display: UTF-8, else the code page that reads as letters.

    Zip tools of Windows and Japan wrote names in CP866, CP1251 or Shift-JIS without saying so.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if utf8:
            return raw.decode("utf-8", "replace")
    candidates: list[tuple[float, str]] = []
    for rank, codec in enumerate(("cp866", "cp1251", "shift_jis")):
        try:
            text = raw.decode(codec)
        except UnicodeDecodeError:
            continue
        beyond = [c for c in text if ord(c) > 127]
        letters = sum(c.isalpha() for c in beyond) - sum(not c.isalpha() for c in beyond)
        # capitals inside words are the sign of the wrong Cyrillic page
        odd = sum(a.islower() and b.isupper() for a, b in itertools.pairwise(text))
        candidates.append((letters / max(1, len(beyond)) - odd * 0.5 - rank * 0.01, text))
    return max(candidates)[1] if candidates else raw.decode("cp437")
