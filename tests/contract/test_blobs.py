"""What every blob store promises."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO, cast

import pytest
import requests
from pydantic import SecretStr

from shared import keys
from shared.settings import Settings
from shared.stores import open_blobs
from shared.stores.protocols import BlobMissing, BlobStore, StoreUnavailable

MB = 1 << 20


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that differ everywhere, so that a piece in the wrong place shows."""
    block = hashlib.sha512(str(seed).encode()).digest()
    blocks = (hashlib.sha512(block + number.to_bytes(8)).digest() * 64 for number in itertools.count())
    made = bytearray()
    while len(made) < size:
        made += next(blocks)
    return bytes(made[:size])


class Dribble:
    """A stream as a socket gives it: each read may be short."""

    def __init__(self, data: bytes, fail_at: int | None = None) -> None:
        self._file = io.BytesIO(data)
        self._fail_at = fail_at

    def read(self, size: int = -1) -> bytes:
        if self._fail_at is not None and self._file.tell() >= self._fail_at:
            raise ConnectionResetError("the client went away")
        return self._file.read(min(size, 100_000) if size >= 0 else 100_000)


def stored(blobs: BlobStore, prefix: str = "") -> list[str]:
    return [blob.key for blob in blobs.list(prefix)]


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_bytes_come_back_as_they_were(blobs: BlobStore, size: int) -> None:
    data = noise(size)
    info = blobs.put("scans/a/source", data)
    assert (info.key, info.size) == ("scans/a/source", size)
    assert blobs.get("scans/a/source") == data
    assert blobs.info("scans/a/source") == info
    assert abs(info.modified - time.time()) < 120


@pytest.mark.parametrize("size", [10, 16 * MB, 37 * MB + 5])
def test_a_stream_with_short_reads_is_stored_whole(blobs: BlobStore, size: int) -> None:
    data = noise(size)
    info = blobs.put("scans/a/source", cast(BinaryIO, Dribble(data)), content_type="application/zip")
    assert info.size == size
    digest = hashlib.sha256()
    for piece in blobs.open("scans/a/source"):
        assert 0 < len(piece) <= MB
        digest.update(piece)
    assert digest.digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("fail_at", [50_000, 20 * MB])
def test_of_an_upload_that_breaks_off_nothing_remains(blobs: BlobStore, fail_at: int) -> None:
    blobs.put("scans/a/other", b"x")
    with pytest.raises(ConnectionResetError):
        blobs.put("scans/a/source", cast(BinaryIO, Dribble(noise(21 * MB), fail_at)))
    assert stored(blobs) == ["scans/a/other"]
    with pytest.raises(BlobMissing):
        blobs.info("scans/a/source")


def test_an_upload_that_breaks_off_leaves_the_former_content(blobs: BlobStore) -> None:
    before = blobs.put("scans/a/source", b"former")
    with pytest.raises(ConnectionResetError):
        blobs.put("scans/a/source", cast(BinaryIO, Dribble(noise(200_000), 100_000)))
    assert blobs.get("scans/a/source") == b"former"
    assert blobs.info("scans/a/source").etag == before.etag


def test_the_tag_changes_with_the_content(blobs: BlobStore) -> None:
    first = blobs.put("a/b", b"one")
    second = blobs.put("a/b", b"two")
    assert first.etag != second.etag
    assert blobs.get("a/b") == b"two"
    assert first.etag.isascii()
    assert '"' not in first.etag


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (0, 1, b"0"),
        (9, 1, b"9"),
        (5, 100, b"56789"),
        (10, None, b""),
        (12, 3, b""),
        (3, 0, b""),
    ],
)
def test_a_range_gives_its_bytes_and_no_others(
    blobs: BlobStore, start: int, length: int | None, expected: bytes
) -> None:
    blobs.put("a/b", b"0123456789")
    assert b"".join(blobs.open("a/b", start=start, length=length)) == expected


def test_a_missing_blob_is_reported_at_the_call(blobs: BlobStore) -> None:
    for call in (
        lambda: blobs.get("no/such"),
        lambda: blobs.open("no/such"),
        lambda: blobs.open("no/such", start=2, length=3),
        lambda: blobs.info("no/such"),
        lambda: blobs.copy("no/such", "a/b"),
        lambda: blobs.compose(["no/such"], "a/b"),
    ):
        with pytest.raises(BlobMissing):
            call()
    blobs.delete("no/such")
    assert blobs.delete_prefix("no/") == 0
    assert list(blobs.list("no/")) == []
    assert list(blobs.children("no/")) == []
    assert stored(blobs) == []


def test_a_reader_that_stops_early_leaves_the_store_usable(blobs: BlobStore) -> None:
    blobs.put("a/b", noise(3 * MB))
    for _ in range(40):
        pieces = blobs.open("a/b")
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
    untouched = blobs.open("a/b")
    untouched.close()  # type: ignore[attr-defined]
    assert list(untouched) == []
    assert blobs.info("a/b").size == 3 * MB


@pytest.fixture
def tree(blobs: BlobStore) -> list[str]:
    names = ["s/a/source", "s/a/volume/0001.gz", "s/a/volume/0000.gz", "s/a-b/source", "s/ab/source", "u/1"]
    for name in names:
        blobs.put(name, name.encode())
    return names


@pytest.mark.parametrize("prefix", ["", "s/", "s/a/", "s/a", "s/a/volume/", "s/a/volume/0001", "u/1", "x/"])
def test_a_list_holds_what_begins_with_the_prefix_and_nothing_else(
    blobs: BlobStore, tree: list[str], prefix: str
) -> None:
    found = list(blobs.list(prefix))
    assert sorted(blob.key for blob in found) == sorted(name for name in tree if name.startswith(prefix))
    assert all((blob.size, blob.etag) == (len(blob.key), blobs.info(blob.key).etag) for blob in found)


def test_the_blobs_of_one_folder_are_listed_in_order_of_key(blobs: BlobStore) -> None:
    names = [f"s/a/volume/{number:04d}.gz" for number in range(30)]
    for name in reversed(names):
        blobs.put(name, b"x")
    assert stored(blobs, "s/a/volume/") == names


def test_children_are_named_once_however_full_they_are(blobs: BlobStore, tree: list[str]) -> None:
    assert sorted(blobs.children("s/")) == ["a", "a-b", "ab"]
    assert sorted(blobs.children("s/a/")) == ["source", "volume"]


def test_deleting_by_prefix_takes_that_and_nothing_else(blobs: BlobStore, tree: list[str]) -> None:
    assert blobs.delete_prefix("s/a/") == 3
    assert sorted(stored(blobs)) == ["s/a-b/source", "s/ab/source", "u/1"]
    assert set(blobs.children("s/")) - {"a"} == {"a-b", "ab"}
    blobs.delete("u/1")
    assert stored(blobs, "u/") == []


def test_a_folder_keeps_no_empty_folders(blobs: BlobStore, blob_settings: Settings, tree: list[str]) -> None:
    if blob_settings.blobs == "s3":
        pytest.skip("a bucket has no folders")
    for name in tree:
        blobs.delete(name)
    assert [path.name for path in (blob_settings.data_dir / "blobs").rglob("*")] == [".tmp"]


def test_a_copy_is_independent_of_its_source(blobs: BlobStore) -> None:
    blobs.put("a/b", b"content")
    blobs.copy("a/b", "c/d")
    blobs.put("a/b", b"changed")
    assert blobs.get("c/d") == b"content"


@pytest.mark.parametrize(
    "sizes",
    [
        [],
        [0],
        [7],
        [5 * MB, 5 * MB, 17],
        [5 * MB, 0, 3],
        [10, 6 * MB, 4],
        [1, 2, 3, 4, 5],
        [9 * MB, 6 * MB],
    ],
    ids=str,
)
def test_parts_are_joined_in_order_whatever_their_sizes(blobs: BlobStore, sizes: list[int]) -> None:
    parts = [keys.upload_part("u", number) for number in range(1, len(sizes) + 1)]
    contents = [noise(size, number) for number, size in enumerate(sizes)]
    for part, content in zip(parts, contents, strict=True):
        blobs.put(part, content)
    info = blobs.compose(parts, "scans/a/source")
    assert info.size == sum(sizes)
    assert blobs.get("scans/a/source") == b"".join(contents)
    assert stored(blobs, "uploads/") == parts


def test_a_compose_with_a_missing_part_leaves_nothing(blobs: BlobStore) -> None:
    blobs.put("uploads/u/1", noise(5 * MB))
    with pytest.raises(BlobMissing):
        blobs.compose(["uploads/u/1", "uploads/u/2"], "scans/a/source")
    assert stored(blobs) == ["uploads/u/1"]


def test_a_reader_sees_one_whole_version_while_others_write(blobs: BlobStore) -> None:
    versions = [bytes([number]) * 300_000 for number in range(8)]
    blobs.put("a/b", versions[0])
    faults: list[BaseException] = []

    def write() -> None:
        try:
            for version in versions:
                blobs.put("a/b", version)
        except BaseException as fault:
            faults.append(fault)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert blobs.get("a/b") in versions
    assert not faults
    assert blobs.get("a/b") == versions[-1]


def test_writing_beside_a_deletion_of_the_same_prefix_loses_no_answered_write(blobs: BlobStore) -> None:
    stop = threading.Event()
    faults: list[BaseException] = []

    def clear() -> None:
        try:
            while not stop.is_set():
                blobs.delete_prefix("s/old/")
        except BaseException as fault:
            faults.append(fault)

    cleaner = threading.Thread(target=clear)
    cleaner.start()
    try:
        for number in range(20):
            with contextlib.suppress(BlobMissing):  # it was stored, and is deleted again
                blobs.put("s/old/x", b"x")
            blobs.put(f"s/new/{number}", b"y")
    finally:
        stop.set()
        cleaner.join()
    assert not faults
    assert len(stored(blobs, "s/new/")) == 20


def test_a_presigned_url_takes_the_bytes_for_that_key_alone(blobs: BlobStore) -> None:
    url = blobs.presign_put("uploads/u/00001", seconds=60)
    if url is None:
        pytest.skip("a folder has no URLs")
    sent = requests.put(url, data=b"part", headers={"Content-Type": "application/octet-stream"}, timeout=10)
    assert sent.status_code == 200
    assert blobs.get("uploads/u/00001") == b"part"


def test_a_real_s3_server_refuses_a_url_that_was_changed(
    blobs: BlobStore, request: pytest.FixtureRequest
) -> None:
    url = blobs.presign_put("uploads/u/00001", seconds=1)
    if url is None:
        pytest.skip("a folder has no URLs")
    if request.node.callspec.params["blob_settings"] == "moto":
        pytest.skip("moto checks no signatures")
    other = url.replace("uploads/u/00001", "scans/a/source")
    assert requests.put(other, data=b"x", timeout=10).status_code == 403
    assert stored(blobs) == []


def test_a_local_path_is_readable_or_absent(blobs: BlobStore, blob_settings: Settings) -> None:
    blobs.put("a/b", b"content")
    path = blobs.local_path("a/b")
    if blob_settings.blobs == "s3":
        assert path is None
        return
    assert path is not None
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == b"content"
    with pytest.raises(BlobMissing):
        blobs.local_path("no/such")


def test_it_can_be_made_ready_again(blobs: BlobStore) -> None:
    blobs.put("a/b", b"x")
    blobs.ensure_ready()
    blobs.ping()
    assert blobs.get("a/b") == b"x"


@pytest.fixture
def away() -> Iterator[BlobStore]:
    yield open_blobs(
        Settings(
            blobs="s3",
            s3_endpoint="http://127.0.0.1:1",
            s3_access_key=SecretStr("a"),
            s3_secret_key=SecretStr("b"),
            store_timeout_s=0.2,
        )
    )


def test_an_s3_that_is_away_is_reported_in_time(away: BlobStore) -> None:
    start = time.monotonic()
    for call in (
        away.ping,
        away.ensure_ready,
        lambda: away.get("a"),
        lambda: away.put("a", b"x"),
        lambda: away.delete("a"),
        lambda: list(away.list("")),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    assert time.monotonic() - start < 40
