"""``ct predict`` as a real process: rows, exit codes, limits, a stop in the middle and going on."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from openpyxl import load_workbook
from PIL import Image

from shared.reporting.report import ROW_COLUMNS

DRIVER = Path(__file__).with_name("driver.py")
ROOT = DRIVER.parents[3]
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
Row = dict[str, str]


def sources(folder: Path, *names: str) -> Path:
    """Files whose names say how the made reader ends."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(EMPTY_ZIP)
    return folder


def start(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(DRIVER), "predict", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )


def run(*arguments: str | Path, cwd: Path | None = None, **env: str) -> tuple[int, str, str]:
    return end(start(*arguments, cwd=cwd, **env))


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; a process that does not come to one is killed with its children."""
    try:
        out, err = process.communicate(timeout=120)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, err


def table(path: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    """Poll a condition of another process; fails when it never comes true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_all_judged_is_exit_0_with_table_workbook_pictures_and_silence(tmp_path: Path) -> None:
    sources(tmp_path, "in/b.zip", "in/a.zip", "in/deep/several.zip", "=cmd|' 'A0.zip")
    code, out, err = run(
        *("in", "=cmd|' 'A0.zip", "--out", "r.csv", "--xlsx", "new/r.xlsx", "--heatmaps", "maps"),
        *("--lang", "en", "--workers", "2"),
        cwd=tmp_path,
    )
    assert (code, out, err) == (0, "", "")
    rows = table(tmp_path / "r.csv")
    assert list(rows[0]) == list(ROW_COLUMNS)
    # one row for each study, in the order of paths and UIDs, and no cell that a spreadsheet would run
    assert [
        (row["path_to_study"], row["study_uid"]) for row in rows if "several" in row["path_to_study"]
    ] == [("in/deep/several.zip", f"1.2.{n}") for n in (1, 2, 3)]
    assert [row["path_to_study"] for row in rows][:3] == ["'=cmd|' 'A0.zip", "in/a.zip", "in/b.zip"]
    assert {row["processing_status"] for row in rows} == {"Success"}
    assert {row["pathology"] for row in rows} == {"1"}
    assert float(rows[0]["probability_of_pathology"]) == 0.8765432109876543
    assert rows[0]["pathology_localization"] == "111,129,63,77,21,27"
    assert rows[0]["model_version"] == "0.1.0"
    sheet = load_workbook(tmp_path / "new" / "r.xlsx").active
    assert sheet is not None
    assert sheet.max_row == 7
    assert sheet["A2"].value == "'=cmd|' 'A0.zip"
    maps = sorted((tmp_path / "maps").iterdir())
    assert [m.name.split(".")[0] for m in maps] == ["a", "b", "cmd_A0", "several", "several", "several"]
    with Image.open(maps[0]) as picture:
        assert picture.format == "PNG"


def test_failing_studies_cost_only_themselves_and_give_exit_3(tmp_path: Path) -> None:
    names = ("good-1", "refused", "broken", "hang", "exits", "killed", "greedy", "bug", "good-2")
    folder = sources(tmp_path / "in", *(f"{name}.zip" for name in names))
    code, out, err = run(
        folder,
        *("--out", tmp_path / "r.csv", "--heatmaps", tmp_path / "maps", "--workers", "2"),
        CT_JOB_TIMEOUT_S="25",
        CT_WORKER_MEMORY_MB="3000",
    )
    assert (code, out) == (3, "")
    rows = {Path(row["path_to_study"]).stem: row for row in table(tmp_path / "r.csv")}
    assert {name: row["reason_code"] for name, row in rows.items()} == {
        "good-1": "",
        "good-2": "",
        "refused": "localizer_only",
        "broken": "unreadable",
        "hang": "decode_timeout",
        "exits": "unreadable_pixels",
        "killed": "memory_limit",
        "greedy": "memory_limit",
        "bug": "processing_failed",
    }
    for name, row in rows.items():
        failed = not name.startswith("good")
        assert row["processing_status"] == ("Failure" if failed else "Success")
        assert (row["probability_of_pathology"] == "") is failed
        assert (row["pathology"] == "") is failed
        assert (row["reason"] == "") is not failed
    # a refusal says what the passport knows
    assert rows["refused"]["series_uid"] == "1.2.3.4"
    # what is a fault of ours is told to whoever runs it
    assert "ZeroDivisionError" in err
    assert sorted(m.name.split(".")[0] for m in (tmp_path / "maps").iterdir()) == ["good-1", "good-2"]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_batch_leaves_a_valid_table_and_resume_does_only_the_rest(
    tmp_path: Path, signal_number: int
) -> None:
    folder = sources(tmp_path / "in", "a.zip", "b.zip", "several.zip", "waits-1.zip", "waits-2.zip")
    out, log, gate = tmp_path / "r.csv", tmp_path / "log", tmp_path / "gate"
    arguments = (folder, "--out", out, "--workers", "3", "--lang", "ru")
    process = start(*arguments, DRIVER_LOG=str(log), DRIVER_GATE=str(gate))
    try:
        wait_for(lambda: out.exists() and len(table(out)) >= 5)
    finally:
        process.send_signal(signal_number)
        code, _, err = end(process)
    assert code == 130, err
    before = table(out)
    assert [Path(row["path_to_study"]).stem for row in before] == ["a", "b", *["several"] * 3]
    assert {row["processing_status"] for row in before} == {"Success"}

    gate.touch()
    first = log.read_text().splitlines()
    code, _, err = run(*arguments, "--resume", DRIVER_LOG=str(log), DRIVER_GATE=str(gate))
    assert (code, err) == (0, "")
    again = log.read_text().splitlines()[len(first) :]
    assert sorted(line.split()[0] for line in again) == ["waits-1.zip", "waits-2.zip"]
    after = table(out)
    assert after[:5] == before
    assert len(after) == 7


def test_resume_survives_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    folder = sources(tmp_path / "in", "a.zip", "b.zip")
    out, log = tmp_path / "r.csv", tmp_path / "log"
    assert run(folder, "--out", out, "--workers", "1", DRIVER_LOG=str(log))[0] == 0
    journal = tmp_path / "r.csv.journal"
    journal.write_bytes(journal.read_bytes()[:-40])
    out.write_bytes(out.read_bytes()[:-25])
    assert run(folder, "--out", out, "--workers", "1", "--resume", DRIVER_LOG=str(log))[0] == 0
    assert len(log.read_text().splitlines()) == 3
    assert [row["verdict"] for row in table(out)] == ["pathology", "pathology"]
    for line in journal.read_text().splitlines():
        json.loads(line)


def test_resume_judges_again_what_changed_what_timed_out_and_what_is_new(tmp_path: Path) -> None:
    folder = sources(tmp_path / "in", "a.zip", "b.zip", "bug.zip", "refused.zip", "gone.zip")
    out, log = tmp_path / "r.csv", tmp_path / "log"
    arguments = (folder, "--out", out, "--workers", "1")
    assert run(*arguments, DRIVER_LOG=str(log))[0] == 3
    (folder / "a.zip").write_bytes(EMPTY_ZIP + b"\0")
    (folder / "gone.zip").unlink()
    sources(folder, "new.zip")
    log.unlink()
    assert run(*arguments, "--resume", DRIVER_LOG=str(log))[0] == 3
    assert sorted(line.split()[0] for line in log.read_text().splitlines()) == [
        "a.zip",
        "bug.zip",
        "new.zip",
    ]
    stems = [Path(row["path_to_study"]).stem for row in table(out)]
    assert stems == ["a", "b", "bug", "new", "refused"]
    # another model, language or option is another question
    log.unlink()
    assert run(*arguments, "--resume", "--allow-partial", DRIVER_LOG=str(log))[0] == 3
    assert len(log.read_text().splitlines()) == 4
    assert len(table(out)) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", "--out", "r.csv"], 2, "does not exist"),
        (["empty", "--out", "r.csv"], 1, "no studies found"),
        (["in", "--out", "/proc/nowhere/r.csv"], 1, "/proc/nowhere"),
        (["in"], 2, "--out"),
    ],
)
def test_batch_that_cannot_run_says_so_in_one_line(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    sources(tmp_path / "in", "a.zip")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing to read")
    process = subprocess.run(
        [sys.executable, str(DRIVER), "predict", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == code
    assert words in process.stderr
    assert "Traceback" not in process.stderr
