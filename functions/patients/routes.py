"""Routes of the patients function: parse, call one shared operation, answer."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from functions.patients.models import PatientEdit, PatientIn, PatientOut, PatientPath, PatientsQuery
from shared.documents import Patient, Scan
from shared.errors import Problem
from shared.lifecycle import live_patient, remove_patient
from shared.model.analysis import Verdict
from shared.stores.protocols import VersionConflict
from shared.web.app import ctx
from shared.web.conditional import check_if_match, document_response
from shared.web.idempotency import fingerprint_of, once
from shared.web.paging import Page, parse_sort

api = APIBlueprint(
    "patients", __name__, url_prefix="/api/patients", abp_tags=[Tag(name="patients", description="Patients.")]
)
_SORTS = ("created_at", "updated_at", "last_name")
_VERDICTS: tuple[Verdict, ...] = ("normal", "pathology", "no_result")


@api.get("", responses={200: Page[PatientOut]})
def list_patients(query: PatientsQuery) -> Response:
    """List patients, newest first."""
    documents = ctx().documents
    where = {"deleting": False}
    sort = parse_sort(query.sort, _SORTS)
    found = documents.find(Patient, where, text=query.q, sort=sort, limit=query.limit, offset=query.offset)
    total = documents.count(Patient, where, text=query.q)
    page = Page[PatientOut](items=_outs(found), total=total, limit=query.limit, offset=query.offset)
    return Response(page.model_dump_json(), content_type="application/json")


@api.post("", responses={201: PatientOut})
def create_patient(body: PatientIn) -> Response:
    """Register a patient."""
    documents = ctx().documents

    def make() -> tuple[Response, str]:
        values = body.model_dump(exclude_none=True)
        patient = Patient(**values)
        documents.insert(patient)
        where = {"Location": f"/api/patients/{patient.id}"}
        return document_response(PatientOut.of(patient), patient, status=201, headers=where), patient.id

    return once(documents, fingerprint_of(body.model_dump()), make)


@api.get("/<patient_id>", responses={200: PatientOut})
def get_patient(path: PatientPath) -> Response:
    """One patient."""
    patient = live_patient(ctx().documents, path.patient_id)
    return document_response(_outs([patient])[0], patient)


@api.put("/<patient_id>", responses={200: PatientOut})
def edit_patient(path: PatientPath, body: PatientEdit) -> Response:
    """Change the fields that are sent; with If-Match only the version that was read."""
    documents = ctx().documents
    patient = live_patient(documents, path.patient_id)
    check_if_match(patient)
    try:
        patient = documents.replace(patient.model_copy(update=body.changes()))
    except VersionConflict:
        # Gone, or changed: a client that named no version is told to read again.
        live_patient(documents, path.patient_id)
        raise
    return document_response(_outs([patient])[0], patient)


@api.delete("/<patient_id>", responses={204: None})
def delete_patient(path: PatientPath) -> Response:
    """Delete a patient with all studies, analyses and files."""
    context = ctx()
    patient = context.documents.get(Patient, path.patient_id)
    if patient is None:
        raise Problem("patient_not_found")
    check_if_match(patient)
    remove_patient(context.stores, patient.id)
    return Response(status=204)


def _outs(patients: Sequence[Patient]) -> list[PatientOut]:
    """Public forms, with the number of studies and the newest verdict of each."""
    documents = ctx().documents
    ids = [patient.id for patient in patients]
    counts = documents.count_by(Scan, "patient_id", ids, {"deleting": False}) if ids else {}
    outs = []
    for patient in patients:
        count = counts.get(patient.id, 0)
        outs.append(PatientOut.of(patient, count, _last_verdict(patient.id) if count else None))
    return outs


def _last_verdict(patient_id: str) -> Verdict | None:
    where = {"patient_id": patient_id, "verdict": _VERDICTS, "deleting": False}
    newest = ctx().documents.find(Scan, where, sort=[("created_at", "desc")], limit=1)
    return newest[0].verdict if newest else None
