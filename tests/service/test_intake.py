"""Uploads: bytes come back as they went in, limits hold to the byte, and a refusal leaves nothing."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.context import context_of
from shared.documents import Job, Remembered, Scan, Upload
from shared.web.conditional import content_disposition
from tests.phantoms import write_study
from tests.service.conftest import Api, make_api
from tests.service.harness import padded_zip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chest as a zip of DICOM files."""
    return write_study(tmp_path_factory.mktemp("phantom") / "study.zip", slices=8).path


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same as loose files."""
    folder = write_study(tmp_path_factory.mktemp("phantom") / "study", slices=8).path
    return sorted(path for path in folder.rglob("*") if path.is_file())


def send(api: Api, *files: tuple[bytes, str], patient: str | None = None, **fields: str) -> Any:
    form: list[tuple[str, Any]] = [("patient_id", patient or api.new_patient()), *fields.items()]
    return api.post_form("/api/scans", [*form, *(("file", (name, data)) for data, name in files)])


def left(api: Api) -> tuple[int, int, int, list[str], list[Path]]:
    """Scans, jobs, uploads, blobs and temporary files that are there."""
    context = context_of(api.settings)
    documents = context.documents
    scratch = context.scratch
    return (
        documents.count(Scan),
        documents.count(Job),
        documents.count(Upload),
        [info.key for info in context.blobs.list("")],
        list(scratch.iterdir()) if scratch.exists() else [],
    )


NOTHING = (0, 0, 0, [], [])


def test_a_file_comes_back_byte_for_byte_with_its_name_size_and_digest(api: Api, study: Path) -> None:
    data = study.read_bytes()
    made = send(api, (data, "Иванов грудь.zip"), description="before surgery")
    assert made.status_code == 201
    scan = made.json
    assert made.headers["Location"] == f"/api/scans/{scan['id']}"
    assert (scan["size"], scan["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (scan["state"], scan["file_name"], scan["description"]) == (
        "uploaded",
        "Иванов грудь.zip",
        "before surgery",
    )
    back = api.get(f"/api/scans/{scan['id']}/file")
    assert (back.status_code, back.data) == (200, data)
    assert back.headers["Content-Type"] == "application/zip"
    assert back.headers["Accept-Ranges"] == "bytes"


def test_ranges_and_known_tags_are_answered_as_http_has_them(api: Api, study: Path) -> None:
    data = study.read_bytes()
    path = f"/api/scans/{send(api, (data, 'a.zip')).json['id']}/file"
    whole = api.get(path)
    tag = whole.headers["ETag"]
    part = api.get(path, headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.data) == (206, data[5:15])
    assert part.headers["Content-Range"] == f"bytes 5-14/{len(data)}"
    assert api.get(path, headers={"Range": "bytes=-7"}).data == data[-7:]
    assert api.get(path, headers={"Range": f"bytes={len(data) - 3}-"}).data == data[-3:]
    stale = api.get(path, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (stale.status_code, stale.data) == (200, data)
    fresh = api.get(path, headers={"Range": "bytes=0-3", "If-Range": tag})
    assert (fresh.status_code, fresh.data) == (206, data[:4])
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304
    beyond = api.get(path, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.json["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{len(data)}"
    head = api.head(path)
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(data)))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.zip", 'attachment; filename="a.zip"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("C:\\x\\a b.zip", 'attachment; filename="a b.zip"'),
        ('q"uo;te.zip', 'attachment; filename="quo;te.zip"'),
        ("a\r\nSet-Cookie: x.zip", 'attachment; filename="aSet-Cookie x.zip"'),
        ("", 'attachment; filename="study"'),
        ("..", 'attachment; filename="study"'),
        ("Ив.zip", "attachment; filename=\"zip\"; filename*=UTF-8''%D0%98%D0%B2.zip"),
        ("é.zip", "attachment; filename=\"e.zip\"; filename*=UTF-8''%C3%A9.zip"),
    ],
)
def test_no_file_name_gets_out_of_its_header(name: str, header: str) -> None:
    assert content_disposition(name) == header


def test_loose_files_become_one_zip_whose_bytes_do_not_depend_on_their_order(
    api: Api, loose: list[Path]
) -> None:
    files = [(path.read_bytes(), f"../../{path.name}") for path in loose]
    one = send(api, *files).json
    other = send(api, *files[::-1]).json
    assert one["sha256"] == other["sha256"]
    archive = zipfile.ZipFile(io.BytesIO(api.get(f"/api/scans/{one['id']}/file").data))
    assert sorted(archive.read(name) for name in archive.namelist()) == sorted(data for data, _ in files)
    assert archive.namelist() == [f"{number:06d}.dcm" for number in range(1, len(files) + 1)]
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_the_seeds_clients_may_call_the_field_file_or_files(api: Api, study: Path) -> None:
    for name in ("file", "files"):
        form = [("patient_id", api.new_patient()), (name, ("a.zip", study.read_bytes()))]
        assert api.post_form("/api/scans", form).status_code == 201


def test_a_file_at_the_limit_is_taken_and_one_byte_more_is_not(api: Api, study: Path) -> None:
    limit = api.settings.max_upload_mb * 10**6
    data = study.read_bytes()
    assert send(api, (padded_zip(data, limit), "full.zip")).status_code == 201
    over = send(api, (padded_zip(data, limit + 1), "over.zip"))
    assert (over.status_code, over.json["code"]) == (413, "too_large")
    assert "3" in over.json["detail"]


def zip_of(*entries: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return target.getvalue()


def encrypted(data: bytes) -> bytes:
    """Set the flag of encryption in the local and the central header of a zip of one entry."""
    changed = bytearray(data)
    changed[6] |= 1
    changed[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(changed)


BAD_FILES: list[tuple[str, Callable[[bytes], bytes], int, str]] = [
    ("text", lambda _: b"hello, this is no study", 415, "not_an_archive"),
    ("empty file", lambda _: b"", 415, "not_an_archive"),
    ("rar", lambda _: b"Rar!\x1a\x07\x01\x00" + b"x" * 100, 415, "unsupported_format"),
    ("7z", lambda _: b"7z\xbc\xaf\x27\x1c" + b"x" * 100, 415, "unsupported_format"),
    ("html", lambda _: b"<!doctype html><html><body>404</body></html>", 415, "not_an_archive"),
    ("empty zip", lambda _: zip_of(), 422, "empty_archive"),
    ("encrypted zip", lambda _: encrypted(zip_of(("a.dcm", b"x"))), 422, "encrypted_archive"),
    ("traversal", lambda _: zip_of(("../../etc/cron.d/a", b"x")), 422, "unsafe_archive_path"),
    ("bomb", lambda _: zip_of(("a.dcm", b"\0" * 200_000_000)), 413, "archive_limits"),
    ("half a zip", lambda data: data[: len(data) // 2], 422, "unreadable"),
]


@pytest.mark.parametrize(
    ("make", "status", "code"), [row[1:] for row in BAD_FILES], ids=[r[0] for r in BAD_FILES]
)
def test_a_file_that_can_be_no_study_is_refused_at_once_and_nothing_remains(
    api: Api, study: Path, make: Callable[[bytes], bytes], status: int, code: str
) -> None:
    answer = send(api, (make(study.read_bytes()), "study.zip"))
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    assert answer.json["detail"]
    assert left(api) == NOTHING


@pytest.mark.parametrize(
    ("make", "status", "code"), [row[1:] for row in BAD_FILES], ids=[r[0] for r in BAD_FILES]
)
def test_a_two_step_upload_refuses_the_same_files(
    api: Api, study: Path, make: Callable[[bytes], bytes], status: int, code: str
) -> None:
    data = make(study.read_bytes())
    if not data:
        begun = api.post("/api/uploads", json={"patient_id": api.new_patient(), "size": 0})
        assert (begun.status_code, begun.json["code"]) == (422, "invalid_fields")
        return
    upload = two_step(api, data)
    answer = api.post(f"/api/uploads/{upload['id']}/complete")
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    assert left(api) == NOTHING


def test_requests_without_a_patient_or_a_file_leave_nothing(api: Api, study: Path) -> None:
    data = study.read_bytes()
    nobody = send(api, (data, "a.zip"), patient="nobody")
    assert (nobody.status_code, nobody.json["code"]) == (404, "patient_not_found")
    none = api.post_form("/api/scans", [("file", ("a.zip", data))])
    assert (none.status_code, none.json["code"]) == (422, "invalid_fields")
    assert list(none.json["errors"]) == ["patient_id"]
    empty = api.post_form("/api/scans", [("patient_id", api.new_patient())])
    assert (empty.status_code, empty.json["code"]) == (422, "no_file")
    broken = api.post("/api/scans", data=b"--b\r\nnonsense", content_type="multipart/form-data; boundary=b")
    assert (broken.status_code, broken.json["code"]) == (400, "bad_request")
    cut = api.post(
        "/api/scans",
        data=b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK\x03\x04half',
        content_type="multipart/form-data; boundary=b",
    )
    assert (cut.status_code, cut.json["code"]) == (400, "bad_request")
    assert left(api) == NOTHING


def test_several_archives_in_one_upload_are_refused(api: Api, study: Path) -> None:
    data = study.read_bytes()
    answer = send(api, (data, "a.zip"), (data, "b.zip"))
    assert (answer.status_code, answer.json["code"]) == (413, "archive_limits")
    assert left(api) == NOTHING


def test_an_upload_sent_twice_with_one_key_makes_one_scan(api: Api, study: Path) -> None:
    patient, headers = api.new_patient(), {"Idempotency-Key": "sent-twice-by-a-nervous-client"}

    def post(data: bytes) -> Any:
        form = [("patient_id", patient), ("file", ("a.zip", data))]
        return api.post_form("/api/scans", form, headers=headers)

    first, again = post(study.read_bytes()), post(study.read_bytes())
    assert (again.status_code, again.json) == (201, first.json)
    other = post(zip_of(("a.dcm", b"x")))
    assert (other.status_code, other.json["code"]) == (422, "idempotency_mismatch")
    assert left(api)[:2] == (1, 1)


def test_a_full_queue_refuses_uploads_and_keeps_nothing_of_them(tmp_path: Path, study: Path) -> None:
    for api in make_api(tmp_path, max_queue=1):
        assert send(api, (study.read_bytes(), "a.zip")).status_code == 201
        full = send(api, (study.read_bytes(), "b.zip"))
        assert (full.status_code, full.json["code"]) == (429, "queue_full")
        assert full.headers["Retry-After"]
        scans, jobs, _, blobs, _ = left(api)
        assert (scans, jobs, len(blobs)) == (1, 1, 1)


def two_step(api: Api, data: bytes, *, skip: tuple[int, ...] = (), **fields: Any) -> dict[str, Any]:
    """Begin an upload and send its parts."""
    body = {"patient_id": api.new_patient(), "size": len(data), "file_name": "big.zip", **fields}
    begun = api.post("/api/uploads", json=body)
    assert begun.status_code == 201, begun.text
    upload = dict(begun.json)
    assert sum(part["size"] for part in upload["parts"]) == len(data)
    for part in upload["parts"]:
        if part["number"] not in skip:
            start = (part["number"] - 1) * upload["part_size"]
            sent = api.put(part["url"], data=data[start : start + part["size"]])
            assert sent.status_code == 204, sent.text
    return upload


def test_an_upload_in_parts_goes_on_after_a_break_and_makes_the_same_scan_once(api: Api, study: Path) -> None:
    data = padded_zip(study.read_bytes(), 2_500_000)
    upload = two_step(api, data, skip=(2,), description="in parts")
    path = f"/api/uploads/{upload['id']}"
    early = api.post(f"{path}/complete")
    assert (early.status_code, early.json["code"], early.json["errors"]) == (
        409,
        "upload_incomplete",
        {"parts": "2"},
    )
    shown = api.get(path).json["parts"]
    assert [part["received"] for part in shown] == [True, False, True]
    assert api.put(shown[1]["url"], data=data[1_000_000:2_000_000]).status_code == 204
    made = api.post(f"{path}/complete")
    assert made.status_code == 201
    assert (made.json["size"], made.json["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (made.json["description"], made.json["file_name"]) == ("in parts", "big.zip")
    assert api.post(f"{path}/complete").json["id"] == made.json["id"]
    late = api.put(shown[0]["url"], data=data[:1_000_000])
    assert (late.status_code, late.json["code"]) == (409, "conflict")
    assert api.get(f"/api/scans/{made.json['id']}/file").data == data
    assert api.get("/api/scans").json["total"] == 1
    assert [key for key in left(api)[3] if key.startswith("uploads/")] == []


def test_a_part_of_the_wrong_size_or_number_is_refused(api: Api) -> None:
    upload = two_step(api, b"x" * 1_500_000, skip=(1, 2))
    path = f"/api/uploads/{upload['id']}/parts"
    assert api.put(f"{path}/3", data=b"x").json["code"] == "bad_request"
    assert api.put(f"{path}/0", data=b"x").status_code == 400
    assert api.put(f"{path}/1", data=b"x").json["code"] == "bad_request"
    assert api.put(f"{path}/1", data=b"x" * 1_000_001).json["code"] == "too_large"
    assert left(api)[3] == []


def test_an_aborted_upload_leaves_nothing(api: Api) -> None:
    upload = two_step(api, b"x" * 1_500_000)
    assert api.delete(f"/api/uploads/{upload['id']}").status_code == 204
    assert left(api) == NOTHING


def test_an_upload_over_the_limit_is_refused_before_any_byte(api: Api) -> None:
    body = {"patient_id": api.new_patient(), "size": 3_000_001}
    answer = api.post("/api/uploads", json=body)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_limits_are_told(api: Api) -> None:
    limits = api.get("/api/limits").json
    assert limits["max_upload_bytes"] == 3_000_000
    assert limits["upload_part_bytes"] == 1_000_000
    assert limits["formats"]


def test_deleting_a_patient_leaves_no_document_and_no_blob(api: Api, study: Path) -> None:
    patient = api.new_patient()
    made = send(api, (study.read_bytes(), "a.zip"), patient=patient)
    assert made.status_code == 201
    two_step(api, b"x" * 1_500_000, patient_id=patient)
    form = [("patient_id", patient), ("file", ("a.zip", study.read_bytes()))]
    assert api.post_form("/api/scans", form, headers={"Idempotency-Key": "k" * 20}).status_code == 201
    assert api.delete(f"/api/patients/{patient}").status_code == 204
    assert left(api) == NOTHING
    assert context_of(api.settings).documents.count(Remembered) == 0
    assert api.get(f"/api/scans/{made.json['id']}").json["code"] == "scan_not_found"


def test_a_scans_description_can_be_changed_and_nothing_else(api: Api, study: Path) -> None:
    made = send(api, (study.read_bytes(), "a.zip")).json
    path = f"/api/scans/{made['id']}"
    changed = api.put(path, json={"description": "new", "state": "done", "file_name": "x"})
    assert changed.status_code == 200
    assert {**changed.json, "updated_at": 0} == {**made, "description": "new", "updated_at": 0}
    assert api.put(path, json={}).json["description"] == "new"
    stale = api.put(path, json={"description": "late"}, headers={"If-Match": '"v1"'})
    assert (stale.status_code, stale.json["code"]) == (412, "precondition_failed")


def test_scans_are_listed_by_patient_and_state(api: Api, study: Path) -> None:
    one, two = api.new_patient(), api.new_patient()
    first = send(api, (study.read_bytes(), "a.zip"), patient=one).json["id"]
    second = send(api, (study.read_bytes(), "b.zip"), patient=two).json["id"]
    assert [item["id"] for item in api.get("/api/scans").json["items"]] == [second, first]
    assert [item["id"] for item in api.get(f"/api/scans?patient_id={one}").json["items"]] == [first]
    assert api.get("/api/scans?state=uploaded").json["total"] == 2
    assert api.get("/api/scans?state=done").json["items"] == []
    assert api.get(f"/api/patients/{one}").json["scan_count"] == 1
