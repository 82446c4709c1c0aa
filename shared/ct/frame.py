"""One CT image (a file, or a frame of a multi-frame file) as the rest of the reader sees it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.ct.archive import Entry
from shared.ct.dicom import Group, Header, has_any

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
CT_CLASSES = (CT_IMAGE, ENHANCED_CT, LEGACY_CONVERTED_CT)
MULTI_FRAME_CLASSES = (ENHANCED_CT, LEGACY_CONVERTED_CT)
#: standard storage classes; a private or unknown class is judged by its modality
_STANDARD = "1.2.840.10008."

#: larger matrices do not exist; they are how a small file asks for terabytes
MAX_MATRIX = 8192
MAX_FRAMES = 20_000

LOCALIZER_WORDS = ("localizer", "scout", "topogram", "scanogram", "surview", "scano", "топограм")
PROJECTION_WORDS = ("mip", "minip", "maxip", "projection", "average", "vrt", "volume rend", "3d", "ssd")


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How a frame's stored values lie in its bytes (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    big_endian: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True, slots=True)
class Frame:
    """A CT image with what is needed to place it and to turn it into HU.

    Positions and directions are LPS, millimetres. ``None`` means the file does not say.
    """

    entry: Entry
    header: Header
    index: int
    n_frames: int
    format: PixelFormat
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    #: between rows, between columns (mm)
    pixel_spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    image_type: tuple[str, ...]
    kernel: str
    thickness: float | None
    acquisition: int | None
    temporal: int | None

    @property
    def sort_key(self) -> tuple[object, ...]:
        """A total order that no file name enters, for ties of position."""
        header = self.header
        instance = header.integer("InstanceNumber")
        return (
            self.acquisition or 0,
            instance if instance is not None else 1 << 31,
            header.text("SOPInstanceUID"),
            self.index,
        )


def pixel_format(header: Header) -> PixelFormat | None:
    """The pixel format, or None when it is absent, absurd or not that of one grey sample."""
    rows, columns = header.integer("Rows"), header.integer("Columns")
    allocated = header.integer("BitsAllocated") or 16
    stored = header.integer("BitsStored") or allocated
    high = header.integer("HighBit")
    if not rows or not columns or not 0 < rows <= MAX_MATRIX or not 0 < columns <= MAX_MATRIX:
        return None
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated:
        return None
    if high is None or not stored - 1 <= high < allocated:
        high = stored - 1
    return PixelFormat(
        rows,
        columns,
        allocated,
        stored,
        high,
        header.integer("PixelRepresentation") == 1,
        header.big_endian,
    )


def role(header: Header) -> str:
    """What a file is in its study: ``ct`` for an image to build volumes from, else why not.

    One of ``ct``, ``localizer``, ``projection``, ``secondary_capture``, ``not_ct``, ``no_pixels``,
    ``bad_pixels``, ``directory``.
    """
    sop_class, modality = header.text("SOPClassUID"), header.text("Modality").upper()
    if sop_class.startswith("1.2.840.10008.1.3."):
        return "directory"
    if modality not in ("CT", ""):
        return "not_ct"
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.7"):
        return "secondary_capture" if modality == "CT" else "not_ct"
    known = sop_class.startswith(_STANDARD)
    if (known and sop_class not in CT_CLASSES) or (not known and modality != "CT"):
        return "not_ct"
    if header.pixel_offset is None:
        return "no_pixels"
    samples = header.integer("SamplesPerPixel")
    if samples not in (None, 1) or header.text("PhotometricInterpretation").startswith(
        ("RGB", "YBR", "PALETTE")
    ):
        return "secondary_capture"
    kind = "\\".join(header.texts("ImageType")).lower()
    if has_any(LOCALIZER_WORDS, kind):
        return "localizer"
    if has_any(("screen", "secondary capture", "dose", "other\\csa report"), kind):
        return "secondary_capture"
    if _is_projection(kind):
        return "projection"
    if header.pixel_tag != 0x7FE00010 or pixel_format(header) is None:
        return "bad_pixels"
    return "ct"


def _is_projection(kind: str) -> bool:
    """MIP and the like, by the values after the second of Image Type."""
    return has_any(PROJECTION_WORDS, *kind.split("\\")[2:])


def expand(entry: Entry, header: Header) -> list[Frame]:
    """The frames of a CT file: one, or those of a multi-frame image."""
    form = pixel_format(header)
    if form is None:
        return []
    count = max(1, header.integer("NumberOfFrames") or 1)
    if count > MAX_FRAMES:
        return []
    per_frame = header.all_items("PerFrameFunctionalGroupsSequence")
    shared = header.first("SharedFunctionalGroupsSequence")
    groups = per_frame if per_frame else [Group()] * count
    return [
        _frame(entry, header, k, count, form, (groups[k], shared) if k < len(groups) else (shared,))
        for k in range(count)
    ]


def _frame(
    entry: Entry, header: Header, index: int, count: int, form: PixelFormat, groups: tuple[Group, ...]
) -> Frame:
    def find(sequence: str, keyword: str, length: int) -> tuple[float, ...] | None:
        for group in groups:
            value = group.first(sequence).floats(keyword, length)
            if value is not None:
                return value
        return header.floats(keyword, length)

    def find_one(sequence: str, keyword: str) -> float | None:
        value = find(sequence, keyword, 1)
        return value[0] if value else None

    def find_text(sequence: str, keyword: str, plain: str) -> str:
        for group in groups:
            value = group.first(sequence).text(keyword)
            if value:
                return value
        return header.text(plain)

    acquisition = find_one("FrameContentSequence", "FrameAcquisitionNumber")
    temporal = find_one("FrameContentSequence", "TemporalPositionIndex")
    spacing = find("PixelMeasuresSequence", "PixelSpacing", 2)
    if spacing is not None and not all(0.01 <= v <= 20 for v in spacing):
        spacing = None
    # one position for many frames is the position of the first only
    flat = count > 1 and not header.all_items("PerFrameFunctionalGroupsSequence")
    position = None if flat else find("PlanePositionSequence", "ImagePositionPatient", 3)
    return Frame(
        entry=entry,
        header=header,
        index=index,
        n_frames=count,
        format=form,
        position=position,
        orientation=_unit(find("PlaneOrientationSequence", "ImageOrientationPatient", 6)),
        pixel_spacing=spacing,
        slope=find_one("PixelValueTransformationSequence", "RescaleSlope"),
        intercept=find_one("PixelValueTransformationSequence", "RescaleIntercept"),
        image_type=tuple(find_text("CTImageFrameTypeSequence", "FrameType", "ImageType").upper().split("\\")),
        kernel=find_text("CTReconstructionSequence", "ConvolutionKernel", "ConvolutionKernel"),
        thickness=find_one("PixelMeasuresSequence", "SliceThickness"),
        acquisition=int(acquisition) if acquisition is not None else header.integer("AcquisitionNumber"),
        temporal=int(temporal) if temporal is not None else header.integer("TemporalPositionIdentifier"),
    )


def _unit(cosines: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Direction cosines made exact; None when they are no two directions at a right angle."""
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    a, b = sum(v * v for v in row) ** 0.5, sum(v * v for v in column) ** 0.5
    if not 0.9 < a < 1.1 or not 0.9 < b < 1.1:
        return None
    if abs(sum(p * q for p, q in zip(row, column, strict=True))) > 0.02:
        return None
    return tuple(v / a for v in row) + tuple(v / b for v in column)
