"""``ct submit`` and ``ct demo`` against a running service: real processes and a tiny model."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.reporting.report import ROW_COLUMNS
from tests.phantoms import Lesion, write_study
from tests.servers import free_ports
from tests.service.harness import Service, running
from tests.unit.model.tiny import write_model

ROOT = Path(__file__).parents[3]
SICK = [Lesion("ground_glass", (75.0, 20.0, 30.0), 28.0)]
Row = dict[str, str]


def batch(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "batch", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=280,
    )


def table(path: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    write_model(folder / "model")
    values = {"model_dir": str(folder / "model"), "provider": "cpu", "upload_part_mb": 1, "poll_s": 0.1}
    with running(folder, values) as one:
        yield one


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sick zip of several parts, two studies in one zip, loose files, and two that cannot be judged."""
    folder = tmp_path_factory.mktemp("studies")
    write_study(folder / "sick.zip", lesions=SICK, name="sick", compression=0)
    write_study(folder / "loose", name="loose")
    write_study(folder / "few.zip", slices=2, name="few")
    (folder / "text.zip").write_bytes(b"PK\x03\x04 but no archive at all")
    write_study(folder / "a" / "one", name="one")
    write_study(folder / "a" / "two", name="two", lesions=SICK)
    import zipfile

    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        for part in ("one", "two"):
            for file in sorted((folder / "a" / part).iterdir()):
                archive.write(file, f"{part}/{file.name}")
                file.unlink()
            (folder / "a" / part).rmdir()
    return folder


def test_submitted_studies_give_the_same_table_as_in_process(
    service: Service, studies: Path, tmp_path: Path
) -> None:
    done = batch("submit", studies, "--url", service.url, "--out", tmp_path / "s.csv", "--lang", "en")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    sent = table(tmp_path / "s.csv")
    assert list(sent[0]) == list(ROW_COLUMNS)
    here = batch(
        *("predict", studies, "--out", tmp_path / "p.csv", "--lang", "en"),
        CT_MODEL_DIR=str(service.folder / "model"),
        CT_PROVIDER="cpu",
    )
    assert here.returncode == 3, here.stderr
    judged = [row for row in table(tmp_path / "p.csv") if row["verdict"] != "no_result"]
    assert len(judged) == 4
    for row in judged:
        (same,) = [s for s in sent if s["study_uid"] == row["study_uid"]]
        for name in set(ROW_COLUMNS) - {"time_of_processing"}:
            assert same[name] == row[name], name
    refused = {Path(r["path_to_study"]).name: r for r in sent if r["verdict"] == "no_result"}
    assert refused["few.zip"]["reason_code"] == "too_few_slices"
    assert refused["text.zip"]["reason_code"]
    for row in refused.values():
        assert row["processing_status"] == "Failure"
        assert row["probability_of_pathology"] == row["pathology"] == ""
        assert row["reason"]
    patients = service.get("/api/patients?q=Batch").json()["items"]
    assert len(patients) == 1
    # the studies really lie in the service: bytes as they were sent
    scans = service.get("/api/scans", params={"patient_id": patients[0]["id"]}).json()["items"]
    (scan,) = [s for s in scans if s["file_name"] == "sick.zip"]
    assert service.get(f"/api/scans/{scan['id']}/file").content == (studies / "sick.zip").read_bytes()


def test_resume_sends_nothing_again_and_keeps_the_named_patient(
    service: Service, studies: Path, tmp_path: Path
) -> None:
    patient = service.new_patient()
    arguments = (
        *("submit", studies / "sick.zip", studies / "few.zip", "--url", service.url),
        *("--patient-id", patient, "--out", tmp_path / "r.csv", "--xlsx", tmp_path / "r.xlsx"),
    )
    assert batch(*arguments).returncode == 3
    before = (tmp_path / "r.csv").read_bytes()
    assert batch(*arguments, "--resume").returncode == 3
    assert (tmp_path / "r.csv").read_bytes() == before
    assert (tmp_path / "r.xlsx").exists()
    assert service.get("/api/scans", params={"patient_id": patient}).json()["total"] == 2


def test_what_keeps_the_batch_from_running_is_said_in_one_line(
    service: Service, studies: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    for arguments, words in (
        (("--url", nobody), "does not answer"),
        (("--url", service.url, "--patient-id", "nobody"), "patient_not_found"),
    ):
        done = batch("submit", studies / "sick.zip", *arguments, "--out", out)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert table(out) == []


def test_demo_loads_labelled_synthetic_studies_once(service: Service, tmp_path: Path) -> None:
    arguments = ("demo", "--url", service.url, "--lang", "en", "--case", "healthy", "--case", "consolidation")
    done = batch(*arguments, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == [
        "Consolidation left",
        "Healthy",
    ]
    again = batch(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is there already") == 2
    patients = service.get("/api/patients?q=Demo&limit=100").json()["items"]
    assert sorted(p["first_name"] for p in patients) == ["Consolidation left", "Healthy"]
    assert {p["description"] for p in patients} == {"Synthetic phantom, not a person"}
    assert {p["last_name"] for p in patients} == {"Demo"}
    for patient in patients:
        (scan,) = service.get("/api/scans", params={"patient_id": patient["id"]}).json()["items"]
        assert scan["state"] in ("done", "refused")
        assert (
            service.get(f"/api/scans/{scan['id']}/file").content
            == (tmp_path / scan["file_name"]).read_bytes()
        )
