"""Words and tables about what was read: series rows, the passport, reasons of refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.ct.choice import Candidate, is_lung_kernel
from shared.ct.codecs import LOSSY
from shared.ct.dicom import Header, has_any
from shared.ct.frame import LOCALIZER_WORDS, MULTI_FRAME_CLASSES
from shared.ct.nifti import NiftiImage
from shared.ct.passport import Gap, Passport, SeriesRow
from shared.ct.stack import Stack
from shared.errors import Notice

if TYPE_CHECKING:
    from shared.ct.study import Series, Study

#: a stack of this many images in another plane than axial is a localizer, whatever its tags say
MAX_LOCALIZER_IMAGES = 3


def row_of_stack(uid: str, stack: Stack) -> SeriesRow:
    """The table row of a stack."""
    frame = stack.frames[0]
    row = _row(uid, frame.header, len(stack.frames))
    row.orientation = stack.plane
    row.spacing_z_mm = round(stack.step_mm, 4) if stack.step_mm else None
    row.thickness_mm = frame.thickness
    row.kernel = frame.kernel
    if stack.part:
        row.description = f"{row.description} [{stack.part}]".strip()
    row.reason = stack.refusal.code if stack.refusal else ""
    return row


def row_of_others(uid: str, role: str, header: Header, count: int) -> SeriesRow:
    """The table row of objects that make no volume."""
    row = _row(uid, header, count)
    row.reason = role
    return row


def row_of_nifti(image: NiftiImage) -> SeriesRow:
    """The table row of a NIfTI file."""
    row = SeriesRow(series_uid=image.uid, description=image.entry.name, modality="CT", n_instances=1)
    if image.turn is not None:
        _, row.rows, row.columns = image.grid_shape
        row.n_instances = image.grid_shape[0]
        row.spacing_z_mm = round(image.spacing_mm[0], 4)
        row.orientation = "axial"
    row.reason = image.refusal.code if image.refusal else ""
    return row


def _row(uid: str, header: Header, count: int) -> SeriesRow:
    return SeriesRow(
        series_uid=uid,
        description=header.text("SeriesDescription"),
        modality=header.text("Modality"),
        image_type="\\".join(header.texts("ImageType")),
        n_instances=count,
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        thickness_mm=header.number("SliceThickness"),
        kernel=header.text("ConvolutionKernel"),
        transfer_syntax=header.transfer_syntax,
    )


def candidate_of(series: Series) -> Candidate:
    """What the choice looks at."""
    row, header, stack = series.row, series.header, series.stack
    extent = stack.extent_mm if stack else row.n_instances * (row.spacing_z_mm or 0.0)
    number = header.integer("SeriesNumber") if header else None
    image_type = row.image_type.upper().split("\\")
    return Candidate(
        readable=series.refusal is None,
        plane=row.orientation,
        original=image_type[0] != "DERIVED",
        extent_mm=extent,
        step_mm=row.spacing_z_mm or 99.0,
        kernel=row.kernel,
        description=row.description,
        body_part=" ".join((header.text("BodyPartExamined"), header.text("ProtocolName"))) if header else "",
        n_slices=row.n_instances,
        number=number if number is not None else 1 << 30,
        uid=row.series_uid,
        part=stack.part_number if stack else 0,
    )


def refusal_of_role(series: Series) -> Notice:
    """Why objects that are no CT images make no volume."""
    modality = series.row.modality or "?"
    if series.role == "localizer":
        return Notice(code="localizer_only")
    if series.role in ("projection", "secondary_capture"):
        return Notice(code="no_axial_ct_series", params={"what": series.role.replace("_", " ")})
    if series.role in ("bad_pixels", "no_pixels") and modality in ("CT", "?"):
        return Notice(code="unreadable", params={"what": series.role.replace("_", " ")})
    if series.role == "mask":
        return Notice(code="not_hounsfield", params={"what": "mask"})
    return Notice(code="not_ct", params={"what": modality})


def refusal_of_study(study: Study, best: Series | None) -> Notice:
    """The reason that helps most when no series of a study can be read."""
    stacks = [s for s in study.series if s.stack is not None]
    flat = [s for s in stacks if _is_localizer(s)]
    if stacks and len(flat) == len(stacks):
        return Notice(code="localizer_only")
    if best is not None and best.refusal is not None:
        return best.refusal
    for role in ("localizer", "projection", "secondary_capture", "bad_pixels", "no_pixels"):
        for series in study.series:
            if series.role == role and series.stack is None and series.nifti is None:
                notice = refusal_of_role(series)
                if notice.code != "not_ct":
                    return notice
    modalities = sorted({s.row.modality or "no modality" for s in study.series})
    return Notice(code="not_ct", params={"what": ", ".join(modalities)})


def _is_localizer(series: Series) -> bool:
    return (
        series.row.orientation in ("coronal", "sagittal") and series.row.n_instances <= MAX_LOCALIZER_IMAGES
    ) or has_any(LOCALIZER_WORDS, series.row.image_type)


def passport_of(study: Study, chosen: Series | None, best: Series | None) -> Passport:
    """The passport as far as headers tell."""
    passport = Passport(study_uid=study.study_uid)
    for series in study.series:
        series.row.chosen = series is chosen
        if series is chosen:
            series.row.reason = "chosen"
    passport.series = [s.row for s in study.series]
    dates = [s.header.text("StudyDate") for s in study.series if s.header]
    passport.study_date = min((d for d in dates if d), default="")
    shown = chosen or best or (study.series[0] if study.series else None)
    passport.modality = shown.row.modality if shown else ""
    if chosen is None:
        passport.refusal = refusal_of_study(study, best)
        return passport
    passport.series_uid = chosen.uid
    passport.choice = _choice_words(chosen, study)
    passport.spacing_z_mm = chosen.row.spacing_z_mm
    passport.n_slices = chosen.row.n_instances
    if chosen.nifti is not None:
        passport.source_kind = "nifti"
        passport.warnings = list(chosen.nifti.warnings)
        return passport
    _describe_dicom(passport, chosen)
    return passport


def _choice_words(chosen: Series, study: Study) -> str:
    others = sum(s is not chosen and (s.stack is not None or s.nifti is not None) for s in study.series)
    kernel = "lung kernel" if is_lung_kernel(chosen.row.kernel, chosen.row.description) else "soft kernel"
    if chosen.nifti is not None:
        return f"1 of {others + 1}"
    step = f"{chosen.row.spacing_z_mm:g} mm" if chosen.row.spacing_z_mm else ""
    return f"1 of {others + 1}: {chosen.row.orientation}, {kernel}, {step}, {chosen.row.n_instances} slices"


def _describe_dicom(passport: Passport, chosen: Series) -> None:
    stack, header = chosen.stack, chosen.header
    assert stack is not None and header is not None  # noqa: S101
    passport.warnings = list(stack.warnings)
    if chosen.set_aside:
        passport.warnings.append(Notice(code="slices_set_aside", params={"n": chosen.set_aside}))
    passport.tilt_deg = round(stack.tilt_deg, 2)
    if stack.grid is not None:
        passport.gaps = [
            Gap(
                below_mm=round(hole.below_mm, 3),
                above_mm=round(hole.above_mm, 3),
                below_file=stack.frames[hole.below].entry.name,
                above_file=stack.frames[hole.above].entry.name,
                missing=hole.missing,
            )
            for hole in stack.grid.holes
        ]
    passport.transfer_syntax = header.transfer_syntax
    passport.bits_stored = stack.frames[0].format.bits_stored
    passport.lossy = header.text("LossyImageCompression") == "01" or header.transfer_syntax in LOSSY
    if passport.lossy:
        passport.warnings.append(Notice(code="lossy"))
    passport.kernel = stack.frames[0].kernel
    passport.manufacturer = header.text("Manufacturer")
    passport.scanner_model = header.text("ManufacturerModelName")
    passport.patient_position = header.text("PatientPosition")
    passport.contrast_hint = bool(header.raw("ContrastBolusAgent"))
    if passport.contrast_hint:
        passport.warnings.append(Notice(code="contrast"))
    removed = header.text("PatientIdentityRemoved").upper()
    passport.deidentified = {"YES": True, "NO": False}.get(removed)
    if header.text("SOPClassUID") in MULTI_FRAME_CLASSES:
        passport.extra["multi_frame"] = True
