"""Unpacking with a limit on the bytes that really come out, whatever the archive claims."""

from __future__ import annotations

import bz2
import lzma
import struct
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import inflate64
from isal import isal_zlib

from shared.ct.blob import Blob

#: zip compression methods (APPNOTE.TXT 4.4.5)
STORED, DEFLATED, DEFLATE64, BZIP2, LZMA = 0, 8, 9, 12, 14
METHOD_NAMES = {
    1: "shrink",
    6: "implode",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}
#: what isal raises; its type stub does not say that it is an exception
ISAL_ERROR: type[Exception] = getattr(isal_zlib, "error")  # noqa: B009
#: compressed bytes read at a time
CHUNK = 1 << 20
#: deflate64 cannot be told to stop, so it is fed little: at most about 1000 times as much comes out
CHUNK64 = 1 << 12


class DamagedError(Exception):
    """A compressed stream that does not decode."""


class Decompressor(Protocol):
    """The interface that zlib, bz2 and lzma objects share."""

    eof: bool

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most ``max_length`` bytes of output."""


class _Zlib:
    """isal's inflate under the interface of `bz2.BZ2Decompressor`."""

    def __init__(self, wbits: int) -> None:
        self._object = isal_zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        data = self._object.unconsumed_tail + data
        return bytes(self._object.decompress(data, max(0, max_length)))


class _Deflate64:
    """inflate64, which has no limit of its own: keep the surplus for the next call."""

    def __init__(self) -> None:
        self._inflater = inflate64.Inflater()
        self._surplus = b""

    @property
    def eof(self) -> bool:
        return bool(self._inflater.eof) and not self._surplus

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._surplus
        if data:
            out += self._inflater.inflate(data)
        if max_length < 0 or len(out) <= max_length:
            self._surplus = b""
            return out
        self._surplus = out[max_length:]
        return out[:max_length]


def _zip_lzma(head: bytes) -> lzma.LZMADecompressor:
    """LZMA in a zip: two bytes of version, the size of the properties, the properties."""
    if len(head) < 9:
        raise DamagedError("LZMA properties are missing")
    (size,) = struct.unpack_from("<H", head, 2)
    if size != 5:
        raise DamagedError("unknown LZMA properties")
    props, dictionary = struct.unpack_from("<BI", head, 4)
    if props >= 225 or dictionary > 1 << 28:
        raise DamagedError("LZMA properties out of range")
    filters = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": max(dictionary, 4096),
        "lc": props % 9,
        "lp": props // 9 % 5,
        "pb": props // 45,
    }
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters])


_STREAMS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: _Zlib(31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 29),
}
_ERRORS = (OSError, EOFError, ValueError, lzma.LZMAError, ISAL_ERROR, MemoryError)


def _pump(source: Blob, start: int, make: Callable[[], Any], chunk: int, piece: int) -> Iterator[bytes]:
    """Output pieces of at most ``piece`` bytes, through all concatenated members of a stream."""
    engine = make()
    position, pending = start, b""
    try:
        while True:
            if not pending and position < source.size:
                pending = source.read_at(position, chunk)
                position += len(pending)
            given, pending = pending, b""
            out = engine.decompress(given, piece)
            if out:
                yield out
            if engine.eof:
                rest = getattr(engine, "unused_data", b"").lstrip(b"\x00")
                if not rest and position >= source.size:
                    return
                if chunk == CHUNK64 or not rest:
                    return
                engine, pending = make(), rest
            elif not out and not given and position >= source.size:
                raise DamagedError("the compressed data end too early")
    except _ERRORS as error:
        raise DamagedError(str(error)) from error


def unpack_stream(kind: str, source: Blob, *, piece: int = 1 << 20) -> Iterator[bytes]:
    """Pieces of a gzip, bzip2 or xz stream."""
    return _pump(source, 0, _STREAMS[kind], CHUNK, piece)


def unpack_entry(method: int, packed: Blob, stop: int) -> bytes:
    """The first ``stop`` bytes of a zip entry, fewer where it ends before.

    Raises
    ------
    DamagedError
        The data do not decode.
    """
    if method == STORED:
        return packed.read_at(0, stop)
    if method == DEFLATED:
        return _inflate(packed, stop)
    start = 0
    make: Callable[[], Any]
    if method == LZMA:
        head = packed.read_at(0, 9)
        start, make, chunk = 9, (lambda: _zip_lzma(head)), CHUNK
    elif method == BZIP2:
        make, chunk = bz2.BZ2Decompressor, CHUNK
    else:
        make, chunk = _Deflate64, CHUNK64
    out = bytearray()
    for piece in _pump(packed, start, make, chunk, min(stop, 1 << 20)):
        out += piece
        if len(out) >= stop:
            break
    return bytes(out[:stop])


def _inflate(packed: Blob, stop: int) -> bytes:
    """Deflate with isal, in one call where the entry is small."""
    engine = isal_zlib.decompressobj(-15)
    # a header needs little input; a whole image needs all of it
    step = max(1 << 14, min(packed.size, stop))
    pieces: list[bytes] = []
    have = position = 0
    try:
        while have < stop and not engine.eof:
            data = engine.unconsumed_tail
            if not data:
                data = packed.read_at(position, step)
                position += len(data)
                if not data:
                    raise DamagedError("the compressed data end too early")
            out = engine.decompress(data, stop - have)
            pieces.append(out)
            have += len(out)
    except ISAL_ERROR as error:
        raise DamagedError(str(error)) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
