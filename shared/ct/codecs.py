"""Compressed pixels: fragments of an encapsulated element, and one frame through its decoder.

This module is what the decoding child process imports: numpy and the decoders, nothing else heavy.
"""

from __future__ import annotations

import itertools
import struct
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Codec = Literal["jpeg", "jpeg2000", "rle"]

#: transfer syntaxes with a decoder (PS3.5 annex A)
CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.5": "rle",
    **{f"1.2.840.10008.1.2.4.{n}": "jpeg" for n in (50, 51, 53, 55, 57, 70, 80, 81)},
    **{f"1.2.840.10008.1.2.4.{n}": "jpeg2000" for n in (90, 91, 201, 202, 203)},
}
#: transfer syntaxes that may lose information
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 81, 91, 203))


class DecodeError(Exception):
    """A frame that its decoder does not accept."""


def split_fragments(data: bytes, frames: int) -> list[bytes]:
    """The frames of an encapsulated pixel element (PS3.5 A.4).

    Parameters
    ----------
    data : bytes
        From the first item, the basic offset table, on.
    frames : int
        Number of Frames.

    Raises
    ------
    DecodeError
        The items are damaged.
    """
    items: list[tuple[int, int, int]] = []
    offset = 0
    while offset + 8 <= len(data):
        group, element, length = struct.unpack_from("<HHI", data, offset)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF or offset + 8 + length > len(data):
            raise DecodeError("the fragments are cut off")
        items.append((offset, offset + 8, length))
        offset += 8 + length
    if len(items) < 2:
        raise DecodeError("there are no fragments")
    table, fragments = items[0], items[1:]
    pieces = [data[start : start + length] for _, start, length in fragments]
    if frames == 1:
        return [b"".join(pieces)]
    if len(pieces) == frames:
        return pieces
    count = table[2] // 4
    if count == frames:
        starts = struct.unpack_from(f"<{count}I", data, table[1])
        base = fragments[0][0]
        edges = [s + base for s in starts] + [len(data)]
        return [
            b"".join(p for (o, _, _), p in zip(fragments, pieces, strict=True) if a <= o < b)
            for a, b in itertools.pairwise(edges)
        ]
    raise DecodeError("the fragments do not tell the frames apart")


def guess_codec(transfer_syntax: str, frame: bytes) -> Codec | None:
    """The decoder by the frame's first bytes, else by the transfer syntax; None: there is none."""
    if frame[:2] == b"\xff\xd8":
        return "jpeg"
    if frame[:4] == b"\xff\x4f\xff\x51" or frame[4:8] == b"jP  ":
        return "jpeg2000"
    codec = CODECS.get(transfer_syntax)
    return codec if codec == "rle" or (codec is None and _is_rle(frame)) else None


def _is_rle(frame: bytes) -> bool:
    return len(frame) > 64 and 1 <= struct.unpack_from("<I", frame)[0] <= 15 and frame[4:8] == b"@\0\0\0"


def claimed_size(codec: Codec, frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a codestream says it holds, read before any decoder sees it."""
    if codec == "jpeg2000":
        at = frame.find(b"\xff\x51")
        if at < 0 or at + 22 > len(frame):
            return None
        x1, y1, x0, y0 = struct.unpack_from(">4I", frame, at + 6)
        return y1 - y0, x1 - x0
    if codec == "jpeg":
        offset = 2
        while offset + 9 < len(frame):
            if frame[offset] != 0xFF:
                offset += 1
                continue
            marker = frame[offset + 1]
            if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
                rows, columns = struct.unpack_from(">HH", frame, offset + 5)
                return rows, columns
            if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD9:
                offset += 1 if marker == 0xFF else 2
                continue
            offset += 2 + int(struct.unpack_from(">H", frame, offset + 2)[0])
    return None


def decode_frame(
    transfer_syntax: str, frame: bytes, rows: int, columns: int, bits_allocated: int
) -> NDArray[np.integer]:
    """Decode one compressed frame of one sample per pixel.

    Returns
    -------
    ndarray of an integer type, shape (rows, columns)
        As the codestream holds it; see `shared.ct.hounsfield.unpack_values`.

    Raises
    ------
    DecodeError
        Every way a decoder fails.
    """
    codec = guess_codec(transfer_syntax, frame)
    if codec is None:
        raise DecodeError(f"no decoder for {transfer_syntax or 'these pixels'}")
    size = claimed_size(codec, frame)
    if codec != "rle" and size != (rows, columns):
        raise DecodeError("the compressed picture has another size than the header says")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = _decode(codec, frame, rows, columns, bits_allocated)
        return values.reshape(rows, columns)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, MemoryError, OverflowError) as error:
        raise DecodeError(str(error)[:200]) from error


def _decode(codec: Codec, frame: bytes, rows: int, columns: int, bits: int) -> NDArray[np.integer]:
    if codec == "rle":
        from rle.rle import decode_frame as decode_rle

        return np.frombuffer(decode_rle(frame, rows * columns, bits, "<"), f"<u{bits // 8}")
    if codec == "jpeg2000":
        from openjpeg.utils import decode as decode_jpeg2000

        return np.asarray(decode_jpeg2000(frame))
    from libjpeg.utils import decode as decode_jpeg

    return np.asarray(decode_jpeg(frame))
