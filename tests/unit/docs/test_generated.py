"""What is made from code is what the code would make now."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from docs.generate import ROOT, written
from docs.postman import VARIABLES

FILES = written()
COLLECTION = json.loads(FILES["docs/postman_collection.json"])


@pytest.mark.parametrize("path", FILES)
def test_the_committed_file_is_what_the_code_makes(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == FILES[path], "run: python -m docs.generate"


def test_the_pages_client_is_made_from_the_same_document(tmp_path: Path) -> None:
    tool = ROOT / "frontend" / "node_modules" / ".bin" / "openapi-typescript"
    if not tool.exists() or shutil.which("node") is None:
        pytest.skip("the page's packages are not installed: ./ct test installs them")
    made = tmp_path / "schema.d.ts"
    subprocess.run([str(tool), str(ROOT / "frontend/openapi.json"), "-o", str(made)], check=True, timeout=120)
    committed = (ROOT / "frontend/src/lib/api/schema.d.ts").read_text(encoding="utf-8")
    assert made.read_text(encoding="utf-8") == committed, "run: cd frontend && npm run api"


def requests() -> list[dict[str, object]]:
    return [item["request"] for folder in COLLECTION["item"] for item in folder["item"]]


def test_the_collection_holds_every_operation_of_the_api() -> None:
    paths = json.loads(FILES["frontend/openapi.json"])["paths"]
    operations = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(requests()) == len(operations)


def test_the_collection_uses_only_variables_that_it_defines() -> None:
    used = set(re.findall(r"\{\{(\w+)\}\}", FILES["docs/postman_collection.json"]))
    assert used <= set(VARIABLES)
    assert {one["key"] for one in COLLECTION["variable"]} == set(VARIABLES)


def test_an_id_is_kept_before_it_is_used() -> None:
    kept: set[str] = {"baseUrl", "studyFile", "jobId"}
    for folder in COLLECTION["item"]:
        for item in folder["item"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(item["request"])))
            assert used <= kept, item["name"]
            kept |= set(re.findall(r'set\("(\w+)"', json.dumps(item.get("event", "")).replace("\\", "")))


def test_every_relative_link_of_the_documents_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in link and not link.startswith("mailto:"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"
