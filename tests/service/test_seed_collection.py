"""The seed's own Postman collection, its assertions unchanged, against the service.

Two things are added, as its authors do by hand: ``Accept: application/json``, since the default answer of an
analysis is the picture, and the order, since the collection deletes the patient before it uploads a scan.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.phantoms import write_study
from tests.servers import REPO
from tests.service.harness import Service

COLLECTION = REPO.parent / "shared" / "data" / "seed" / "postman_collection.json"
NEWMAN = ["npm", "exec", "--yes", "--package=newman@6", "--", "newman"]


@pytest.fixture(scope="module")
def newman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which newman runs; skipped where it cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("newman needs node and npm, which are not installed")
    folder = tmp_path_factory.mktemp("newman")
    done = subprocess.run([*NEWMAN, "--version"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"newman cannot be installed: {(done.stderr.strip().splitlines() or ['no words'])[-1]}")
    return folder


def with_json_and_late_delete(collection: dict[str, Any]) -> dict[str, Any]:
    """The collection with the header, and the patient's deletion at the end."""
    last: list[dict[str, Any]] = []
    for folder in collection["item"]:
        for item in folder.get("item", [folder]):
            item["request"]["header"].append({"key": "Accept", "value": "application/json"})
        if "item" in folder:
            last += [item for item in folder["item"] if item["name"] == "Delete patient"]
            folder["item"] = [item for item in folder["item"] if item["name"] != "Delete patient"]
    assert len(last) == 1
    collection["item"] += last
    return collection


def test_the_seeds_clients_keep_working(service: Service, newman: Path, chest: Path) -> None:
    if not COLLECTION.exists():
        pytest.skip(f"the seed's collection is not beside the project: {COLLECTION.name}")
    collection = with_json_and_late_delete(json.loads(COLLECTION.read_text(encoding="utf-8")))
    (newman / "collection.json").write_text(json.dumps(collection), encoding="utf-8")
    shutil.copyfile(chest, newman / "study.zip")
    loose = write_study(newman / "loose", slices=3).path
    shutil.copyfile(next(path for path in loose.rglob("*") if path.is_file()), newman / "study.dcm")
    command = [*NEWMAN, "run", "collection.json", "--working-dir", str(newman), "--env-var"]
    command += [f"baseUrl={service.url}", "--reporters", "json", "--reporter-json-export", "out.json"]
    done = subprocess.run(command, cwd=newman, capture_output=True, text=True, timeout=240, check=False)
    assert (newman / "out.json").exists(), done.stderr
    run = json.loads((newman / "out.json").read_text(encoding="utf-8"))["run"]
    told = [f"{one['source']['name']}: {one['error']['message']}" for one in run["failures"]]
    assert told == []
    assert done.returncode == 0, done.stderr
    answers = {one["item"]["name"]: one["response"]["code"] for one in run["executions"]}
    assert len(answers) == 15
    # one slice is no chest: the collection asks nothing of that answer, the service says why
    assert answers.pop("Predict") == 422
    assert set(answers.values()) <= {200, 201, 204}, answers
