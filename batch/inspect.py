"""``./ct inspect``: says what an upload holds, what would be read and why, and saves the volume.

Anyone can then check the volume in another program: HU, int16, the affine of the scan.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from batch.options import lang_option
from batch.phantoms import write_nifti
from shared.ct.passport import Passport
from shared.ct.study import Series, Study, read_studies, select_study
from shared.ct.volume import Volume
from shared.errors import Lang, Notice, Refusal
from shared.settings import settings

#: exit code of a study that cannot be read, as in `batch.predict`
REFUSED = 3


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@click.option("--study", "study_uid", help="Only the study with this StudyInstanceUID.")
@click.option("--series", "series_uid", help="Read the series with this SeriesInstanceUID, not the best.")
@click.option("--save", type=click.Path(path_type=Path), help="Save the volume as NIfTI (.nii or .nii.gz).")
@lang_option
def inspect(
    path: Path,
    as_json: bool,
    study_uid: str | None,
    series_uid: str | None,
    save: Path | None,
    lang: Lang | None,
) -> None:
    """Say what PATH holds: the input passport of every study in it.

    Exit codes: 0 read, 3 refused.
    """
    lang = lang or settings().default_lang
    if save is not None and not save.name.endswith((".nii", ".nii.gz")):
        raise click.UsageError("--save wants a name that ends with .nii or .nii.gz")
    studies: list[Study] = []
    refusal: Notice | None = None
    try:
        studies = _studies(path, study_uid, series_uid)
        refusal = _inspect(studies, study_uid, series_uid, save)
    except Refusal as error:
        refusal = error.notice
    passports = [study.passport for study in studies]
    if as_json:
        click.echo(json.dumps(as_dict(passports, refusal, lang), ensure_ascii=False, indent=2))
    else:
        _print(passports, refusal, lang)
    sys.exit(REFUSED if refusal else 0)


def _studies(path: Path, study_uid: str | None, series_uid: str | None) -> list[Study]:
    """The studies that are named, or all."""
    studies = read_studies(path, series_uid=series_uid)
    if study_uid is not None:
        studies = [s for s in studies if s.study_uid == study_uid]
    if series_uid is not None:
        studies = [s for s in studies if any(series.uid == series_uid for series in s.series)]
    if not studies:
        raise Refusal("no_dicom")
    return studies


def _inspect(
    studies: list[Study], study_uid: str | None, series_uid: str | None, save: Path | None
) -> Notice | None:
    """Decode what can be read, so that the passports are complete; the refusal of the whole."""
    if save is not None:
        study = select_study(studies, study_uid=study_uid, series_uid=series_uid)
        _save(save, study.chosen.load(workers=os.cpu_count() or 1))
        return None
    reasons: list[Notice] = []
    counted = [s for s in studies if s.has_ct] or studies
    for study in counted:
        try:
            _load(study.chosen)
        except Refusal as error:
            reasons.append(error.notice)
    return reasons[0] if len(reasons) == len(counted) else None


def _load(series: Series) -> None:
    series.load(workers=os.cpu_count() or 1)


def _save(target: Path, volume: Volume) -> None:
    """Write the file whole or not at all."""
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        write_nifti(part, volume)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def as_dict(passports: list[Passport], refusal: Notice | None, lang: Lang) -> dict[str, Any]:
    """The JSON form."""
    return {
        "studies": [passport.to_json(lang) for passport in passports],
        "reason_code": refusal.code if refusal else None,
        "reason": refusal.words(lang) if refusal else None,
    }


def _print(passports: list[Passport], refusal: Notice | None, lang: Lang) -> None:
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for passport in passports:
        console.print(f"Study {passport.study_uid}  {passport.study_date}")
        console.print(_series_table(passport))
        for name, value in _facts(passport):
            console.print(f"  {name:<12}{value}")
        for warning in passport.warnings:
            console.print(f"  ! {warning.code}: {warning.text(lang)}")
        if passport.refusal:
            console.print(f"  × {passport.refusal.code}: {passport.refusal.words(lang)}")
    if refusal and not any(p.refusal == refusal for p in passports):
        console.print(f"× {refusal.code}: {refusal.words(lang)}")


def _series_table(passport: Passport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("", "series", "images", "plane", "matrix", "step mm", "kernel", "why"):
        table.add_column(heading, overflow="fold")
    for row in passport.series:
        name = row.description or row.series_uid
        step = f"{row.spacing_z_mm:g}" if row.spacing_z_mm else ""
        matrix = f"{row.rows}×{row.columns}" if row.rows else ""
        mark = "→" if row.chosen else ""
        cells = (mark, name, str(row.n_instances), row.orientation, matrix, step, row.kernel, row.reason)
        table.add_row(*cells)
    return table


def _facts(passport: Passport) -> list[tuple[str, str]]:
    facts = [("choice", passport.choice)]
    if passport.volume is not None:
        shape, spacing = passport.volume.shape, passport.volume.spacing_mm
        facts.append(("volume", " × ".join(map(str, shape)) + " voxels (z, y, x)"))
        facts.append(("spacing", " × ".join(f"{v:g}" for v in spacing) + " mm"))
    if passport.coverage is not None:
        cover = passport.coverage
        facts.append(("lungs", f"{cover.lungs_found}, {cover.lung_ml:.0f} ml, {100 * cover.share:.0f} %"))
    facts += [
        ("HU", passport.hu_check),
        ("pixels", f"{passport.transfer_syntax} {passport.bits_stored or ''} bits".strip()),
        ("tilt", f"{passport.tilt_deg:g}°" if passport.tilt_deg else ""),
        *(("gap", f"{gap.missing} missing, {gap.below_file} … {gap.above_file}") for gap in passport.gaps),
    ]
    return [(name, value) for name, value in facts if value]
