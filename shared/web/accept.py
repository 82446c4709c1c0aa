"""From an uploaded form to one checked file: a file as it came, or loose files packed into a zip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from shared.context import Context
from shared.ct.archive import Limits, check_upload
from shared.errors import Problem
from shared.settings import Settings
from shared.web.intake import pack_loose, receive_form


@dataclass(frozen=True, slots=True)
class AcceptedStudy:
    """A file that passed the checks, at its first byte, and the form's text fields."""

    file: BinaryIO
    file_name: str
    content_type: str
    size: int
    sha256: str
    fields: dict[str, str]


@contextmanager
def accept_study(context: Context, check_fields: Callable[[dict[str, str]], None]) -> Iterator[AcceptedStudy]:
    """Receive and check the study in the request's form; temporary files end with the block.

    Raises
    ------
    Problem
        What `shared.web.intake.receive_form` raises, or ``no_file``.
    Refusal
        Of `shared.ct.archive.check_upload`: no archive, encrypted, over a limit.
    """
    settings = context.settings
    received = receive_form(
        context.scratch,
        max_bytes=settings.max_upload_mb * 10**6,
        max_files=settings.max_entries,
        check_fields=check_fields,
    )
    with received:
        if not received.parts:
            raise Problem("no_file")
        if len(received.parts) == 1:
            part = received.parts[0]
            file, sha256 = received.spool, part.sha256
            name = part.file_name
        else:
            file, sha256 = pack_loose(received, context.scratch)
            name = "study.zip"
        with file:
            size = file.seek(0, 2)
            kind = check_source(file, settings)
            yield AcceptedStudy(file, clean_name(name), kind, size, sha256, received.fields)


def check_source(file: BinaryIO, settings: Settings) -> str:
    """Look at magic bytes and the archive's directory; answers the media type, file at its first byte.

    Raises
    ------
    Refusal
        When the file can be no study.
    """
    file.seek(0)
    limits = Limits(max_entries=settings.max_entries, max_unpacked_bytes=settings.max_unpacked_mb * 10**6)
    check_upload(file, limits)
    file.seek(0)
    head = file.read(132)
    file.seek(0)
    return media_type(head)


def media_type(head: bytes) -> str:
    """The media type, from the first 132 bytes and never from a name."""
    if head.startswith(b"PK"):
        return "application/zip"
    if head.startswith(b"\x1f\x8b"):
        return "application/gzip"
    return "application/dicom" if head[128:132] == b"DICM" else "application/octet-stream"


def clean_name(name: str) -> str:
    """The last part of a client's file name, without control characters, at most 255 characters."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in base if c.isprintable())[-255:]
