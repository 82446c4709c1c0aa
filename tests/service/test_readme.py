"""The REST examples of both READMEs do what they say, as a reader would paste them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import REPO
from tests.service.harness import Service


def rest_example(readme: str) -> str:
    section = (REPO / readme).read_text(encoding="utf-8").split("\n## REST\n")[1]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block is not None
    return block.group(1)


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
def test_the_curl_examples_work_as_written(
    service: Service, chest: Path, tmp_path: Path, readme: str
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    shutil.copy(chest, tmp_path / "study.zip")
    script = rest_example(readme).replace("http://127.0.0.1:8000", service.url)
    assert service.url in script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    for picture in ("decisive.png", "slice.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG"), picture
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    report = json.loads((tmp_path / "report.json").read_text())
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert report["verdict"] in ("normal", "pathology")
    assert report["probability_of_pathology"] == verdict["probability_of_pathology"]
    rows = list(csv.DictReader((tmp_path / "reports.csv").read_text(encoding="utf-8-sig").splitlines()))
    assert report["study_uid"] in {row["study_uid"] for row in rows}
    assert (tmp_path / "same.zip").read_bytes() == chest.read_bytes()
    assert json.loads((tmp_path / "job.json").read_text())["id"]
    assert service.get(f"/api/scans/{report['scan_id']}").status_code == 404


def test_both_languages_show_the_same_commands() -> None:
    def commands(readme: str) -> list[str]:
        blocks = re.findall(r"```(?:sh|python)\n(.*?)```", (REPO / readme).read_text("utf-8"), re.DOTALL)
        lines = "\n".join(blocks).splitlines()
        kept = [re.sub(r"\s+#.*", "", line) for line in lines if not line.startswith("#")]
        return [re.sub(r"lang=(\"?)(ru|en)", r"lang=\1", line).replace("Иван", "Ivan") for line in kept]

    english = commands("README.md")
    russian = [line.replace("Ivanов", "Ivanov") for line in commands("README.ru.md")]
    assert russian == english


@pytest.mark.parametrize("page", ["README.md", "README.ru.md", "docs/architecture.md"])
def test_the_python_example_works_as_written(chest: Path, tmp_path: Path, page: str) -> None:
    block = re.search(r"```python\n(.*?)```", (REPO / page).read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    shutil.copy(chest, tmp_path / "study.zip")
    script = block.group(1).replace("folder_or.zip", "study.zip")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if page.startswith("README"):
        assert (tmp_path / "key.png").read_bytes().startswith(b"\x89PNG")
