"""The header of a DICOM file, read up to the pixels and no further (PS3.5 section 7, PS3.10).

Made for files as they come: no preamble, no file meta, a transfer syntax that lies, wrong VRs,
decimal commas, private sequences of any size, hostile nesting. Only elements that reading CT needs
are kept; everything else is stepped over, so a header costs about 0.1 ms. What a value means is
decided when it is asked for: a bad value is an absent one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from isal import isal_zlib

from shared.ct.archive import Entry, Limits
from shared.ct.inflate import ISAL_ERROR, DamagedError

Items = list[dict[int, "Value"]]

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
_PIXELS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)
#: explicit VRs with a 32-bit length
_LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV"))
_VRS = _LONG | frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
#: hostile files nest sequences until a parser's stack ends; real ones reach about 10
MAX_DEPTH = 40
#: elements at one level; a header has some hundreds
MAX_ELEMENTS = 200_000
#: a value that is kept is at most this long (a per-frame sequence is not kept as bytes)
MAX_VALUE = 1 << 16

#: what is kept, by PS3.6, with the VR that holds where the file does not say
TAGS: Final[dict[str, tuple[int, bytes]]] = {
    "SpecificCharacterSet": (0x00080005, b"CS"),
    "ImageType": (0x00080008, b"CS"),
    "SOPClassUID": (0x00080016, b"UI"),
    "SOPInstanceUID": (0x00080018, b"UI"),
    "StudyDate": (0x00080020, b"DA"),
    "AcquisitionTime": (0x00080032, b"TM"),
    "Modality": (0x00080060, b"CS"),
    "Manufacturer": (0x00080070, b"LO"),
    "StudyDescription": (0x00081030, b"LO"),
    "SeriesDescription": (0x0008103E, b"LO"),
    "ManufacturerModelName": (0x00081090, b"LO"),
    "FrameType": (0x00089007, b"CS"),
    "PatientName": (0x00100010, b"PN"),
    "PatientID": (0x00100020, b"LO"),
    "PatientIdentityRemoved": (0x00120062, b"CS"),
    "ContrastBolusAgent": (0x00180010, b"LO"),
    "BodyPartExamined": (0x00180015, b"CS"),
    "SliceThickness": (0x00180050, b"DS"),
    "KVP": (0x00180060, b"DS"),
    "SpacingBetweenSlices": (0x00180088, b"DS"),
    "ProtocolName": (0x00181030, b"LO"),
    "ReconstructionDiameter": (0x00181100, b"DS"),
    "GantryDetectorTilt": (0x00181120, b"DS"),
    "ConvolutionKernel": (0x00181210, b"SH"),
    "PatientPosition": (0x00185100, b"CS"),
    "StudyInstanceUID": (0x0020000D, b"UI"),
    "SeriesInstanceUID": (0x0020000E, b"UI"),
    "SeriesNumber": (0x00200011, b"IS"),
    "AcquisitionNumber": (0x00200012, b"IS"),
    "InstanceNumber": (0x00200013, b"IS"),
    "ImagePositionPatient": (0x00200032, b"DS"),
    "ImageOrientationPatient": (0x00200037, b"DS"),
    "FrameOfReferenceUID": (0x00200052, b"UI"),
    "TemporalPositionIdentifier": (0x00200100, b"IS"),
    "SliceLocation": (0x00201041, b"DS"),
    "StackID": (0x00209056, b"SH"),
    "TemporalPositionIndex": (0x00209128, b"UL"),
    "FrameAcquisitionNumber": (0x00209156, b"US"),
    "SamplesPerPixel": (0x00280002, b"US"),
    "PhotometricInterpretation": (0x00280004, b"CS"),
    "NumberOfFrames": (0x00280008, b"IS"),
    "Rows": (0x00280010, b"US"),
    "Columns": (0x00280011, b"US"),
    "PixelSpacing": (0x00280030, b"DS"),
    "BitsAllocated": (0x00280100, b"US"),
    "BitsStored": (0x00280101, b"US"),
    "HighBit": (0x00280102, b"US"),
    "PixelRepresentation": (0x00280103, b"US"),
    "PixelPaddingValue": (0x00280120, b"US"),
    "PixelPaddingRangeLimit": (0x00280121, b"US"),
    "RescaleIntercept": (0x00281052, b"DS"),
    "RescaleSlope": (0x00281053, b"DS"),
    "RescaleType": (0x00281054, b"LO"),
    "LossyImageCompression": (0x00282110, b"CS"),
}
#: functional groups of multi-frame images (PS3.3 C.7.6.16) and the sequences inside them
SEQUENCES: Final[dict[str, int]] = {
    "CTImageFrameTypeSequence": 0x00189329,
    "CTReconstructionSequence": 0x00189314,
    "FrameContentSequence": 0x00209111,
    "PlanePositionSequence": 0x00209113,
    "PlaneOrientationSequence": 0x00209116,
    "PixelMeasuresSequence": 0x00289110,
    "PixelValueTransformationSequence": 0x00289145,
    "SharedFunctionalGroupsSequence": 0x52009229,
    "PerFrameFunctionalGroupsSequence": 0x52009230,
}
_VR_OF: dict[int, bytes] = dict(TAGS.values())
_KEEP = frozenset(_VR_OF)
_OPEN = frozenset(SEQUENCES.values())
_BINARY = {
    b"US": "H",
    b"SS": "h",
    b"UL": "I",
    b"SL": "i",
    b"FL": "f",
    b"FD": "d",
    b"UV": "Q",
    b"SV": "q",
}
_CHARSETS = {
    "ISO_IR 100": "latin-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}


class NotDicomError(Exception):
    """The bytes are no DICOM data set, or one that only an attacker or a fault would write."""


class _MoreError(Exception):
    """The data end inside an element: a longer prefix is needed."""


@dataclass(frozen=True, slots=True)
class Value:
    """An element's value as it lies in the file."""

    vr: bytes
    data: bytes
    big: bool = False
    items: Items | None = None


@dataclass(slots=True)
class Group:
    """Elements of one level, by keyword."""

    values: dict[int, Value] = field(default_factory=dict)

    def text(self, keyword: str, default: str = "") -> str:
        """The value as one line of printable text."""
        value = self.values.get(TAGS[keyword][0])
        if value is None:
            return default
        return _clean(_decode(value.data, self._charset(value.vr))) or default

    def texts(self, keyword: str) -> list[str]:
        """The values of a multi-valued element."""
        return [part.strip() for part in self.text(keyword).split("\\")] if self.text(keyword) else []

    def raw(self, keyword: str) -> bytes:
        """The bytes without padding, for comparing."""
        value = self.values.get(TAGS[keyword][0])
        return value.data.strip(b" \x00") if value else b""

    def floats(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Exactly ``count`` finite numbers, or None."""
        tag, usual = TAGS[keyword]
        value = self.values.get(tag)
        if value is None or not value.data:
            return None
        numbers = _numbers(value, usual)
        return tuple(numbers[:count]) if numbers and len(numbers) >= count else None

    def number(self, keyword: str) -> float | None:
        """One finite number, or None."""
        found = self.floats(keyword, 1)
        return found[0] if found else None

    def integer(self, keyword: str) -> int | None:
        """One whole number, or None."""
        number = self.number(keyword)
        return int(number) if number is not None and number == int(number) else None

    def first(self, sequence: str) -> Group:
        """The first item of a sequence; empty where there is none."""
        value = self.values.get(SEQUENCES[sequence])
        return Group(value.items[0]) if value and value.items else Group()

    def all_items(self, sequence: str) -> list[Group]:
        """All items of a sequence."""
        value = self.values.get(SEQUENCES[sequence])
        return [Group(item) for item in value.items or []] if value else []

    def _charset(self, vr: bytes) -> str:
        if vr in (b"UI", b"CS", b"DA", b"TM", b"IS", b"DS"):
            return "latin-1"
        declared = self.values.get(TAGS["SpecificCharacterSet"][0])
        name = declared.data.decode("latin-1").split("\\")[0].strip(" \x00") if declared else ""
        return _CHARSETS.get(name.replace("ISO 2022 IR", "ISO_IR"), "")


@dataclass(slots=True)
class Header(Group):
    """What is known of a file without its pixels."""

    transfer_syntax: str = ""
    big_endian: bool = False
    #: where the value of the pixel element begins (in the inflated data set where that is deflated)
    pixel_offset: int | None = None
    #: `UNDEFINED` for encapsulated (compressed) pixels
    pixel_length: int = 0
    #: (7FE0,0010), or one of the float and double forms
    pixel_tag: int = 0
    #: where a deflated data set begins in the file; 0 for none
    deflated_at: int = 0

    @property
    def encapsulated(self) -> bool:
        """The pixels are compressed."""
        return self.pixel_length == UNDEFINED


def read_header(entry: Entry, head: bytes, limits: Limits) -> Header:
    """Read ``entry`` as far as its pixels.

    Parameters
    ----------
    head : bytes
        The first bytes, already read.

    Raises
    ------
    NotDicomError, DamagedError
        The file is none, or damaged before its pixels.
    """
    have = 1 << 14
    data = entry.read(0, have) if len(head) < have else head
    while True:
        try:
            return parse_header(data)
        except _MoreError:
            if len(data) < have:
                return parse_header(data, complete=True)
        have *= 16
        if have > limits.max_header_bytes * 16:
            raise NotDicomError("the header is too long")
        data = entry.read(0, min(have, limits.max_header_bytes))
        if len(data) == limits.max_header_bytes:
            have = len(data)


def parse_header(data: bytes, *, complete: bool = False) -> Header:
    """The header in ``data``, a file's beginning or (``complete``) all of it."""
    header = Header()
    offset = 132 if data[128:132] == b"DICM" else 4 if data[:4] == b"DICM" else 0
    reader = _Reader(data, header, complete)
    offset = reader.file_meta(offset)
    if header.transfer_syntax == DEFLATED_LE and not _looks_plain(data, offset):
        header.deflated_at = offset
        reader = _Reader(inflate_data_set(data[offset:], len(data) * 40), header, complete)
        offset = 0
    reader.data_set(offset)
    return header


def inflate_data_set(packed: bytes, limit: int) -> bytes:
    """The deflated data set of PS3.5 A.5, at most ``limit`` bytes of it."""
    try:
        return bytes(isal_zlib.decompressobj(-15).decompress(packed, limit))
    except ISAL_ERROR as error:
        raise DamagedError(str(error)) from error


def _looks_plain(data: bytes, offset: int) -> bool:
    """The first element after the file meta is a plain one."""
    return data[offset : offset + 2] == b"\x08\x00" and data[offset + 4 : offset + 6] in _VRS


class _Reader:
    """Steps through the elements of one buffer."""

    def __init__(self, data: bytes, header: Header, complete: bool) -> None:
        self.data = data
        self.header = header
        self.complete = complete
        self._set_order(big=False)
        self.explicit = True

    def _set_order(self, *, big: bool) -> None:
        order = ">" if big else "<"
        self.big = big
        self._tag = struct.Struct(order + "HH").unpack_from
        self._long = struct.Struct(order + "I").unpack_from
        self._short = struct.Struct(order + "H").unpack_from

    def file_meta(self, offset: int) -> int:
        """Read group 2, always explicit little endian; where the data set begins."""
        try:
            while self.data[offset : offset + 2] == b"\x02\x00":
                tag, vr, start, length = self._element(offset, explicit=self._vr_at(offset))
                if length > len(self.data) - start:
                    raise struct.error
                if tag == 0x00020010:
                    raw = self.data[start : start + length]
                    self.header.transfer_syntax = raw.decode("latin-1").strip(" \x00")
                elif tag == 0x00020002:
                    self.header.values.setdefault(
                        TAGS["SOPClassUID"][0], Value(vr, self.data[start : start + length])
                    )
                offset = start + length
        except struct.error:
            self._ended()
        return offset

    def data_set(self, offset: int) -> None:
        """Read the top level, up to the pixels."""
        data = self.data
        if len(data) - offset < 8:
            self._ended()
            return
        little, big = (int(struct.unpack_from(o + "H", data, offset)[0]) for o in "<>")
        self._set_order(big=big < little)
        self.header.big_endian = self.big
        self.explicit = self._vr_at(offset)
        try:
            self._top(offset)
        except struct.error:
            self._ended()

    def _ended(self) -> None:
        if not self.complete:
            raise _MoreError

    def _vr_at(self, offset: int) -> bool:
        return self.data[offset + 4 : offset + 6] in _VRS

    def _top(self, offset: int) -> None:
        header, values, end = self.header, self.header.values, len(self.data)
        previous = -1
        for _ in range(MAX_ELEMENTS):
            tag, vr, start, length = self._element(offset, explicit=self.explicit)
            if tag in _PIXELS:
                header.pixel_offset, header.pixel_length, header.pixel_tag = start, length, tag
                return
            if tag > 0x7FE0FFFF or tag == 0 or (tag <= previous and tag >> 16 < 2):
                return
            previous = tag
            if tag in _OPEN and vr in (b"SQ", b"UN"):
                items, offset = self._items(start, length, self.explicit and vr != b"UN", 1)
                values[tag] = Value(b"SQ", b"", self.big, items)
                continue
            if length == UNDEFINED:
                offset = self._skip_safely(start, vr)
                continue
            offset = start + length
            if tag in _KEEP and length <= MAX_VALUE:
                if offset > end:
                    self._ended()
                    return
                values[tag] = Value(vr, self.data[start:offset], self.big)
            elif offset > end:
                self._ended()
                return
        raise NotDicomError("too many elements")

    def _element(self, offset: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Tag, VR, where the value begins and its length."""
        group, element = self._tag(self.data, offset)
        tag = group << 16 | element
        if explicit and group != 0xFFFE:
            vr = self.data[offset + 4 : offset + 6]
            if vr in _LONG:
                return tag, vr, offset + 12, self._long(self.data, offset + 8)[0]
            if vr in _VRS or (vr.isalpha() and vr.isupper()):
                return tag, vr, offset + 8, self._short(self.data, offset + 6)[0]
        vr = _VR_OF.get(tag, b"SQ" if tag in _OPEN else b"UN")
        return tag, vr, offset + 8, self._long(self.data, offset + 4)[0]

    def _skip_safely(self, start: int, vr: bytes) -> int:
        """Step over a value of undefined length; a broken one ends at the next delimiter."""
        try:
            return self._skip(start, self.explicit and vr != b"UN", 1)
        except NotDicomError:
            mark = struct.pack(">HH" if self.big else "<HH", 0xFFFE, 0xE0DD) + b"\x00" * 4
            at = self.data.find(mark, start)
            if at < 0:
                self._ended()
                raise
            return at + 8

    def _skip(self, offset: int, explicit: bool, depth: int) -> int:
        """Step over the items of a sequence of undefined length; where it ends."""
        if depth > MAX_DEPTH:
            raise NotDicomError("sequences are nested too deeply")
        while True:
            tag, _, start, length = self._element(offset, explicit=False)
            if tag == _SEQUENCE_END:
                return start
            if tag != _ITEM:
                raise NotDicomError("a sequence holds something that is no item")
            offset = start + length if length != UNDEFINED else self._skip_item(start, explicit, depth)
            if offset > len(self.data):
                raise struct.error

    def _skip_item(self, offset: int, explicit: bool, depth: int) -> int:
        while True:
            tag, vr, start, length = self._element(offset, explicit=explicit)
            if tag == _ITEM_END:
                return start
            if length == UNDEFINED:
                offset = self._skip(start, explicit and vr != b"UN", depth + 1)
            else:
                offset = start + length
            if offset > len(self.data):
                raise struct.error

    def _items(self, start: int, length: int, explicit: bool, depth: int) -> tuple[Items, int]:
        """Read a sequence of interest: its items and where it ends."""
        if depth > MAX_DEPTH:
            raise NotDicomError("sequences are nested too deeply")
        end = len(self.data) if length == UNDEFINED else start + length
        if end > len(self.data):
            raise struct.error
        items: Items = []
        offset = start
        while offset < end:
            tag, _, begin, size = self._element(offset, explicit=False)
            if tag == _SEQUENCE_END:
                return items, begin
            if tag != _ITEM:
                raise NotDicomError("a sequence holds something that is no item")
            item, offset = self._item(begin, size, explicit, depth)
            items.append(item)
            if len(items) > MAX_ELEMENTS:
                raise NotDicomError("too many items")
        return items, end

    def _item(self, start: int, length: int, explicit: bool, depth: int) -> tuple[dict[int, Value], int]:
        end = len(self.data) if length == UNDEFINED else start + length
        if end > len(self.data):
            raise struct.error
        found: dict[int, Value] = {}
        offset = start
        while offset < end:
            tag, vr, begin, size = self._element(offset, explicit=explicit)
            if tag == _ITEM_END:
                return found, begin
            if tag in _OPEN:
                items, offset = self._items(begin, size, explicit and vr != b"UN", depth + 1)
                found[tag] = Value(b"SQ", b"", self.big, items)
                continue
            if size == UNDEFINED:
                offset = self._skip(begin, explicit and vr != b"UN", depth + 1)
                continue
            offset = begin + size
            if offset > len(self.data):
                raise struct.error
            if tag in _KEEP and size <= MAX_VALUE:
                found[tag] = Value(vr, self.data[begin:offset], self.big)
        return found, end


def _numbers(value: Value, usual: bytes) -> list[float] | None:
    """The value as numbers, whether stored as text or in binary."""
    vr = value.vr if value.vr not in (b"UN", b"OB", b"OW") else usual
    if vr in (b"US", b"SS") and usual in (b"DS", b"IS") and len(value.data) > 8:
        vr = usual
    form = _BINARY.get(vr)
    if form is not None:
        order = ">" if value.big else "<"
        size = struct.calcsize(form)
        count = len(value.data) // size
        numbers = [float(v) for v in struct.unpack_from(f"{order}{count}{form}", value.data)]
    else:
        numbers = []
        for part in value.data.decode("latin-1").split("\\"):
            try:
                numbers.append(float(part.strip(" \x00\t\r\n").replace(",", ".")))
            except ValueError:
                return None
    return numbers if numbers and all(math.isfinite(v) for v in numbers) else None


def _decode(data: bytes, charset: str) -> str:
    for codec in (charset, "utf-8", "cp1251"):
        try:
            if codec:
                return data.decode(codec)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _clean(text: str) -> str:
    """One line without control characters, at most 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def has_any(words: Sequence[str], *texts: str) -> bool:
    """Any of ``words`` (lower case) is part of any of ``texts``."""
    return any(word in text.lower() for text in texts for word in words)
