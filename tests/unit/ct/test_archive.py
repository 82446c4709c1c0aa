"""Uploads of every shape: containers are opened by content, limits hold, hostile ones are refused."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from shared.ct.archive import Limits, display_name, open_upload
from shared.ct.study import read_studies
from shared.ct.zipdir import decode_name
from shared.errors import Refusal
from tests.phantoms import cached_chest, datasets, to_bytes

FILES = 3


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    volume = cached_chest((FILES, 32, 32), (5.0, 12.0, 12.0))
    return [to_bytes(ds) for ds in datasets(volume)]


def pack(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def named(images: list[bytes], pattern: str = "CT/IM{}") -> dict[str, bytes]:
    return {pattern.format(k): data for k, data in enumerate(images)}


def contents(source: object, **limits: object) -> list[bytes]:
    upload = open_upload(source, Limits(**limits))  # type: ignore[arg-type]
    return sorted(entry.read(0, entry.size + 10**6) for entry, _, _ in upload.entries)


def refusal(source: object, **limits: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        open_upload(source, Limits(**limits))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip_of_every_method(tmp_path, images, method):
    assert contents(pack(tmp_path / "a", named(images), method)) == sorted(images)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_of_every_compression_even_named_zip(tmp_path, images, mode):
    path = tmp_path / "study.zip"
    with tarfile.open(path, mode) as archive:
        for name, data in named(images).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert contents(path) == sorted(images)


def test_a_zip_in_a_zip_is_opened_and_the_next_one_is_not(tmp_path, images):
    inner = pack(tmp_path / "inner", named(images))
    outer = pack(tmp_path / "outer", {"inner.zip": inner.read_bytes()})
    assert contents(outer) == sorted(images)
    third = pack(tmp_path / "third", {"outer.zip": outer.read_bytes()})
    assert refusal(third).code == "archive_limits"


def test_what_operating_systems_leave_is_ignored(tmp_path, images):
    files = {
        **named(images),
        "__MACOSX/CT/._IM0": b"x" * 300,
        "._a": b"y",
        ".DS_Store": b"z",
        "Thumbs.db": b"t",
    }
    assert contents(pack(tmp_path / "a", files)) == sorted(images)


def test_two_entries_of_one_name_are_two_files(tmp_path, images):
    path = tmp_path / "a.zip"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        for data in images:
            archive.writestr("IM", data)
    assert contents(path) == sorted(images)


def test_a_self_extracting_zip_is_read(tmp_path, images):
    path = pack(tmp_path / "a", named(images))
    moved = tmp_path / "b.zip"
    moved.write_bytes(path.read_bytes()[:0] + path.read_bytes())
    assert contents(moved) == sorted(images)


def test_a_gzip_of_one_image_is_that_image(tmp_path, images):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(images[0]))
    assert contents(path) == [images[0]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not_an_archive"),
        (bytes(5000), "not_an_archive"),
        (b"<!DOCTYPE html><html><body>502</body></html>", "not_an_archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(100), "unsupported_format"),
        (b"Rar!\x1a\x07\x01\x00" + bytes(100), "unsupported_format"),
        (b"NRRD0004\ntype: short\n", "unsupported_format"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "unreadable"),
        (b"PK\x05\x06" + bytes(18), "empty_archive"),
        (b"PK\x03\x04" + bytes(300), "unreadable"),
        (b"\x1f\x8b\x08" + bytes(40), "unreadable"),
    ],
    ids=["empty", "zeros", "html", "7z", "rar", "nrrd", "git-lfs", "empty zip", "half a zip", "half a gzip"],
)
def test_what_is_no_archive_is_refused_by_its_content(tmp_path, data, code):
    path = tmp_path / "study.zip"
    path.write_bytes(data)
    with pytest.raises(Refusal) as caught:
        read_studies(path)
    assert caught.value.code == code


def test_half_an_upload_is_named_as_such(tmp_path, images):
    path = pack(tmp_path / "a", named(images))
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path).code == "unreadable"


def test_an_encrypted_zip_is_refused_at_once(tmp_path, images):
    path = pack(tmp_path / "a", named(images))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    assert refusal(path).code == "encrypted_archive"


# ── limits, at the limit and one above it ───────────────────────────────────────────────────


def test_as_many_files_as_allowed_and_one_more(tmp_path, images):
    path = pack(tmp_path / "a", named(images))
    assert len(contents(path, max_entries=FILES)) == FILES
    assert refusal(path, max_entries=FILES - 1).code == "archive_limits"


def test_a_million_entries_are_refused_without_reading_them(tmp_path):
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *[0] * 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = record * 1_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(directory), 4, 0)
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK\x03\x04" + directory + end)
    begun = time.process_time()
    assert refusal(path).code == "archive_limits"
    assert time.process_time() - begun < 2


def test_the_ratio_counts_what_comes_out(tmp_path):
    size = 1_000_000
    path = pack(tmp_path / "a", {"zeros": bytes(size)})
    assert open_upload(path, Limits(ratio_free_bytes=size)).entries
    assert refusal(path, ratio_free_bytes=size - 1).code == "archive_limits"


def test_a_forged_size_does_not_hide_a_bomb(tmp_path):
    path = pack(tmp_path / "a", {"zeros": bytes(50_000_000)})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<L", 1000)
    path.write_bytes(data)
    assert refusal(path).code == "archive_limits"


def test_entries_that_share_their_data_are_refused(tmp_path, images):
    path = pack(tmp_path / "a", {"one": images[0]}, zipfile.ZIP_STORED)
    data = path.read_bytes()
    at, end = data.rfind(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
    record = data[at:end]
    tail = bytearray(data[end:])
    tail[8:16] = struct.pack("<HHL", 50, 50, 50 * len(record))
    path.write_bytes(data[:at] + record * 50 + tail)
    assert refusal(path).code == "archive_limits"


@pytest.mark.parametrize("pack_bomb", [gzip.compress, bz2.compress], ids=["gzip", "bzip2"])
def test_a_stream_that_never_ends_is_cut_off(tmp_path, pack_bomb):
    path = tmp_path / "a.tar.gz"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 40_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    path.write_bytes(pack_bomb(buffer.getvalue()))
    assert refusal(path).code == "archive_limits"
    assert refusal(path, max_ratio=1e9, max_unpacked_bytes=10_000_000).code == "archive_limits"


# ── names are never paths ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["../../evil", "a/../../evil", "..\\evil", "CT/..", "C:\\..\\evil"])
def test_names_that_lead_outside_are_refused(tmp_path, images, name):
    assert refusal(pack(tmp_path / "a", {**named(images), name: b"x"})).code == "unsafe_archive_path"


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\windows\\x", "\\\\server\\x"])
def test_absolute_names_are_only_names(tmp_path, images, name):
    upload = open_upload(pack(tmp_path / "a", {name: images[0]}))
    assert [w.code for w in upload.warnings] == ["unsafe_names"]
    assert len(upload.entries) == 1


def test_links_in_archives_are_not_followed(tmp_path, images):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in named(images).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"link{kind!r}")
            link.type, link.linkname = kind, "/etc/passwd"
            archive.addfile(link)
    upload = open_upload(path)
    assert len(upload.entries) == FILES
    assert "unsafe_names" in [w.code for w in upload.warnings]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Грудь/Снимок".encode("cp866"), "Грудь/Снимок"),
        ("Грудь/Снимок".encode("cp1251"), "Грудь/Снимок"),
        ("Грудь/Снимок".encode(), "Грудь/Снимок"),
        ("胸部".encode("shift_jis"), "胸部"),
    ],
    ids=["cp866", "cp1251", "utf-8", "shift-jis"],
)
def test_names_in_old_code_pages_are_shown_as_letters(raw, text):
    assert decode_name(raw) == text


def test_a_shown_name_has_no_path_and_no_control_characters():
    assert display_name("a\\b/c\r\nd\x1b[31m.dcm") == "cd[31m.dcm"
