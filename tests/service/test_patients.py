"""Patients over HTTP: what a doctor's page and the seed's clients rely on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.service.conftest import Api


def test_a_new_patient_is_answered_whole_and_found_again(api: Api) -> None:
    answer = api.post(
        "/api/patients",
        json={"first_name": " Иван ", "last_name": "Иванов", "birth_date": "1950-02-28", "sex": "M"},
    )
    assert answer.status_code == 201
    made = answer.json
    assert answer.headers["Location"] == f"/api/patients/{made['id']}"
    assert {name: made[name] for name in ("first_name", "last_name", "description", "birth_date", "sex")} == {
        "first_name": "Иван",
        "last_name": "Иванов",
        "description": "",
        "birth_date": "1950-02-28",
        "sex": "M",
    }
    assert (made["scan_count"], made["last_verdict"], made["external_id"]) == (0, None, None)
    assert api.get(f"/api/patients/{made['id']}").json == made
    assert api.get("/api/patients/").json["items"] == [made]


def test_a_change_touches_only_the_fields_that_are_sent(api: Api) -> None:
    patient = api.new_patient(description="before", sex="F")
    changed = api.put(f"/api/patients/{patient}", json={"description": "after"})
    assert changed.status_code == 200
    assert (changed.json["description"], changed.json["sex"], changed.json["first_name"]) == (
        "after",
        "F",
        "Ada",
    )
    assert api.put(f"/api/patients/{patient}", json={"sex": None}).json["sex"] is None


def test_an_edit_of_an_old_version_is_refused_and_changes_nothing(api: Api) -> None:
    path = f"/api/patients/{api.new_patient()}"
    read = api.get(path).headers["ETag"]
    assert api.put(path, json={"description": "first"}, headers={"If-Match": read}).status_code == 200
    late = api.put(path, json={"description": "second"}, headers={"If-Match": read})
    assert (late.status_code, late.json["code"]) == (412, "precondition_failed")
    assert api.delete(path, headers={"If-Match": read}).status_code == 412
    assert api.get(path).json["description"] == "first"


def test_lists_are_newest_first_and_come_in_pages_that_never_overlap(api: Api) -> None:
    made = [api.new_patient(last_name=f"N{number}") for number in range(5)]
    pages = [api.get(f"/api/patients?limit=2&offset={offset}").json for offset in (0, 2, 4)]
    assert [page["total"] for page in pages] == [5, 5, 5]
    assert [item["id"] for page in pages for item in page["items"]] == made[::-1]
    assert (pages[1]["limit"], pages[1]["offset"]) == (2, 2)
    by_name = api.get("/api/patients?sort=last_name").json["items"]
    assert [item["last_name"] for item in by_name] == [f"N{number}" for number in range(5)]


def test_search_finds_parts_of_names_in_any_case(api: Api) -> None:
    found = api.new_patient(first_name="Пётр", last_name="Королёв")
    api.new_patient()
    for words in ("корол", "ПЕТР", "королев петр"):
        page = api.get("/api/patients", query_string={"q": words}).json
        assert ([item["id"] for item in page["items"]], page["total"]) == ([found], 1), words


def test_a_deleted_patient_is_gone_everywhere(api: Api) -> None:
    patient = api.new_patient()
    assert api.delete(f"/api/patients/{patient}").status_code == 204
    for method in (api.get, api.delete):
        assert method(f"/api/patients/{patient}").json["code"] == "patient_not_found"
    assert api.put(f"/api/patients/{patient}", json={}).status_code == 404
    assert api.get("/api/patients").json["total"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"first_name": "A"}, "last_name"),
        ({"first_name": "", "last_name": "B"}, "first_name"),
        ({"first_name": " \t", "last_name": "B"}, "first_name"),
        ({"first_name": "A" * 201, "last_name": "B"}, "first_name"),
        ({"first_name": "A", "last_name": "B", "sex": "X"}, "sex"),
        ({"first_name": "A", "last_name": "B", "birth_date": "1950-02-30"}, "birth_date"),
        ({"first_name": "A", "last_name": "B", "birth_date": "28.02.1950"}, "birth_date"),
        ({"first_name": "A", "last_name": "B", "birth_date": "2999-01-01"}, "birth_date"),
        ({"first_name": 5, "last_name": "B"}, "first_name"),
    ],
)
def test_wrong_fields_are_named_and_nothing_is_kept(api: Api, body: dict[str, object], field: str) -> None:
    answer = api.post("/api/patients", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_fields")
    assert list(answer.json["errors"]) == [field]
    assert api.get("/api/patients").json["total"] == 0


def test_the_same_idempotency_key_makes_one_patient(api: Api) -> None:
    body = {"first_name": "Ada", "last_name": "Byron"}
    headers = {"Idempotency-Key": "one-form-sent-twice"}
    first = api.post("/api/patients", json=body, headers=headers)
    again = api.post("/api/patients/", json=body, headers=headers)
    assert (again.status_code, again.json, again.headers["ETag"]) == (201, first.json, first.headers["ETag"])
    other = api.post("/api/patients", json={**body, "last_name": "King"}, headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_mismatch")
    assert api.get("/api/patients").json["total"] == 1


def test_a_refused_request_does_not_use_up_its_idempotency_key(api: Api) -> None:
    headers = {"Idempotency-Key": "mended-after-a-mistake"}
    assert api.post("/api/patients", json={"first_name": "A"}, headers=headers).status_code == 422
    good = {"first_name": "A", "last_name": "B"}
    assert api.post("/api/patients", json=good, headers=headers).status_code == 201


def test_the_patients_function_loads_no_numpy() -> None:
    code = (
        "import sys, functions.patients.app as f; f.create_app().api_doc; "
        "bad = {'numpy', 'scipy', 'PIL', 'pydicom', 'onnxruntime'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
