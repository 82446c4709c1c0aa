"""What a file is, by its first bytes and never by its name."""

from __future__ import annotations

import struct
from typing import Literal

Kind = Literal[
    "dicom",
    "nifti",
    "zip",
    "gzip",
    "bzip2",
    "xz",
    "tar",
    "7z",
    "rar",
    "nrrd",
    "html",
    "git-lfs",
    "empty",
    "other",
]

#: enough to know every kind: a tar's magic lies at 257, NIfTI-2's header is 540 bytes
SNIFF_BYTES = 1024
#: kinds that are named in a refusal because they cannot be read
NAMES: dict[str, str] = {
    "7z": "7z",
    "rar": "RAR",
    "nrrd": "NRRD",
    "html": "HTML",
    "git-lfs": "Git LFS pointer",
}

_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"NRRD00", "nrrd"),
    (b"version https://git-lfs", "git-lfs"),
)


def sniff(head: bytes) -> Kind:
    """The kind of a file that starts with ``head`` (at least `SNIFF_BYTES` of it, or all)."""
    if not head.strip(b"\x00 \r\n\t"):
        return "empty" if len(head) < SNIFF_BYTES else "other"
    if head[128:132] == b"DICM" or head[:4] == b"DICM":
        return "dicom"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if is_nifti(head):
        return "nifti"
    if head[257:262] == b"ustar":
        return "tar"
    start = head[:512].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")) and (
        b"<html" in start or b"<!doctype html" in start
    ):
        return "html"
    return "dicom" if _bare_dicom(head) else "other"


def is_nifti(head: bytes) -> bool:
    """A single-file NIfTI-1 or NIfTI-2 header, of either byte order."""
    if len(head) < 348:
        return False
    size = struct.unpack_from("<i", head)[0]
    swapped = struct.unpack_from(">i", head)[0]
    if 348 in (size, swapped):
        return head[344:348] in (b"n+1\x00", b"ni1\x00") or head[344:347] == b"n+1"
    return 540 in (size, swapped) and head[4:8] in (b"n+2\x00", b"ni2\x00")


def _bare_dicom(head: bytes) -> bool:
    """A data set without preamble: it starts with a low group, in explicit or implicit VR."""
    if len(head) < 16:
        return False
    group, element = struct.unpack_from("<HH", head)
    if group not in (0x0002, 0x0008):
        group, element = struct.unpack_from(">HH", head)
        if group != 0x0008:
            return False
    if element > 0x0100:
        return False
    vr = head[4:6]
    if vr.isalpha() and vr.isupper():
        return True
    length = int(struct.unpack_from("<I", head, 4)[0])
    # group length, or a short first value followed by another element of the same group
    if element == 0:
        return bool(length == 4)
    if length > 512 or 8 + length + 4 > len(head):
        return False
    return bool(struct.unpack_from("<H", head, 8 + length)[0] == group)
