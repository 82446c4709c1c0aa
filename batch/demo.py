"""``ct demo``: synthetic chests, healthy and with planted pathologies, loaded into the service."""

from __future__ import annotations

import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from batch.client import Client, ServiceError, Unreachable
from batch.crowd import Stopped, crowd
from batch.options import lang_option, token_option
from batch.progress import Counter, stopping
from shared.errors import Lang
from shared.reporting.words import number, say
from shared.settings import settings

_SHAPE, _SPACING_MM = (72, 192, 192), (4.5, 2.0, 2.0)


@dataclass(frozen=True, slots=True)
class Case:
    """One synthetic study: what is planted, and how it is called."""

    key: str
    ru: str
    en: str
    #: kind, centre in LPS mm, radius in mm
    lesions: tuple[tuple[str, tuple[float, float, float], float], ...] = ()


CASES = (
    Case("healthy", "Здоровый", "Healthy"),
    Case("nodule", "Очаг слева", "Nodule left", (("nodule", (75.0, 5.0, 40.0), 13.0),)),
    Case(
        "ground-glass",
        "Матовое стекло справа",
        "Ground glass right",
        (("ground_glass", (-80.0, 15.0, 10.0), 32.0),),
    ),
    Case(
        "consolidation",
        "Консолидация слева",
        "Consolidation left",
        (("consolidation", (80.0, 35.0, -20.0), 30.0),),
    ),
    Case(
        "emphysema",
        "Эмфизема",
        "Emphysema",
        (("emphysema", (-70.0, 0.0, 70.0), 28.0), ("emphysema", (70.0, 0.0, 75.0), 26.0)),
    ),
    Case("effusion", "Выпот справа", "Effusion right", (("effusion", (-80.0, 60.0, -40.0), 35.0),)),
)


@click.command()
@click.option("--url", help="Address of the API.  [default: http://127.0.0.1:8000 without --out]")
@token_option
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Keep the studies here, as zip files."
)
@click.option(
    "--case",
    "keys",
    multiple=True,
    type=click.Choice([case.key for case in CASES]),
    help="Only this one; may be given several times.  [default: all]",
)
@lang_option
def demo(url: str | None, token: str, out: Path | None, keys: tuple[str, ...], lang: Lang | None) -> None:
    """Make synthetic studies and load them into the running service.

    With --out and without --url they are only written. A patient that is there already is left as it is.
    """
    lang = lang or settings().default_lang
    url = url or (None if out else "http://127.0.0.1:8000")
    cases = deque(case for case in CASES if not keys or case.key in keys)
    try:
        with stopping() as stop, _folder(out) as folder, Counter(len(cases)) as bar:
            client = Client(url, token=token, lang=lang, stop=stop) if url else None
            if client:
                client.greet()
            there = {p.get("external_id") for p in client.patients("Demo")} if client else set()

            def make(case: Case) -> str:
                if f"demo-{case.key}" in there:
                    return f"{_name(case, lang)}: {say('there_already', lang)}"
                file = write_case(case, folder)
                return _load(client, case, file, lang) if client else str(file)

            # two at a time: one is made while the service works on another
            for _, line in crowd(make, cases, 2, stop):
                bar.advance(1)
                click.echo(line)
    except (ServiceError, Unreachable) as error:
        raise click.ClickException(str(error)) from error
    except Stopped:
        stop.asked = True
    if stop.asked:
        sys.exit(130)


def write_case(case: Case, folder: Path) -> Path:
    """Write a case as a zip of DICOM files; the same bytes every time."""
    from batch.phantoms import Lesion, chest, datasets, to_bytes, write_zip

    lesions = [Lesion(kind, centre, radius) for kind, centre, radius in case.lesions]  # type: ignore[arg-type]
    phantom = chest(shape=_SHAPE, spacing_mm=_SPACING_MM, lesions=lesions, seed=7)
    files = datasets(
        phantom.volume,
        name=f"demo-{case.key}",
        patient_id=f"DEMO-{case.key.upper()}",
        patient_name=f"Demo^{case.en}",
        description=f"SYNTHETIC {case.en}",
    )
    folder.mkdir(parents=True, exist_ok=True)
    return write_zip(folder / f"demo-{case.key}.zip", (to_bytes(ds) for ds in files))


def _load(client: Client, case: Case, file: Path, lang: Lang) -> str:
    """Register, upload, analyse; answers a line that says how it ended."""
    words = {"ru": "Синтетический фантом, не человек", "en": "Synthetic phantom, not a person"}[lang]
    patient = client.add_patient(
        first_name=_name(case, lang),
        last_name="Demo",
        description=words,
        external_id=f"demo-{case.key}",
    )
    scan = client.wait_until_read(client.upload(file, patient["id"], description=words))
    client.analyse(scan)
    scan = client.scan(scan["id"])
    verdict = say(scan.get("verdict") or "no_result", lang)
    probability = scan.get("probability_of_pathology")
    tail = f" {number(probability, 3, lang)}" if probability is not None else ""
    return f"{_name(case, lang)}: {verdict}{tail}"


def _name(case: Case, lang: Lang) -> str:
    return case.ru if lang == "ru" else case.en


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="ct-demo-") as folder:
        yield Path(folder)
